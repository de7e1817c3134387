"""What one update of an action policy minimises, cut by states into micro-batches at will.

Everything is computed from the whole batch beforehand and stands in rows, one for each prompt of
the batch; the loss of some rows is their share of the batch's, so the shares add up. Shapes: `N`
prompts (rows), `A` actions, `M` steps taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.llm.losses import (
    Clip,
    Loss,
    TableBatch,
    ValueBatch,
    mpo_loss,
    table_loss,
    value_loss,
)

Rows = Sequence[int]


@dataclass(frozen=True)
class Gradient:
    """The clipped surrogate of all steps, gathered by (prompt, action)."""

    log_pi_old: Tensor  # [N, A]
    positive: Tensor  # [N, A] see `losses.TableBatch`
    negative: Tensor  # [N, A]
    count_positive: Tensor  # [N, A]
    count_negative: Tensor  # [N, A]
    visits: Tensor  # [N]
    clip: Clip | None
    kl: float
    entropy: float
    log_pi_ref: Tensor | None  # [N, A]

    def loss(self, log_pi: Tensor, rows: Rows) -> Loss:
        """The share of `rows`, with their log π [n, A]."""
        at = list(rows)
        batch = TableBatch(
            log_pi=log_pi,
            log_pi_old=self.log_pi_old[at],
            positive=self.positive[at],
            negative=self.negative[at],
            count_positive=self.count_positive[at],
            count_negative=self.count_negative[at],
            visits=self.visits[at],
            log_pi_ref=None if self.log_pi_ref is None else self.log_pi_ref[at],
        )
        return table_loss(batch, self.clip, self.kl, self.entropy)


@dataclass(frozen=True)
class Fit:
    """The fit of the policy to a table: MPO's M-step, and the supervised warm start."""

    target: Tensor  # [N, A]
    weights: Tensor  # [N] sums to 1
    kl: float = 0.0
    log_pi_ref: Tensor | None = None  # [N, A]

    def loss(self, log_pi: Tensor, rows: Rows) -> Loss:
        """The share of `rows`, with their log π [n, A]."""
        at = list(rows)
        reference = None if self.log_pi_ref is None else self.log_pi_ref[at]
        return mpo_loss(log_pi, self.target[at], self.weights[at], reference, self.kl)


@dataclass(frozen=True)
class Critic:
    """What a value head is fitted to: the λ-return of every step taken."""

    row: Tensor  # [M] the prompt each step was taken at
    targets: Tensor  # [M]
    values_old: Tensor  # [N] when the batch was sampled
    clip: float

    def loss(self, values: Tensor, rows: Rows) -> Tensor:
        """The share of `rows`, with their values [n]."""
        place = torch.full((len(self.values_old),), -1, dtype=torch.long)
        place[list(rows)] = torch.arange(len(rows))
        taken = place[self.row] >= 0
        at = self.row[taken]
        batch = ValueBatch(
            values=values[place[at]],
            values_old=self.values_old[at],
            targets=self.targets[taken],
            weights=torch.full(at.shape, 1.0 / len(self.row)),
        )
        return value_loss(batch, self.clip)
