"""Other trainers' names of metrics, and those under which Ice Maze's charts and rules know them."""

from __future__ import annotations

import math
from collections.abc import Mapping

OURS = {
    "grad_norm": "gradient_norm",
    "kl": "reference_kl",
    "frac_reward_zero_std": "equal_groups",
    "completions/clipped_ratio": "cut_off_share",
    "completions/mean_length": "completion_tokens",
    "reward_std": "reward_spread",
    "clip_ratio/low_mean": "clip_binding_low",
    "clip_ratio/high_mean": "clip_binding_high",
    "clip_ratio/region_mean": "clip_binding",
    "sampling/sampling_logp_difference/mean": "mismatch",
    "sampling/sampling_logp_difference/max": "mismatch_max",
}
"""TRL's names (GRPOTrainer and RLOOTrainer 1.16), each with ours of the same meaning: `kl` is per
token (GRPO's by the k3 estimator, RLOO's by k1), `clip_ratio` the share of tokens where the clip
binds. Names that are missing here are kept as they are."""

LONGEST_NAME = 100
MOST_NAMES = 200
"""Distinct metrics of a run; more would be data under names."""


def canonical(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics by our names. None, which says that nothing was measured, is left out."""
    return {
        whole(OURS.get(name, name)[:LONGEST_NAME]): float(value)
        for name, value in metrics.items()
        if value is not None
    }


def stored(value: float) -> float:
    """A number as the record keeps it: what is not finite is not a point of a curve."""
    return value if math.isfinite(value) else math.nan


def whole(text: str) -> str:
    """Text that can be written as UTF-8: halves of a pair of surrogates become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
