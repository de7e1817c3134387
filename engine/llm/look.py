"""What an action policy says of the prompts of some worlds: the table that episodes are drawn from.

Shapes: `W` worlds, `O` observations, `A` actions, `N` prompts (rows), `H` hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from engine.core.arrays import Array
from engine.llm.prompts import NO_PROMPT


@dataclass(frozen=True, eq=False)
class Look:
    """What the model says of the prompts of some worlds."""

    worlds: tuple[int, ...]  # [W] which training worlds
    rows: tuple[int, ...]  # [N] which prompts
    place: Array  # [W, O] the row of each observation in `rows`, or NO_PROMPT
    log_pi: Tensor  # [N, A] at the sampling temperature, float64, detached
    policy: Array  # [W, O, A] π at temperature 1
    values: Tensor  # [N] of the value head, zeros without one
    graph: tuple[Tensor, Tensor] | None
    """log π [N, A] and hidden states [N, H] with their graph, where one pass holds all prompts."""

    def at_observations(self, of_rows: Array, elsewhere: float) -> Array:
        """[W, O, ...] what `of_rows` [N, ...] says at each observation; `elsewhere` where nothing
        is decided."""
        return at_observations(self.place, of_rows, elsewhere)

    def at_rows(self, of_observations: Array, how: Literal["sum", "mean"]) -> Array:
        """[N, ...] the sum or the mean of `of_observations` [W, O, ...] over those that read the
        same prompt."""
        here = self.place != NO_PROMPT
        total = np.zeros((len(self.rows), *of_observations.shape[2:]))
        np.add.at(total, self.place[here], of_observations[here])
        if how == "sum":
            return total
        count = np.bincount(self.place[here], minlength=len(self.rows))
        mean: Array = total / count.reshape(-1, *[1] * (total.ndim - 1))
        return mean


def at_observations(place: Array, of_rows: Array, elsewhere: float) -> Array:
    """`Look.at_observations` for any table `place` [...] of rows, NO_PROMPT among them."""
    found: Array = np.full((*place.shape, *of_rows.shape[1:]), elsewhere)
    here = place != NO_PROMPT
    found[here] = of_rows[place[here]]
    return found
