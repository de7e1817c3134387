"""Group relative policy optimization. Shao et al. 2024 (DeepSeekMath), section 4.1, eqs. 3 and 4.

maximise 1/G Σ_i 1/|o_i| Σ_t [ min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) − β k(π, π_ref) ]
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from engine.config.llm import ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import StdFloor, grpo_advantages
from engine.llm.algorithms.base import GroupAlgorithm
from engine.llm.algorithms.normalisers import PER_SEQUENCE
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.surrogates import Clip, ClippedRatio, Surrogate


class LlmGrpoSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="grpo"):
    """GRPO: each episode is compared with its group, over the group's standard deviation."""

    std_floor: StdFloor = 0.0


class Grpo(GroupAlgorithm[LlmGrpoSettings]):
    name = "grpo"
    title = "GRPO"
    settings = LlmGrpoSettings
    comes_from = ("grpo", "gradient-bandit")
    source = "Shao et al. 2024, section 4.1"
    formula = "Aᵢ = (rᵢ − mean r) / (std r + ε), in PPO's clipped objective, minus β k(π, π_ref)"
    idea = "PPO without a value model: a completion is compared with its group."
    needs = (
        "Several completions of the same prompt, and a reward for each; a frozen reference policy "
        "when KL is used."
    )
    chosen_when = "Answers can be checked (mathematics, code, mazes) and memory is short."
    with_llms = (
        "Suited, and made for them: no value model. Its divisions have a price: prompts that are "
        "nearly always or hardly ever solved weigh more, and long wrong answers lose less a token "
        "(Liu et al. 2025)."
    )

    policies = ("action", "route", "text")
    normaliser = PER_SEQUENCE  # 1/G Σ_i 1/|o_i| Σ_t
    ratio = TOKEN
    group_centred = True

    def advantages(self, returns: ArrayLike, settings: LlmGrpoSettings) -> Floats:
        return grpo_advantages(returns, settings.std_floor)  # Â = (r − mean) / std

    def surrogate(self, settings: LlmGrpoSettings) -> Surrogate:
        return ClippedRatio(Clip(settings.clip_low, settings.clip_high))


ALGORITHM = Grpo()
