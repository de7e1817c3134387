"""Smoothing of curves by one named formula, so that what is drawn can be computed again."""

from __future__ import annotations

import numpy as np

from engine.core.arrays import Floats

WEIGHTS = (0.0, 0.6, 0.9, 0.97)
"""What the key goes through: no smoothing, then ever more of it."""


def ema(values: Floats, weight: float) -> Floats:
    """The exponential moving average of the points of a curve, without bias at its beginning.

    s_i = w s_{i-1} + (1 - w) y_i from s_0 = 0, divided by 1 - w^i: Adam's correction (Kingma & Ba
    2015, algorithm 1), as in TensorBoard. It runs over recorded points, however far apart they are.
    values: (N,); a value that is not finite stays as it is and does not count. `weight` is w.
    """
    smooth = np.array(values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(smooth))
    sum_, share = 0.0, 1.0
    for place in known.tolist():
        sum_ = weight * sum_ + (1 - weight) * float(smooth[place])
        share *= weight
        smooth[place] = sum_ / (1 - share)
    return smooth


def name(weight: float) -> str:
    """The formula in a word, for legends; nothing without smoothing."""
    return f"EMA {weight:g}" if weight else ""
