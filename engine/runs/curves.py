"""Curves for charts, grown row by row so that a live chart never reads the past again."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.core.arrays import Floats

Row = Any
"""(step, world id, mean, low, high), the numbers None where they are NaN."""

X, MEAN, LOW, HIGH = range(4)


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over steps, all arrays [points]: mean over agents, 10th and 90th percentile.

    `x` is strictly increasing. NaN marks a gap.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


TIMES = ("first_optimal_step", "first_optimal_episode", "recovery_steps")
"""Figures that say when: means over the agents that got there, so the fewer those are, the better
they look."""


class Reached(NamedTuple):
    """At which recorded steps how many agents had got there."""

    steps: tuple[int, ...]
    counts: tuple[int, ...]

    def at(self, step: float | None) -> int:
        """How many at a step; None is behind the newest figure there is."""
        if step is None:
            return next((count for count in reversed(self.counts) if count), 0)
        place = int(np.searchsorted(self.steps, step, side="right"))
        return self.counts[place - 1] if place else 0


BINDING = {
    "clip_fraction": "clip_binding",
    "clip_fraction_low": "clip_binding_low",
    "clip_fraction_high": "clip_binding_high",
}
"""What runs of language models once recorded under names that mean something else by now, or
nothing: their clip fraction was the share of steps in which the clip binds. A point that has
`clip_fraction_low` is such a one."""


def todays_names(named: list[tuple[str, int]]) -> list[str]:
    """The names that metrics, given by name and step, have today."""
    old = {step for name, step in named if name == "clip_fraction_low"}
    return [BINDING.get(name, name) if step in old else name for name, step in named]


class GrowingCurve:
    """The rows of one metric seen so far.

    Several worlds evaluated at one step make one point, their average; a later row of the same
    world at the same step replaces the earlier one.
    """

    def __init__(self) -> None:
        self._data = np.empty((4, 64))
        self._size = 0
        self._last: dict[int | None, tuple[float, ...]] = {}  # of the newest step, by world
        self._whole: Curve | None = None  # as it was handed out, until it grows

    def extend(self, rows: list[Row]) -> None:
        """Add rows (step, world id, mean, low, high; None for NaN); steps come in order."""
        self._whole = None
        steps = np.array([row[0] for row in rows], float)
        newest = self._data[X, self._size - 1] if self._size else -1.0
        if np.all(np.diff(steps, prepend=newest) > 0):  # the usual case, much faster
            numbers = np.array([row[2:] for row in rows], float).T
            self._add(np.vstack([steps, numbers]))
            self._last = {rows[-1][1]: tuple(numbers[:, -1].tolist())}
            return
        for step, world_id, *values in rows:
            numbers = np.array(values, float)
            if not self._size or step != self._data[X, self._size - 1]:
                self._add(np.full((4, 1), float(step)))
                self._last.clear()
            self._last[world_id] = tuple(numbers.tolist())
            averages = np.mean(list(self._last.values()), axis=0)
            self._data[MEAN:, self._size - 1] = averages

    def _add(self, columns: Floats) -> None:
        """Append points [4, n], doubling the room when it is used up."""
        size = self._size + columns.shape[1]
        if size > self._data.shape[1]:
            room = np.empty((4, max(size, 2 * self._data.shape[1])))
            room[:, : self._size] = self._data[:, : self._size]
            self._data = room
        self._data[:, self._size : size] = columns
        self._size = size

    def curve(self, until: int | None = None) -> Curve:
        """A copy of the points up to step `until`; of all of them one, as long as none is added."""
        if until is None and self._whole is not None:
            return self._whole
        size = self._size
        if until is not None:
            size = int(np.searchsorted(self._data[X, :size], until, side="right"))
        data = self._data[:, :size].copy()
        data.flags.writeable = False
        curve = Curve(x=data[X], mean=data[MEAN], low=data[LOW], high=data[HIGH])
        if until is None:
            self._whole = curve
        return curve
