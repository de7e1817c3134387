"""The figures that runs are compared by: which there are, and what they are at the cursor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.runs.curves import Curve
from tui import kinds
from tui.features.compare.intervals import of_difference, told
from tui.features.compare.watch import Comparison, Side
from tui.glossary.entries import load
from tui.kinds.llm_views import LLM_VIEWS
from tui.kinds.tabular_views import GREEDY, TABULAR_VIEWS
from tui.model.snapshot import Snapshot
from tui.ui.text import difference, number, signed

if TYPE_CHECKING:
    from engine.experiments.intervals import Estimate

SHARE = (0.0, 1.0)
FROM_ZERO = (0.0, None)
OF_MAP = "success_rate_map_"
"""Before the number of one of the maps that a run goes through."""
HELD_OUT = "held_out_"
"""Before the name of a figure that is measured on mazes held out from training."""


class Metric(NamedTuple):
    """A figure by its name in the store, as it is called here."""

    name: str
    label: str
    slug: str
    y_range: tuple[float | None, float | None] = (None, None)


FIRST = (
    Metric("success_rate", "success", "success-rate", SHARE),
    Metric("expected_return", "return", "expected-return"),
    Metric("expected_score", "score", "expected-score"),
    Metric("expected_length", "length", "expected-length", FROM_ZERO),
    Metric("held_out_success_rate", "held-out success", "held-out-mazes", SHARE),
    Metric("deployed_success_rate", "deployed success", "deployed-environment", SHARE),
    Metric("deployed_expected_return", "deployed return", "deployed-environment"),
    Metric("observable_optimum", "best for what is seen", "perceptual-aliasing"),
    Metric("online_success_rate", "online success", "online-success-rate", SHARE),
    Metric("online_return", "online return", "online-return"),
    Metric("online_length", "online length", "online-length", FROM_ZERO),
    Metric(GREEDY, "greedy success", "greedy-success-rate", SHARE),
    Metric("falls_per_1000_steps", "falls per 1,000", "fall-rate", FROM_ZERO),
    Metric("falls_total", "falls so far", "fall", FROM_ZERO),
    Metric("regret", "regret", "regret", FROM_ZERO),
    Metric("first_optimal_step", "first optimal step", "first-optimal-step", FROM_ZERO),
    Metric("first_optimal_episode", "first optimal episode", "first-optimal-step", FROM_ZERO),
    Metric("recovery_steps", "steps to recover", "recovery-steps", FROM_ZERO),
    Metric("value_reach", "reach of V in moves", "value-reach", FROM_ZERO),
    Metric("value_rmse", "error of V", "value-rmse", FROM_ZERO),
    Metric("rmse", "error of V (RMSE)", "value-rmse", FROM_ZERO),
    Metric("bias2", "bias²", "bias-variance", FROM_ZERO),
    Metric("variance", "variance", "bias-variance", FROM_ZERO),
    Metric("exploring_share", "exploring share", "exploring-share", SHARE),
)
"""What nearly everybody asks first. What else runs have recorded comes behind."""


# ---------------------------------------------------------------- which figures


def curve_of(snapshot: Snapshot, name: str) -> Curve | None:
    """The recorded curve of a figure."""
    return figure_of(snapshot.curves, snapshot.held_out_curves, name)


def figure_of(
    curves: Mapping[str, Curve], held_out: Mapping[str, Curve], name: str
) -> Curve | None:
    """The curve of a figure among those of a run."""
    curve = curves.get(name)
    if curve is None and name.startswith(HELD_OUT):
        return held_out.get(name.removeprefix(HELD_OUT))
    return curve


def metrics_of(sides: Sequence[Side], first: Sequence[str] = ()) -> tuple[Metric, ...]:
    """The figures at least one of the runs has: those named `first`, then the usual ones."""
    shots = [side.snapshot for side in sides if side.snapshot is not None]
    usual = {metric.name: metric for metric in FIRST}
    recorded = [name for shot in shots for name in shot.curves]
    recorded += [HELD_OUT + name for shot in shots for name in shot.held_out_curves]
    names = dict.fromkeys([*first, *usual, *recorded])
    return tuple(
        _looked_up(usual[name]) if name in usual else named(name)
        for name in names
        if any(_told(shot, name) for shot in shots)
    )


def _told(snapshot: Snapshot, name: str) -> bool:
    """Whether the run has values of the figure that are not those of another one."""
    curve = curve_of(snapshot, name)
    if curve is None or np.isnan(curve.mean).all():
        return False
    twice = name.removeprefix(HELD_OUT) == GREEDY and kinds.of(snapshot.preset).target_is_greedy
    return not twice


@cache
def named(name: str) -> Metric:
    """A figure that is none of the usual: as the trainer's curves call it, else by its name."""
    for view in (*TABULAR_VIEWS, *LLM_VIEWS):
        for figure in view.figures:
            if figure.metric == name and figure.split == "train":
                return Metric(name, figure.label, figure.slug, view.y_range)
    if name.startswith(OF_MAP):  # first what tells it from the others, should it be cut
        return Metric(name, f"map {name.removeprefix(OF_MAP)} success", "success-rate", SHARE)
    return _looked_up(Metric(name, name.replace("_", " "), name.replace("_", "-")))


def _looked_up(metric: Metric) -> Metric:
    """The figure, without a slug where the glossary has no such entry."""
    return metric if metric.slug in _slugs() else metric._replace(slug="")


@cache
def _slugs() -> frozenset[str]:
    return frozenset(entry.slug for entry in load())


# ---------------------------------------------------------------- their values


class Reading(NamedTuple):
    """A figure of one run: mean over its agents, 10th and 90th percentile. NaN where unknown."""

    mean: float
    low: float
    high: float


UNKNOWN = Reading(math.nan, math.nan, math.nan)


def reading(side: Side, name: str, comparison: Comparison) -> Reading:
    """The figure as last recorded at or before the cursor; at the live edge the newest value."""
    shot = side.snapshot
    curve = None if shot is None else curve_of(shot, name)
    if curve is None:
        return UNKNOWN
    if comparison.cursor is None:
        known = np.flatnonzero(~np.isnan(curve.mean))
        place = int(known[-1]) if known.size else -1
    else:
        step = side.at(comparison.clock, comparison.cursor)
        place = int(np.searchsorted(curve.x, step, side="right")) - 1
    if place < 0:
        return UNKNOWN
    return Reading(*(float(values[place]) for values in (curve.mean, curve.low, curve.high)))


def optimum(snapshot: Snapshot, name: str) -> float:
    """What the exact optimum makes of a figure; NaN where that says nothing."""
    if name.startswith(("deployed_", HELD_OUT)):
        return math.nan
    name = name.removeprefix("online_").removeprefix("expected_").removeprefix("greedy_")
    return kinds.of(snapshot.preset).optimal_figures(snapshot).get(name, math.nan)


def newest(side: Side) -> dict[str, float]:
    """Every figure of a run as it is now, wherever the cursor is; counters and optimum too."""
    shot = side.snapshot
    if shot is None:
        return {}
    curves = {
        **{HELD_OUT + name: curve for name, curve in shot.held_out_curves.items()},
        **shot.curves,
    }
    head, best = shot.head, shot.optimal_figures
    return {
        "optimal_return": best.optimal_return,
        "horizon_optimum": best.horizon_optimum,
        "optimal_success_rate": best.success_rate,
        "optimal_score": best.expected_score,
        "optimal_length": best.expected_length,
        **{name: _last(curve) for name, curve in curves.items()},
        "step": float(side.length),
        "env_steps": float(head.env_steps),
        "total_env_steps": float(head.total_env_steps),
        "episodes": float(head.episodes),
        "updates": float(head.updates),
    }


def _last(curve: Curve) -> float:
    known = curve.mean[~np.isnan(curve.mean)]
    return float(known[-1]) if known.size else math.nan


# ---------------------------------------------------------------- the table


def count(side: Side, name: str, comparison: Comparison) -> int | None:
    """How many agents the figure at the cursor is the mean of, where some are missing; else None.

    A figure such as the steps to recover is known only of the agents that got there.
    """
    shot = side.snapshot
    if shot is None or name not in shot.reached:
        return None
    cursor = comparison.cursor
    step = None if cursor is None else side.at(comparison.clock, cursor)
    found = shot.reached[name].at(step)
    return found if found < shot.preset.run.agents else None


class Row(NamedTuple):
    """One line of the table: a value for each run, and from the second on what it is more than
    the first (empty where that says nothing)."""

    label: str
    slug: str
    values: tuple[str, ...]
    differences: tuple[str, ...] = ()


def figure_rows(comparison: Comparison, metrics: Sequence[Metric]) -> list[Row]:
    """The figures at the cursor, in four digits."""
    rows = []
    for metric in metrics:
        means = [reading(side, metric.name, comparison).mean for side in comparison.sides]
        if not all(map(math.isnan, means)):
            counts = [count(side, metric.name, comparison) for side in comparison.sides]
            rows.append(_counted(row_of(metric, means), counts, comparison.sides))
    return rows


def estimates(comparison: Comparison, name: str) -> tuple[Estimate | None, ...]:
    """For each run how sure its difference to the first one is at the end; None where that is not
    known, or where a figure is of some of the agents only."""
    means = [reading(side, name, comparison).mean for side in comparison.sides]
    counts = [count(side, name, comparison) for side in comparison.sides]
    return tuple(
        of_difference(found.get(name), mean - means[0]) if alike(known, counts[0]) else None
        for found, mean, known in zip(comparison.intervals, means, counts, strict=False)
    )


def interval_rows(comparison: Comparison, metrics: Sequence[Metric]) -> list[Row]:
    """A title and, for each figure, the 95 % intervals of the differences at the end of all runs;
    nothing while one goes on or an earlier moment is shown."""
    if comparison.cursor is not None:
        return []
    found = [(metric, tuple(map(told, estimates(comparison, metric.name)))) for metric in metrics]
    rows = [Row(metric.label, metric.slug, words) for metric, words in found if any(words)]
    title = Row("95 % interval of the difference", "confidence-interval", ())
    return [title, *rows] if rows else []


def row_of(metric: Metric, means: Sequence[float]) -> Row:
    """A row of one figure."""
    more = [difference(mean, means[0]) for mean in means[1:]]
    return Row(
        metric.label,
        metric.slug,
        tuple(number(mean, 4) for mean in means),
        tuple("" if math.isnan(each) else signed(each, 3) for each in more),
    )


def _counted(row: Row, counts: Sequence[int | None], sides: Sequence[Side]) -> Row:
    """The row with the number of agents where some are missing, and without the differences that
    are then between other agents."""
    values = [
        value if known is None else f"{value} ({known} of {side.preset.run.agents})"
        for value, known, side in zip(row.values, counts, sides, strict=True)
    ]
    more = [
        each if alike(known, counts[0]) else ""
        for each, known in zip(row.differences, counts[1:], strict=True)
    ]
    return row._replace(values=tuple(values), differences=tuple(more))


def alike(first: int | None, second: int | None) -> bool:
    """Whether two means may be subtracted: both are over all agents."""
    return first is None and second is None
