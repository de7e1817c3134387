"""Figures over independent agents, and the points at which they are recorded."""

from __future__ import annotations

import numpy as np

from engine.core.arrays import Array
from engine.learning.events import Metric


def summarise(values: Array) -> Metric:
    """Mean and the 10th and 90th percentile over agents [N]; agents without one are left out."""
    known = np.sort(values[~np.isnan(values)])
    if known.size == 0:
        return Metric(float("nan"), float("nan"), float("nan"), 0)
    low, high = _quantile(known, 0.1), _quantile(known, 0.9)
    return Metric(float(known.sum()) / known.size, low, high, int(known.size))


def _quantile(ascending: Array, q: float) -> float:
    """The q-quantile of sorted values [N], linear between neighbours (definition 7 of Hyndman and
    Fan, 1996). `np.percentile` takes longer for it than a recording point for the rest."""
    place = q * (ascending.size - 1)
    below = int(place)
    low = float(ascending[below])
    high = float(ascending[min(below + 1, ascending.size - 1)])
    return low if low == high else low + (place - below) * (high - low)


def next_point(step: int, growth: float) -> int:
    """The recording point after `step`: log-spaced, every step at first."""
    return max(step + 1, int(step * growth))
