"""DAPO: decoupled clip and dynamic sampling. Yu et al. 2025, section 3, equations 8 to 13.

    maximise 1/Σ|o_i| Σ_i Σ_t min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â)

Four changes to GRPO: the clip leaves rare tokens more room to grow (ε_high > ε_low), groups that
all got the same are drawn again, all tokens of the batch weigh alike, and answers that come near
the length limit cost something.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from numpy.typing import ArrayLike

from engine.config.llm import ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import grpo_advantages
from engine.llm.algorithms.base import GroupAlgorithm
from engine.llm.algorithms.normalisers import PER_TOKEN
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.surrogates import Clip, ClippedRatio, Surrogate


class LlmDapoSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="dapo"):
    """DAPO: GRPO with clip-higher, dynamic sampling, a loss per token and overlong shaping."""

    clip_high: Annotated[
        float, Meta(gt=0.0, description="ε above: wider than below, so that rare moves can grow")
    ] = 0.28
    draws: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="dynamic sampling: how often groups that all got the same may be drawn "
            "again",
        ),
    ] = 4
    overlong: Annotated[
        int,
        Meta(
            ge=0,
            description="the last so many tokens (or moves) before the limit cost up to 1; 0: none",
        ),
    ] = 0


class Dapo(GroupAlgorithm[LlmDapoSettings]):
    name = "dapo"
    title = "DAPO"
    settings = LlmDapoSettings
    comes_from = ("grpo",)
    source = "Yu et al. 2025"
    formula = "clip(ρ, 1 − 0.2, 1 + 0.28); mean over all tokens of the batch"
    idea = "GRPO that leaves rare tokens more room to grow and skips groups that teach nothing."
    needs = (
        "Several completions of the same prompt, and a reward for each; prompts that are sometimes "
        "solved and sometimes not."
    )
    chosen_when = "Answers are long, and entropy collapses under GRPO."
    with_llms = (
        "Suited to long answers that can be checked. Drawing equal groups again takes samples, in "
        "vain where the task is never solved."
    )

    normaliser = PER_TOKEN  # 1/Σ|o_i| Σ_i Σ_t
    ratio = TOKEN

    def advantages(self, returns: ArrayLike, settings: LlmDapoSettings) -> Floats:
        return grpo_advantages(returns)  # Â = (r − mean) / std

    def surrogate(self, settings: LlmDapoSettings) -> Surrogate:
        return ClippedRatio(Clip(settings.clip_low, settings.clip_high))

    def draws(self, settings: LlmDapoSettings) -> int:
        return settings.draws

    def overlong(self, settings: LlmDapoSettings) -> int:
        return settings.overlong


ALGORITHM = Dapo()
