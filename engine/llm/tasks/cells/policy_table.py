"""A policy table: what the model says of the prompts of some worlds, from which episodes are drawn.

Shapes: `W` worlds, `O` observations, `A` actions, `N` prompts (rows), `H` hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from engine.core.arrays import Array
from engine.llm.forward.prompts import NO_PROMPT


@dataclass(frozen=True, eq=False)
class PolicyTable:
    """The model's policy in every cell of some worlds."""

    worlds: tuple[int, ...]  # [W] which worlds of their split
    rows: tuple[int, ...]  # [N] which prompts
    prompt_row: Array  # [W, O] the row of each observation in `rows`, or NO_PROMPT
    log_pi: Tensor  # [N, A] at the sampling temperature, float64, detached
    policy: Array  # [W, O, A] π at temperature 1
    values: Tensor  # [N] of the value head, zeros without one
    graph: tuple[Tensor, Tensor] | None
    """log π [N, A] and hidden states [N, H] with their graph, where one pass holds all prompts."""

    @property
    def sampled_from(self) -> Array:
        """[W, O, A] π at the sampling temperature, uniform where nothing is decided."""
        return self.at_observations(self.log_pi.exp().numpy(), 1.0 / self.policy.shape[-1])

    def at_observations(self, of_rows: Array, elsewhere: float) -> Array:
        """[W, O, ...] what `of_rows` [N, ...] says at each observation; `elsewhere` where nothing
        is decided."""
        return at_observations(self.prompt_row, of_rows, elsewhere)

    def at_rows(self, of_observations: Array, how: Literal["sum", "mean"]) -> Array:
        """[N, ...] the sum or the mean of `of_observations` [W, O, ...] over those that read the
        same prompt."""
        decided = self.prompt_row != NO_PROMPT
        total = np.zeros((len(self.rows), *of_observations.shape[2:]))
        np.add.at(total, self.prompt_row[decided], of_observations[decided])
        if how == "sum":
            return total
        count = np.bincount(self.prompt_row[decided], minlength=len(self.rows))
        mean: Array = total / count.reshape(-1, *[1] * (total.ndim - 1))
        return mean


def at_observations(prompt_row: Array, of_rows: Array, elsewhere: float) -> Array:
    """`PolicyTable.at_observations` for any array [...] of rows, NO_PROMPT among them."""
    found: Array = np.full((*prompt_row.shape, *of_rows.shape[1:]), elsewhere)
    decided = prompt_row != NO_PROMPT
    found[decided] = of_rows[prompt_row[decided]]
    return found
