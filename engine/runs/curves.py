"""Curves for charts, grown row by row so that a live chart never reads the past again."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

X, MEAN, LOW, HIGH = range(4)


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over steps, all arrays [points]: mean over agents, 10th and 90th percentile.

    `x` is strictly increasing. NaN marks a gap.
    """

    x: Array
    mean: Array
    low: Array
    high: Array


class GrowingCurve:
    """The rows of one metric seen so far.

    Several worlds evaluated at one step make one point, their average; a later row of the same
    world at the same step replaces the earlier one.
    """

    def __init__(self) -> None:
        self._data = np.empty((4, 64))
        self._size = 0
        self._last: dict[int | None, tuple[float, float, float]] = {}

    def append(self, step: int, world_id: int | None, mean: float, low: float, high: float) -> None:
        """Add a row; steps come in order."""
        if not self._size or step != self._data[X, self._size - 1]:
            if self._size == self._data.shape[1]:
                self._data = np.concatenate([self._data, np.empty_like(self._data)], axis=1)
            self._size += 1
            self._last.clear()
        self._last[world_id] = (mean, low, high)
        count = len(self._last)
        averages = [sum(column) / count for column in zip(*self._last.values(), strict=True)]
        self._data[:, self._size - 1] = (step, *averages)

    def curve(self, until: int | None = None) -> Curve:
        """A copy of the points up to step `until`."""
        size = self._size
        if until is not None:
            size = int(np.searchsorted(self._data[X, :size], until, side="right"))
        data = self._data[:, :size].copy()
        data.flags.writeable = False
        return Curve(x=data[X], mean=data[MEAN], low=data[LOW], high=data[HIGH])
