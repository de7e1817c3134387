"""Live values of the figures and the curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.glossary.values.words import (
    Value,
    figure,
    latest,
    number,
    past_points,
    per_action,
    place,
    plural,
    shown_observation,
    shown_state,
)
from tui.ui.text import percent

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def exact(name: str) -> Value:
    """An exact figure of the newest evaluation."""
    return lambda snapshot: figure(snapshot, name)


def success_rate(snapshot: Snapshot) -> str | None:
    """The success rate, and what success is where it is not reaching the goal."""
    found, rule = figure(snapshot, "success_rate"), snapshot.world.maze.success_rule
    return f"{found} (success here is {rule})" if found and rule else found


def measured(name: str, unit: str) -> Value:
    """The newest point of one of the learner's own metrics."""

    def value(snapshot: Snapshot) -> str | None:
        point = latest(snapshot, name)
        return None if point is None else f"{number(point)} {unit}"

    return value


def online_success_rate(snapshot: Snapshot) -> str | None:
    point = latest(snapshot, "online_success_rate")
    return None if point is None else f"{percent(point)} of the episodes lately"


def exploring_share(snapshot: Snapshot) -> str | None:
    point = latest(snapshot, "exploring_share")
    return None if point is None else f"{percent(point)} of the steps lately"


def exact_figures(snapshot: Snapshot) -> str | None:
    evaluation = snapshot.evaluation
    if evaluation is None:
        return None
    if evaluation.success_kind == "exact":
        return f"exact, evaluated at step {evaluation.step:,}"
    return f"sampled, standard error {number(evaluation.success_stderr)}"


def optimal_return(snapshot: Snapshot) -> str:
    return f"{number(snapshot.optimal_figures.optimal_return)} in this world"


def horizon_optimum(snapshot: Snapshot) -> str:
    return f"{number(snapshot.optimal_figures.horizon_optimum)} in this world"


def visits(snapshot: Snapshot) -> str | None:
    if snapshot.policy is None:
        return None
    here = snapshot.policy.visits[shown_observation(snapshot)]
    return f"at {place(snapshot, shown_state(snapshot))}: {per_action(snapshot, here)}"


def band(snapshot: Snapshot) -> str | None:
    evaluation = snapshot.evaluation
    if evaluation is None or "success_rate" not in evaluation.figures:
        return None
    metric = evaluation.figures["success_rate"]
    agents = plural(metric.n, "agent")
    return f"success {number(metric.low)} to {number(metric.high)}, over {agents}"


def recording_point(snapshot: Snapshot) -> str | None:
    curves = [curve.x for curve in snapshot.curves.values()]
    points = [x[:n] for x in curves if (n := past_points(snapshot, x))]
    if not points:
        return None
    longest = max(points, key=len)
    newest = int(max(x[-1] for x in points))
    return f"{plural(len(longest), 'point')} so far, the newest at step {newest:,}"


VALUES: dict[str, Value] = {
    "success-rate": success_rate,
    "greedy-success-rate": exact("greedy_success_rate"),
    "expected-return": exact("expected_return"),
    "expected-score": exact("expected_score"),
    "expected-length": exact("expected_length"),
    "exact-figures": exact_figures,
    "optimal-return": optimal_return,
    "horizon-optimum": horizon_optimum,
    "online-return": measured("online_return", "on average lately"),
    "online-success-rate": online_success_rate,
    "online-length": measured("online_length", "steps on average lately"),
    "exploring-share": exploring_share,
    "fall-rate": measured("falls_per_1000_steps", "falls per 1,000 steps lately"),
    "visits": visits,
    "band": band,
    "recording-point": recording_point,
}
