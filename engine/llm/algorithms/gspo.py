"""GSPO: group sequence policy optimization. Zheng et al. 2025, section 4.1, equations 5 to 7.

    maximise 1/G Σ_i min(s_i Â_i, clip(s_i, 1−ε_low, 1+ε_high) Â_i),
    s_i = (π(y_i|x) / π_old(y_i|x))^{1/|y_i|}

The reward judges the whole answer, so ratio and clip do too: an answer is followed or left out as
one. With the root of its length the ratios of long and short answers lie in the same narrow range,
and ε is a thousandth of GRPO's; on the first pass both are the same.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from engine.config.llm import ClipHigh, ClipLow, ClippedGroupSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import StdFloor, grpo_advantages
from engine.llm.algorithms.base import GroupAlgorithm
from engine.llm.algorithms.normalisers import PER_SEQUENCE
from engine.llm.algorithms.ratios import LENGTH_NORMALISED
from engine.llm.algorithms.surrogates import Clip, ClippedRatio, Surrogate


class LlmGspoSettings(ClippedGroupSettings, frozen=True, kw_only=True, tag="gspo"):
    """GSPO: GRPO with one ratio for the whole answer, the geometric mean over its tokens."""

    clip_low: ClipLow = 3e-4  # Zheng et al. 2025, section 5.1
    clip_high: ClipHigh = 4e-4
    std_floor: StdFloor = 0.0


class Gspo(GroupAlgorithm[LlmGspoSettings]):
    name = "gspo"
    title = "GSPO"
    settings = LlmGspoSettings
    comes_from = ("grpo",)
    source = "Zheng et al. 2025, section 4.1"
    formula = "min( sᵢ Âᵢ, clip(sᵢ, 1 − ε, 1 + ε) Âᵢ ),  sᵢ = ( π(yᵢ) / π_old(yᵢ) )^(1/|yᵢ|)"
    idea = "GRPO whose ratio and clip are those of the whole answer, as the reward is."
    needs = (
        "Several completions of the same prompt, and a reward for each; several passes over a "
        "batch (epochs), or it is GRPO."
    )
    chosen_when = "GRPO grows unstable: answers are long, or the model is a mixture of experts."
    with_llms = (
        "Suited, above all to long answers and to mixtures of experts, where ratios of single "
        "tokens swing. Within one pass over a batch it is GRPO."
    )

    policies = ("route", "text")
    why_not = "an answer of an action policy is one move, whose whole ratio is that of GRPO"
    normaliser = PER_SEQUENCE  # 1/G Σ_i: of |y_i| equal terms the mean is one
    ratio = LENGTH_NORMALISED
    group_centred = True

    def advantages(self, returns: ArrayLike, settings: LlmGspoSettings) -> Floats:
        return grpo_advantages(returns, settings.std_floor)  # Â = (r − mean) / std

    def surrogate(self, settings: LlmGspoSettings) -> Surrogate:
        return ClippedRatio(Clip(settings.clip_low, settings.clip_high))


ALGORITHM = Gspo()
