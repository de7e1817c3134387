"""How many agents got there: a figure that says when is a mean over those who did, and the fewer
they are the better it looks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.runs.reader import RunReader

TIMES = ("first_optimal_step", "first_optimal_episode", "recovery_steps")
"""The figures that only agents have that got there."""


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


class CountingReader(RunReader):
    """A reader that also tells the number of agents behind each of `TIMES`."""

    def reached(self) -> dict[str, Reached]:
        """By name; what the run does not record is not in it."""
        found: dict[str, list[tuple[Any, Any]]] = {}
        rows = self._all(
            "SELECT name, step, n FROM metrics WHERE split = 'train' AND name IN (?, ?, ?) "
            "ORDER BY id",
            *TIMES,
        )
        for name, step, count in rows:
            found.setdefault(name, []).append((step, count))
        return {
            name: Reached(tuple(s for s, _ in pairs), tuple(n for _, n in pairs))
            for name, pairs in found.items()
        }
