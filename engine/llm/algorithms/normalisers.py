"""Normalisers: what one token of a completion (or one move of an episode) weighs in the loss.

The losses are plain sums over tokens, each times its weight. Because the weights are computed from
the whole batch beforehand, the losses of micro-batches add up to the batch's. Shapes: `B`
completions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engine.core.arrays import Floats


@dataclass(frozen=True)
class Normaliser:
    """A rule for the weights; one of those below."""

    title: str
    weigh: Callable[[Floats, int], Floats]

    def __call__(self, lengths: ArrayLike, longest: int) -> Floats:
        """Weights [B] of each token of completions with these `lengths` [B], in tokens; `longest`
        is the most tokens a completion may have."""
        return self.weigh(np.asarray(lengths, dtype=np.float64), longest)


PER_SEQUENCE = Normaliser(
    "mean over the tokens of each completion, then over completions",
    lambda n, longest: 1.0 / (n.size * np.maximum(n, 1.0)),
)
"""1/B Σ_i 1/|o_i| Σ_t: a token of a long completion counts less. Shao et al. 2024 (GRPO), eq. 3;
Zheng et al. 2025 (GSPO), eq. 5, where the terms of a completion are all the same."""

PER_TOKEN = Normaliser(
    "mean over all tokens of the batch",
    lambda n, longest: np.full(n.shape, 1.0 / max(n.sum(), 1.0)),
)
"""1/Σ|o_i| Σ_i Σ_t: all tokens alike. Yu et al. 2025 (DAPO), eq. 12; MiniMax 2025 (CISPO), eq. 4;
the mean over time steps of Schulman et al. 2017 (PPO), eq. 7."""

PER_LENGTH_LIMIT = Normaliser(
    "sum over all tokens, divided by completions × the most tokens one may have",
    lambda n, longest: np.full(n.shape, 1.0 / (n.size * longest)),
)
"""1/(B L) Σ_i Σ_t: a constant, whatever the lengths. Liu et al. 2025 (Dr. GRPO), section 3.2."""

PER_EPISODE = Normaliser(
    "mean over completions of the sum over their tokens",
    lambda n, longest: np.full(n.shape, 1.0 / n.size),
)
"""1/B Σ_i Σ_t: the sum is log π of the whole completion, which is one action. Williams 1992;
Ahmadian et al. 2024 (REINFORCE and RLOO for language models), section 2."""
