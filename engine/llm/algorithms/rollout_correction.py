"""Training-inference mismatch: what the sampler says of a token is not quite what training says.

Sampling grows completions behind a cache, training reads them at once. In exact arithmetic both
give π; in 16 bits each rounds differently, and the batch is a little off-policy before any step.
"Old" log-probabilities are therefore training's own; the sampler's are a second series. Between
them stands the truncated importance weight

    w = min( π_old / π_sampler, C ),  without gradient,

which multiplies the surrogate: the estimate is then one from π_old, but for the weights that are
cut. Truncation: Ionides 2008, "Truncated importance sampling"; for language models Yao et al. 2025,
"Your efficient RL framework secretly brings you off-policy RL training" (one weight a token);
TRL's `vllm_importance_sampling_mode`, "token_truncate" or "sequence_truncate".

Shapes: `B` completions, `T` tokens. `away` [B, T] is log π_old − log π_sampler, `used` [B, T] where
there is a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config.llm import RolloutCorrection

if TYPE_CHECKING:
    from torch import Tensor


def truncated_weights(away: Tensor, used: Tensor, level: RolloutCorrection, cap: float) -> Tensor:
    """w [B, T]: of each token, or ("sequence") of the whole completion for all of its tokens."""
    away = away.detach().where(used, 0.0)
    if level == "sequence":
        away = away.sum(1, keepdim=True).expand_as(away)
    return away.exp().clamp(max=cap)


def mismatch_metrics(
    away: Tensor, used: Tensor, level: RolloutCorrection, cap: float
) -> dict[str, float]:
    """How far both series are apart: the mean |Δ log π| of a token and the largest, and the least
    and greatest ratio π_old / π_sampler of a whole completion. With a correction also the share of
    tokens whose weight was cut."""
    away = away.detach().double().where(used, 0.0)
    whole = away.sum(1).exp()
    told = {
        "mismatch": float(away.abs().sum() / used.sum()),
        "mismatch_max": float(away.abs().max()),
        "mismatch_ratio_min": float(whole.min()),
        "mismatch_ratio_max": float(whole.max()),
    }
    if level != "none":
        uncut = truncated_weights(away, used, level, float("inf"))
        told["mismatch_cut"] = float(((uncut > cap) & used).sum() / used.sum())
    return told
