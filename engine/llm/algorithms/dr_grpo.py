"""Dr. GRPO: GRPO "done right". Liu et al. 2025, section 3.2.

    A_i = r_i − mean r;  the loss is divided by B × the longest a completion may be

GRPO's division by the standard deviation favours prompts that are almost always or almost never
solved, and its division by each completion's length favours long wrong answers; both are left out.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from engine.config.llm import ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.advantages import dr_grpo_advantages
from engine.llm.algorithm import LlmAlgorithm


class LlmDrGrpoSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="dr-grpo"):
    """Dr. GRPO: GRPO without the two normalisations that bias it."""


class DrGrpo(LlmAlgorithm):
    name = "dr-grpo"
    weighting = "dr-grpo"
    title = "Dr. GRPO"
    settings = LlmDrGrpoSettings
    comes_from = ("grpo",)
    source = "Liu et al. 2025"
    formula = "Aᵢ = rᵢ − mean r; loss divided by a constant, not by each completion's length"
    idea = "GRPO without the two normalisations that bias it."
    needs = "Several completions of the same prompt, and a reward for each."
    chosen_when = "GRPO makes wrong answers longer and longer."

    def advantages(self, returns: ArrayLike, settings: Any) -> Floats:
        return dr_grpo_advantages(returns)  # A = r − mean


ALGORITHM = DrGrpo()
