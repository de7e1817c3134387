"""CISPO: clipped importance-sampling weights. MiniMax 2025 (MiniMax-M1), section 3.1, eqs. 4 and 5.

    maximise 1/Σ|o_i| Σ_i Σ_t sg(ρ̂_{i,t}) Â_i log π(o_{i,t}),  ρ̂ = clip(ρ, 1−ε_low, 1+ε_high)

Where PPO's clip rules, a token has no gradient, and the rare tokens on which a long answer turns
are the first to lose it. Here the clipped ratio is a weight that is taken as given (sg: stop
gradient), so that every token goes on teaching, with a bounded weight.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from numpy.typing import ArrayLike

from engine.config.llm import ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import StdFloor, grpo_advantages
from engine.llm.algorithms.base import GroupAlgorithm
from engine.llm.algorithms.normalisers import PER_TOKEN
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.surrogates import Clip, ClippedWeight, Surrogate


class LlmCispoSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="cispo"):
    """CISPO: every token keeps its gradient, weighed with a clipped ratio."""

    # The paper sets no bound below and does not tell the one above; ρ ≤ 5 is what Khatri et al.
    # 2025 (ScaleRL) use.
    clip_low: Annotated[
        float,
        Meta(gt=0.0, le=1.0, description="ε below: ρ weighs no less than 1 − ε; 1 sets no bound"),
    ] = 1.0
    clip_high: Annotated[
        float, Meta(gt=0.0, description="ε above: ρ weighs no more than 1 + ε")
    ] = 4.0
    std_floor: StdFloor = 0.0


class Cispo(GroupAlgorithm[LlmCispoSettings]):
    name = "cispo"
    title = "CISPO"
    settings = LlmCispoSettings
    comes_from = ("grpo", "reinforce")
    source = "MiniMax 2025 (MiniMax-M1), section 3.1"
    formula = "sg( clip(ρ, 1 − ε, 1 + ε) ) Âᵢ ln π;  mean over all tokens of the batch"
    idea = "REINFORCE on GRPO's advantages, each token weighed with its clipped ratio."
    needs = (
        "Several completions of the same prompt, and a reward for each; several passes over a "
        "batch (epochs) for the ratio to matter."
    )
    chosen_when = "Rare tokens decide, and the clip of PPO or GRPO silences them."
    with_llms = (
        "Suited to long answers: rare tokens on which they turn keep their gradient, with a "
        "weight that is bounded, and so biased."
    )

    policies = ("action", "route", "text")
    normaliser = PER_TOKEN  # 1/Σ|o_i| Σ_i Σ_t
    ratio = TOKEN

    def advantages(self, returns: ArrayLike, settings: LlmCispoSettings) -> Floats:
        return grpo_advantages(returns, settings.std_floor)  # Â = (r − mean) / std

    def surrogate(self, settings: LlmCispoSettings) -> Surrogate:
        return ClippedWeight(Clip(settings.clip_low, settings.clip_high))


ALGORITHM = Cispo()
