"""What the curves panel can show: which figures belong together, and the levels they aim at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tui.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Figure:
    """One curve: the metric in the store, its name on screen, its glossary entry."""

    metric: str
    label: str
    slug: str
    split: Literal["train", "test"] = "train"
    """Measured on the mazes that are trained on, or on those held out."""


@dataclass(frozen=True, slots=True)
class Level:
    """One reference line: its name on screen, its glossary entry, its value."""

    label: str
    slug: str
    value: float


@dataclass(frozen=True, slots=True)
class View:
    """What the chart shows at once."""

    title: str
    figures: tuple[Figure, ...]
    levels: Callable[[Snapshot], list[Level]] = lambda snapshot: []
    y_range: tuple[float | None, float | None] = (None, None)


def _success(snapshot: Snapshot) -> list[Level]:
    return [Level("π* success", "optimal-policy", snapshot.optimal_figures.success_rate)]


def _return(snapshot: Snapshot) -> list[Level]:
    figures = snapshot.optimal_figures
    optimum = Level("π* return", "optimal-return", figures.optimal_return)
    if abs(figures.horizon_optimum - figures.optimal_return) < 1e-9:
        return [optimum]
    return [optimum, Level("upper bound", "horizon-optimum", figures.horizon_optimum)]


def _length(snapshot: Snapshot) -> list[Level]:
    return [Level("π* length", "optimal-policy", snapshot.optimal_figures.expected_length)]


GREEDY = "greedy_success_rate"

VIEWS = (
    View(
        "Success",
        (
            Figure("online_success_rate", "online success", "online-success-rate"),
            Figure(GREEDY, "greedy, exact", "greedy-success-rate"),
            Figure("success_rate", "target policy, exact", "success-rate"),
        ),
        _success,
        (0.0, 1.0),
    ),
    View(
        "Return",
        (
            Figure("online_return", "online return", "online-return"),
            Figure("expected_return", "target policy, exact", "expected-return"),
        ),
        _return,
    ),
    View(
        "Length",
        (
            Figure("online_length", "online length", "online-length"),
            Figure("expected_length", "target policy, exact", "expected-length"),
        ),
        _length,
        (0.0, None),
    ),
    View(
        "TD error",
        (Figure("td_error", "mean |δ|", "td-error"),),
        y_range=(0.0, None),
    ),
    View(
        "Change",
        (Figure("largest_change", "largest change of a sweep", "bellman-residual"),),
        y_range=(0.0, None),
    ),
    View(
        "Exploration",
        (
            Figure("exploring_share", "share of exploring steps", "exploring-share"),
            Figure("epsilon", "ε", "epsilon"),
            Figure("learning_rate", "α", "learning-rate"),
        ),
        y_range=(0.0, None),
    ),
    View(
        "Entropy",
        (
            Figure("entropy", "entropy of π", "entropy"),
            Figure("reference_kl", "KL to the reference", "reference-policy"),
            Figure("policy_gradient_norm", "gradient norm", "policy-gradient"),
        ),
        y_range=(0.0, None),
    ),
    View(
        "Clip",
        (
            Figure("clip_fraction", "clip fraction", "clip"),
            Figure("approx_kl", "KL to the old policy", "approx-kl"),
        ),
        y_range=(0.0, None),
    ),
    View(
        "Advantage",
        (
            Figure("advantage_std", "spread of advantages", "normalised-advantage"),
            Figure("value_loss", "value loss", "value-loss"),
            Figure("equal_groups", "all-equal groups", "group"),
        ),
        y_range=(0.0, None),
    ),
    View(
        "Falls",
        (Figure("falls_per_1000_steps", "falls per 1,000 steps", "fall-rate"),),
        y_range=(0.0, None),
    ),
)
