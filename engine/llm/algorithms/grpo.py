"""Group relative policy optimization. Shao et al. 2024 (DeepSeekMath), section 4.1, eqs. 3 and 4.

maximise 1/G Σ_i 1/|o_i| Σ_t [ min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) − β k3(π, π_ref) ]
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from numpy.typing import ArrayLike

from engine.config.llm import ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.advantages import grpo_advantages
from engine.llm.algorithm import LlmAlgorithm


class LlmGrpoSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="grpo"):
    """GRPO: each episode is compared with its group, over the group's standard deviation."""

    std_floor: Annotated[
        float,
        Meta(
            ge=0.0,
            description="least standard deviation divided by: groups that hardly differ are not "
            "blown up",
        ),
    ] = 0.0


class Grpo(LlmAlgorithm):
    name = "grpo"
    weighting = "grpo"
    title = "GRPO"
    settings = LlmGrpoSettings
    comes_from = ("grpo",)
    source = "Shao et al. 2024, section 4.1"
    formula = "Aᵢ = (rᵢ − mean r) / (std r + ε), in PPO's clipped objective, minus β KL(π‖π_ref)"
    idea = "PPO without a value model: a completion is compared with its group."
    needs = (
        "Several completions of the same prompt, and a reward for each; a frozen reference policy "
        "when KL is used."
    )
    chosen_when = "Answers can be checked (mathematics, code, mazes) and memory is short."

    def advantages(self, returns: ArrayLike, settings: Any) -> Floats:
        return grpo_advantages(returns, settings.std_floor)  # Â = (r − mean) / std


ALGORITHM = Grpo()
