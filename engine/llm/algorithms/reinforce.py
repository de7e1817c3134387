"""REINFORCE with the batch mean as baseline. Williams 1992; Ahmadian et al. 2024.

    ∇J = E[ (R − b) ∇ ln π(τ) ]

The whole answer (or episode) is one action; its log-probability is the sum over its tokens (moves).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from engine.config.llm import LlmSettings
from engine.core.arrays import Floats
from engine.llm.advantages import reinforce_advantages
from engine.llm.algorithm import LlmAlgorithm


class LlmReinforceSettings(LlmSettings, frozen=True, kw_only=True, tag="reinforce"):
    """REINFORCE: episodes that earned more than the batch become more likely."""


class Reinforce(LlmAlgorithm):
    name = "reinforce"
    weighting = "reinforce"
    title = "REINFORCE"
    settings = LlmReinforceSettings
    comes_from = ("reinforce",)
    source = "Williams 1992; for language models Ahmadian et al. 2024"
    formula = "∇J = E[ (R − b) ∇ln π(completion|prompt) ]"
    idea = "Make whole completions that earned more than usual more likely."
    needs = "Completions sampled from the model now, and a reward for each; their mean as baseline."
    chosen_when = "The simplest thing that works is wanted; the reward comes once at the end."

    def advantages(self, returns: ArrayLike, settings: Any) -> Floats:
        return reinforce_advantages(returns)  # A = R − mean of the batch


ALGORITHM = Reinforce()
