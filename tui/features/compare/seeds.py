"""Runs that differ in nothing but their seed: one line, with the interval of their mean as a band.

The runs of a sweep bring those of its other seeds with them, though only one of each setting is
compared side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.runs.curves import Curve
from engine.runs.reader import RunReader
from tui import kinds
from tui.plot.chart_view import Series
from tui.watching.axes import Axis, axes

if TYPE_CHECKING:
    from engine.experiments.intervals import Ends, Estimate

FEWEST = 3
"""Seeds from which on a mean has an interval (`engine.experiments.intervals.FEWEST`)."""
POINTS = 90
"""Of the line of several seeds: an interval at each is dear, and no chart is much wider in dots."""


class Seed(NamedTuple):
    """A run of another seed, as far as it has come."""

    curves: Mapping[str, Curve]
    held_out: Mapping[str, Curve]
    axes: tuple[Axis, ...]
    length: int


def others(paths: Sequence[Path]) -> list[list[Path]]:
    """For each run of a sweep those of its setting's other seeds that are not among `paths`."""
    return [_others(path, paths) for path in paths]


def _others(path: Path, paths: Sequence[Path]) -> list[Path]:
    # start-up time: most runs belong to no sweep
    from engine.experiments import sweeps

    if not (path.parent / sweeps.SWEEP).is_file():
        return []
    runs = sweeps.recorded_runs(path.parent)
    own = next((cell for cell, run in runs.items() if run.name == path.name), None)
    if own is None:
        return []
    named = {each.name for each in paths}
    return [
        run for cell, run in runs.items() if cell.setting == own.setting and run.name not in named
    ]


class Seeds:
    """Reads the runs of other seeds; one that cannot be read is left out."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._readers: list[RunReader] = []
        self._found: tuple[Seed, ...] = ()

    def look(self) -> tuple[Seed, ...]:
        """All of them as they are now; the same tuple where nothing is new."""
        while self._paths:
            try:
                self._readers.append(RunReader(self._paths.pop()))
                self._found = (*self._found, Seed({}, {}, (), 0))
            except UserError:
                continue
        for i, reader in enumerate(self._readers):
            try:
                if reader.changed():
                    seed = _read(reader)
                    self._found = (*self._found[:i], seed, *self._found[i + 1 :])
            except UserError:  # deleted meanwhile
                continue
        return self._found

    def close(self) -> None:
        """Close the stores."""
        for reader in self._readers:
            reader.close()


def _read(reader: RunReader) -> Seed:
    curves, kind = reader.curves(), kinds.of(reader.info().preset)
    known = axes(kind, reader.progress(), curves)
    return Seed(curves, reader.curves(split="test"), known, reader.head().step)


# ---------------------------------------------------------------- one line of several


class Line(NamedTuple):
    """A figure of one seed on the common clock: both [M]."""

    x: Floats
    y: Floats


def banded(name: str, lines: Sequence[Line], ends: Ends) -> Series:
    """The mean of a figure over S seeds, with its 95 % interval where there are enough of them.

    At each point every seed counts with its last record at or before it. The line begins where all
    have begun, and ends where the first of them ends. A seed without a value makes a gap.
    """
    lines = [line for line in lines if line.x.size]
    if not lines:
        return Series(name, np.empty(0), np.empty(0))
    first, last = max(line.x[0] for line in lines), min(line.x[-1] for line in lines)
    grid = np.unique(np.concatenate([line.x for line in lines]))
    grid = grid[(grid >= first) & (grid <= last)]
    if grid.size > POINTS:
        grid = grid[np.unique(np.linspace(0, grid.size - 1, POINTS).round().astype(int))]
    places = [np.searchsorted(line.x, grid, side="right") - 1 for line in lines]
    table = np.stack([line.y[at] for line, at in zip(lines, places, strict=True)])
    count = len(lines)
    if count < FEWEST:
        return Series(f"{name} (mean of {count} seeds)", grid, table.mean(axis=0))
    found = [interval(tuple(values), ends) for values in table.T.tolist()]
    low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
    mean = table.mean(axis=0)
    # All seeds alike, and nothing known of how far others could be: the line is all there is.
    low, high = np.where(np.isnan(low), mean, low), np.where(np.isnan(high), mean, high)
    return Series(name, grid, mean, low, high, band=f"95% of the mean of {count} seeds")


@lru_cache(maxsize=4096)
def interval(values: tuple[float, ...], ends: Ends) -> Estimate:
    """The project's one interval of a mean, of the figures of S seeds."""
    # start-up time
    from engine.experiments.intervals import of_group

    return of_group(np.array(values), "mean", ends).estimate
