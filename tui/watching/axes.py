"""The units that the curves of a run can be drawn over, besides its own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.core.arrays import Floats
from engine.runs.curves import Curve
from engine.runs.progress import Progress, spent
from tui.kinds.base import Kind
from tui.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One unit: what it counts, and how much of it there was at each step of the clock."""

    unit: str
    """One of it in a word."""
    slug: str
    """Its glossary entry."""
    label: str
    """The name of the axis."""
    steps: Floats | None = None
    values: Floats | None = None
    """Both [M] and rising: the count at each recorded step. None for the clock itself."""

    def of(self, steps: Floats) -> Floats:
        """The count at these steps [N] of the clock; between two records in proportion: [N]."""
        if self.steps is None or self.values is None:
            return steps
        return np.interp(steps, self.steps, self.values)

    def step(self, value: float) -> int:
        """The last recorded step at which the count was not yet above `value`."""
        if self.steps is None or self.values is None:
            return int(value)
        place = int(np.searchsorted(self.values, value * (1 + 1e-12), side="right")) - 1
        return int(self.steps[max(place, 0)])


def axes_of(kind: Kind, snapshot: Snapshot) -> tuple[Axis, ...]:
    """The axes of the run that is shown."""
    return axes(kind, snapshot.progress, snapshot.curves)


def axes(kind: Kind, known: Progress | None, curves: Mapping[str, Curve]) -> tuple[Axis, ...]:
    """The clock of a run first, then what else it has recorded and counts differently."""
    clock = kind.clock
    found = [Axis(clock.unit, clock.slug, clock.axis)]
    if known is not None:
        for unit, slug, label, values in (
            ("episode", "episode", _each("episodes", kind), known.episodes),
            ("update", "update", _each("updates", kind), known.updates),
            ("step", "environment-step", "environment steps in all", known.total_env_steps),
        ):
            if unit != clock.unit and _tells(known.step, values):
                found.append(_from_zero(unit, slug, label, known.step, values))
    taken = spent(curves)
    if taken is not None:
        label = "tokens computed (backward twice)"
        if _tells(taken.step, taken.tokens):
            found.append(_from_zero("token", "token", label, taken.step, taken.tokens))
        label = "seconds of its updates"
        found.append(_from_zero("second", "tokens-per-second", label, taken.step, taken.seconds))
    return tuple(found)


def _each(units: str, kind: Kind) -> str:
    return f"{units} per agent" if kind.preset.run.agents > 1 else units


def _tells(steps: Floats, values: Floats) -> bool:
    """Whether a count rises, and is another one than that of the clock."""
    return bool(values.size and values[-1] > 0 and not np.array_equal(values, steps))


def _from_zero(unit: str, slug: str, label: str, steps: Floats, values: Floats) -> Axis:
    """The axis, at zero before the first record."""
    if steps[0] > 0:
        steps, values = np.append(0.0, steps), np.append(0.0, values)
    return Axis(unit, slug, label, steps, values)
