"""Dr. GRPO: GRPO "done right". Liu et al. 2025, section 3.2.

    A_i = r_i − mean r;  the loss is divided by B × the longest a completion may be

GRPO's division by the standard deviation favours prompts that are almost always or almost never
solved, and its division by each completion's length favours long wrong answers; both are left out.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from engine.config.llm import ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import dr_grpo_advantages
from engine.llm.algorithms.base import GroupAlgorithm
from engine.llm.algorithms.normalisers import PER_LENGTH_LIMIT
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.surrogates import Clip, ClippedRatio, Surrogate


class LlmDrGrpoSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="dr-grpo"):
    """Dr. GRPO: GRPO without the two normalisations that bias it."""


class DrGrpo(GroupAlgorithm[LlmDrGrpoSettings]):
    name = "dr-grpo"
    title = "Dr. GRPO"
    settings = LlmDrGrpoSettings
    comes_from = ("grpo",)
    source = "Liu et al. 2025"
    formula = "Aᵢ = rᵢ − mean r; loss divided by a constant, not by each completion's length"
    idea = "GRPO without the two normalisations that bias it."
    needs = "Several completions of the same prompt, and a reward for each."
    chosen_when = "GRPO makes wrong answers longer and longer."
    with_llms = (
        "Suited as GRPO is. Without the division by the spread, prompts whose rewards differ more "
        "weigh more."
    )

    policies = ("action", "route", "text")
    normaliser = PER_LENGTH_LIMIT  # 1/(B L) Σ_i Σ_t
    ratio = TOKEN

    def advantages(self, returns: ArrayLike, settings: LlmDrGrpoSettings) -> Floats:
        return dr_grpo_advantages(returns)  # A = r − mean

    def surrogate(self, settings: LlmDrGrpoSettings) -> Surrogate:
        return ClippedRatio(Clip(settings.clip_low, settings.clip_high))


ALGORITHM = DrGrpo()
