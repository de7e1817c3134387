"""The one clock that runs side by side share, and the moves of the cursor on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.config.preset import Preset
from engine.core.arrays import Floats
from tui import kinds
from tui.watching.axes import Axis

COLUMNS = 120
"""How many moves of one the cursor needs from one end of the clock to the other, at most."""


@dataclass(frozen=True, slots=True)
class SharedClock:
    """What the cursor counts.

    Runs that count the same thing are shown at the same count. Where one counts environment steps
    and another updates or sweeps, no count is common: the clock is then each run's own progress,
    in per cent of what it has done so far.
    """

    unit: str
    """One of it in a word; "%" for the share of each run."""
    slug: str
    axis: str
    relative: bool = False
    counted: str = ""
    """The unit, where it is not what the runs' own clocks count (`tui.watching.axes`)."""

    @classmethod
    def of(cls, presets: Sequence[Preset]) -> SharedClock:
        """The clock of runs of these presets."""
        clocks = {kinds.of(preset).clock for preset in presets}
        if len(clocks) == 1:
            (clock,) = clocks
            return cls(clock.unit, clock.slug, clock.axis)
        return cls("%", "environment-step", "% of each run so far", relative=True)

    def counting(self, axis: Axis) -> SharedClock:
        """The clock that counts something else that all of the runs have recorded."""
        return SharedClock(axis.unit, axis.slug, axis.label, counted=axis.unit)

    def positions(self, steps: Floats, length: int, axes: Sequence[Axis] = ()) -> Floats:
        """Where the steps [M] of a run of `length` steps so far stand on the clock: [M]."""
        axis = self._of(axes)
        if axis is not None:
            return axis.of(steps)
        return 100.0 * steps / max(length, 1) if self.relative else steps

    def step(self, position: float, length: int, axes: Sequence[Axis] = ()) -> int:
        """The step of a run of `length` steps so far at a position of the clock."""
        axis = self._of(axes)
        if axis is not None:
            return axis.step(position)
        return round(position * length / 100) if self.relative else int(position)

    def _of(self, axes: Sequence[Axis]) -> Axis | None:
        """Where the clock counts something else: how much of it a run had done when."""
        return next((axis for axis in axes if axis.unit == self.counted), None)

    def told(self, position: float) -> str:
        """A position in words."""
        if self.relative:
            return f"{position:.3g}% of each run"
        return f"{self.unit} {position:,.0f}"


def moved(
    timeline: Floats, cursor: float | None, cells: int, edge: float, log: bool = False
) -> float | None:
    """The cursor so many columns on (negative: back), and at least to the next recorded position.

    `timeline` [M] has the recorded positions, ascending; `edge` is where the run that is farthest
    stands now, and None is the cursor there: it follows the runs.
    """
    here = edge if cursor is None else cursor
    reached = timeline[timeline < here] if cells < 0 else timeline[timeline > here]
    if not reached.size:
        return cursor if cells < 0 else None
    scale = np.log1p if log else np.asarray
    low, high, at = (float(scale(np.float64(x))) for x in (timeline[0], edge, here))
    wanted = at + cells * (high - low) / COLUMNS
    near = float(reached[np.abs(scale(reached) - wanted).argmin()])
    return None if near >= edge else near
