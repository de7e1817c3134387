"""REINFORCE leave-one-out. Kool et al. 2019; for LLMs Ahmadian et al. 2024, section 2.1.

A_i = r_i − 1/(G−1) Σ_{j≠i} r_j
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from engine.config.llm import ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import rloo_advantages
from engine.llm.algorithms.base import GroupAlgorithm
from engine.llm.algorithms.normalisers import PER_EPISODE
from engine.llm.algorithms.ratios import SEQUENCE
from engine.llm.algorithms.surrogates import Clip, ClippedRatio, Surrogate


class LlmRlooSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="rloo"):
    """RLOO: each episode is compared with the mean of the others of its group."""


class Rloo(GroupAlgorithm[LlmRlooSettings]):
    name = "rloo"
    title = "RLOO"
    settings = LlmRlooSettings
    comes_from = ("reinforce",)
    source = "Kool et al. 2019; for language models Ahmadian et al. 2024"
    formula = "Aᵢ = rᵢ − mean of the other rewards in the group"
    idea = "REINFORCE whose baseline for each completion is the mean of the others."
    needs = "Several completions of the same prompt, and a reward for each."
    chosen_when = "A baseline without bias and without a value model is wanted."
    with_llms = (
        "Suited: the other answers to a prompt give a baseline without bias and without a value "
        "model. Every prompt must be answered several times."
    )

    policies = ("action", "route", "text")
    normaliser = PER_EPISODE  # 1/B Σ_i Σ_t, which is log π of the whole answer
    ratio = SEQUENCE  # the whole answer is one action

    def advantages(self, returns: ArrayLike, settings: LlmRlooSettings) -> Floats:
        return rloo_advantages(returns)  # A_i = r_i − mean of the others

    def surrogate(self, settings: LlmRlooSettings) -> Surrogate:
        # Clipped, so that several passes over a batch are possible.
        return ClippedRatio(Clip(settings.clip_low, settings.clip_high))


ALGORITHM = Rloo()
