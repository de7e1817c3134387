"""The small network of DQN: its first weights, its values, and its copy.

One layer of rectified units over features, u = √(2/H) max(0, W₁ᵀx + b₁) and q̂ = W₂ᵀu + b₂; without
hidden units q̂ = W₂ᵀx. Tables have its weights `w1`, `b1`, `w2`, `b2` and those of its copy, the
target network, as `still_w1` and so on; see `DqnTables`.
"""

from __future__ import annotations

import math
from typing import Any

from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.tabular.kernels.rng import uniform


@kernel
def draw_weights(tables: Any, i: int, random: Array) -> None:
    """The first weights into the hidden units: uniform, with mean 0 and variance 1."""
    for f in range(tables.w1.shape[1]):
        for h in range(tables.w1.shape[2]):
            tables.w1[i, f, h] = math.sqrt(3.0) * (2.0 * uniform(random) - 1.0)
            tables.still_w1[i, f, h] = tables.w1[i, f, h]
    tables.begun[i] = True


@kernel
def evaluate(
    on: Array, x: Array, w1: Array, b1: Array, w2: Array, b2: Array, units: Array, values: Array
) -> None:
    """q̂(s,·) [A] of the features `on` [M] worth `x` [M]; leaves the hidden units in `units` [H].

    u = √(2/H) max(0, W₁ᵀx + b₁), q̂ = W₂ᵀu + b₂; without hidden units q̂ = W₂ᵀx + b₂.
    """
    for a in range(values.size):
        values[a] = b2[a]
    if units.size == 0:
        for m in range(on.size):
            for a in range(values.size):
                values[a] += x[m] * w2[on[m], a]
        return
    scale = math.sqrt(2.0 / units.size)
    for h in range(units.size):
        units[h] = b1[h]
    for m in range(on.size):
        for h in range(units.size):
            units[h] += x[m] * w1[on[m], h]
    for h in range(units.size):
        units[h] = scale * units[h] if units[h] > 0.0 else 0.0
        for a in range(values.size):
            values[a] += units[h] * w2[h, a]


@kernel
def copy_network(tables: Any, i: int) -> None:
    """w⁻ ← w: the target network is made anew."""
    for f in range(tables.w1.shape[1]):
        for h in range(tables.w1.shape[2]):
            tables.still_w1[i, f, h] = tables.w1[i, f, h]
    for h in range(tables.b1.shape[1]):
        tables.still_b1[i, h] = tables.b1[i, h]
    for a in range(tables.b2.shape[1]):
        tables.still_b2[i, a] = tables.b2[i, a]
        for d in range(tables.w2.shape[1]):
            tables.still_w2[i, d, a] = tables.w2[i, d, a]
