"""Adam (Kingma and Ba, 2015, algorithm 1) on tables, for use inside kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.tabular.compiling import kernel

Array = np.ndarray[Any, np.dtype[Any]]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@kernel
def adam_step(
    parameters: Array, gradient: Array, m: Array, v: Array, count: int, alpha: float
) -> None:
    """One step down `gradient` [O,A]; `m`, `v` [O,A] are its running moments.

    `count` is the number of this step, from 1.
    """
    unbias1 = 1.0 - math.pow(BETA1, count)
    unbias2 = 1.0 - math.pow(BETA2, count)
    for o in range(parameters.shape[0]):
        for a in range(parameters.shape[1]):
            g = gradient[o, a]
            m[o, a] = BETA1 * m[o, a] + (1.0 - BETA1) * g
            v[o, a] = BETA2 * v[o, a] + (1.0 - BETA2) * g * g
            size = math.sqrt(v[o, a] / unbias2) + EPSILON
            parameters[o, a] -= alpha * (m[o, a] / unbias1) / size  # θ ← θ − α m̂ / (√v̂ + ε)


@kernel
def norm_of(table: Array) -> float:
    """The Euclidean length of a table [O,A]."""
    total = 0.0
    for o in range(table.shape[0]):
        for a in range(table.shape[1]):
            total += table[o, a] * table[o, a]
    return math.sqrt(total)
