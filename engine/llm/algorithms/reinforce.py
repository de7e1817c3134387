"""REINFORCE with the batch mean as baseline. Williams 1992; Ahmadian et al. 2024.

    ∇J = E[ (R − b) ∇ ln π(τ) ]

The whole answer (or episode) is one action; its log-probability is the sum over its tokens (moves).
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from engine.config.llm import LlmSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import reinforce_advantages
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.algorithms.normalisers import PER_EPISODE
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.surrogates import LogProbability, Surrogate


class LlmReinforceSettings(LlmSettings, frozen=True, kw_only=True, tag="reinforce"):
    """REINFORCE: episodes that earned more than the batch become more likely."""


class Reinforce(LlmAlgorithm[LlmReinforceSettings]):
    name = "reinforce"
    title = "REINFORCE"
    settings = LlmReinforceSettings
    comes_from = ("reinforce", "gradient-bandit")
    source = "Williams 1992; for language models Ahmadian et al. 2024"
    formula = "∇J = E[ (R − b) ∇ln π(completion|prompt) ]"
    idea = "Make whole completions that earned more than usual more likely."
    needs = "Completions sampled from the model now, and a reward for each; their mean as baseline."
    chosen_when = "The simplest thing that works is wanted; the reward comes once at the end."
    with_llms = (
        "Suited: answers and their rewards are all it needs. One baseline for the whole batch "
        "lets easy prompts push up and hard ones down, which is noise; RLOO and GRPO compare "
        "within a prompt."
    )
    policies = ("action", "route", "text")
    normaliser = PER_EPISODE  # 1/B Σ_i Σ_t, which is log π of the whole answer
    ratio = TOKEN  # of which the metrics tell; the loss has none

    def advantages(self, returns: ArrayLike, settings: LlmReinforceSettings) -> Floats:
        return reinforce_advantages(returns)  # A = R − mean of the batch

    def surrogate(self, settings: LlmReinforceSettings) -> Surrogate:
        return LogProbability()


ALGORITHM = Reinforce()
