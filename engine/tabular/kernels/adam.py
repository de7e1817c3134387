"""Adam (Kingma and Ba, 2015, algorithm 1) on tables, for use inside kernels."""

from __future__ import annotations

import math

from engine.core.arrays import Array
from engine.core.compiling import kernel

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@kernel
def adam_step(
    parameters: Array, gradient: Array, m: Array, v: Array, count: int, alpha: float
) -> None:
    """One step down `gradient` [A] for a row of parameters; `m`, `v` [A] are its running moments.

    `count` is the number of this step, from 1.
    """
    unbias1 = 1.0 - math.pow(BETA1, count)
    unbias2 = 1.0 - math.pow(BETA2, count)
    for a in range(parameters.size):
        m[a] = BETA1 * m[a] + (1.0 - BETA1) * gradient[a]
        v[a] = BETA2 * v[a] + (1.0 - BETA2) * gradient[a] * gradient[a]
        size = math.sqrt(v[a] / unbias2) + EPSILON
        parameters[a] -= alpha * (m[a] / unbias1) / size  # θ ← θ − α m̂ / (√v̂ + ε)


@kernel
def square_of(row: Array) -> float:
    """The sum of the squares of a row [A]."""
    total = 0.0
    for a in range(row.size):
        total += row[a] * row[a]
    return total
