"""How sure the differences between ended runs are: their 95 % intervals over agents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import UserError
from engine.runs.reader import RunReader
from tui.ui.text import number

if TYPE_CHECKING:
    from engine.core.arrays import Floats
    from engine.experiments.ends import FigureEnds
    from engine.experiments.intervals import Estimate

Differences = Mapping[str, "Estimate"]
"""By the name of the figure: a run's mean minus the first run's, with its interval."""
OF_SOME = (
    "a figure at the end may be of those agents only that still moved, and then its difference has "
    "none"
)
METHOD = (
    "Intervals are 95 % over the agents, and allow for one that nobody has seen, as far off as the "
    "maze lets it be: more agents narrow them."
)


def differences(paths: Sequence[Path]) -> tuple[Differences, ...]:
    """For each run the differences to the first, of the figures that both have for each agent.

    Runs that go on, and those that cannot be read, have none.
    """
    runs = [_agents(path) for path in paths]
    return tuple(_between(run, runs[0]) for run in runs)


def _agents(path: Path) -> tuple[Mapping[str, Floats], FigureEnds] | None:
    """The last figures of each agent [N] by name, and what they can be."""
    # start-up time
    from engine.experiments.ends import FigureEnds

    try:
        with RunReader(path) as reader:
            ends = FigureEnds(reader.worlds(), reader.info().preset.algorithm.gamma)
            return reader.per_agent(), ends
    except UserError:
        return None


def _between(
    of: tuple[Mapping[str, Floats], FigureEnds] | None,
    against: tuple[Mapping[str, Floats], FigureEnds] | None,
) -> Differences:
    # start-up time
    from engine.experiments.intervals import compare

    if of is None or against is None or of is against:
        return {}
    (ours, ends), (theirs, other) = of, against
    found = {
        name: compare(ours[name], theirs[name], ends=(ends[name], other[name]))
        for name in ours
        if name in theirs
    }
    return {name: each for name, each in found.items() if not math.isnan(each.value)}


def of_difference(estimate: Estimate | None, difference: float) -> Estimate | None:
    """The interval of a difference that is shown; none where the last figures of the agents are not
    those it is between: an online figure has nothing to count where an agent did not move."""
    # start-up time
    from engine.experiments.intervals import Estimate

    if estimate is None or math.isclose(estimate.value, difference, rel_tol=1e-6, abs_tol=1e-9):
        return estimate
    return Estimate(value=difference, why=OF_SOME)


def told(estimate: Estimate | None) -> str:
    """`[0.22, 0.29]`; nothing where there is no interval."""
    if estimate is None or not estimate.known:
        return ""
    return f"[{number(estimate.low)}, {number(estimate.high)}]"
