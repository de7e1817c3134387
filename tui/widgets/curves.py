"""The curves panel: one chart, and which figures it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import reactive

from tui.snapshot import Snapshot
from tui.widgets import glyphs
from tui.widgets.chart import Chart
from tui.widgets.chart_plot import Reference, Series
from tui.widgets.choice_bar import ChoiceBar
from tui.widgets.terms import Term, unique

STEPS = Term("steps per agent", "environment-step")


@dataclass(frozen=True, slots=True)
class Figure:
    """One curve: the metric in the store, its name on screen, its glossary entry."""

    metric: str
    label: str
    slug: str


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


class CurvesPanel(Vertical, can_focus=True):
    """Curves of a run against its exact optimum. Mean and band are over the agents."""

    DEFAULT_CSS = """
    CurvesPanel { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "cursor(-1)", "Cursor left", id="curves.left", show=False),
        Binding("right", "cursor(1)", "Cursor right", id="curves.right", show=False),
        Binding("pageup", "cursor(-10)", "Cursor far left", id="curves.far-left", show=False),
        Binding("pagedown", "cursor(10)", "Cursor far right", id="curves.far-right", show=False),
        Binding(
            "enter",
            "go",
            "Go there",
            id="curves.go",
            tooltip="Show the run as it was at the cursor, which left and right move",
        ),
        Binding(
            "escape",
            "release",
            "Drop cursor",
            id="curves.release",
            tooltip="Take the cursor off the curves",
            show=False,
        ),
        Binding(
            "l", "log_x", "Log x", id="curves.log-x", tooltip="Logarithmic or linear step axis"
        ),
    ]

    class MomentChosen(Message):
        """The user asked for the run as it was at a step."""

        def __init__(self, step: int) -> None:
            self.step = step
            super().__init__()

    view_index: reactive[int] = reactive(0, init=False)
    """Which of the views with data is shown."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.snapshot: Snapshot | None = None
        self.views: list[View] = []

    def compose(self) -> ComposeResult:
        yield ChoiceBar()
        yield Chart(empty="No point recorded yet: press space to go on")

    @property
    def view(self) -> View | None:
        """The view that is shown."""
        return self.views[self.view_index % len(self.views)] if self.views else None

    @property
    def cursor(self) -> float | None:
        """The step at which the cursor stands."""
        return self.query_one(Chart).cursor_x

    def show(self, snapshot: Snapshot) -> None:
        """Draw the curves of this moment; in a recording the cursor stands at it."""
        left_recording = self.snapshot is not None and not self.snapshot.following
        self.snapshot = snapshot
        chart = self.query_one(Chart)
        if not snapshot.following:
            chart.cursor_x = float(snapshot.at)
        elif left_recording:
            chart.cursor_x = None
        self.views = [view for view in VIEWS if figures(view, snapshot)]
        self._draw()

    def terms(self) -> list[Term]:
        """The glossary terms of the figures and levels shown."""
        snapshot, view = self.snapshot, self.view
        if snapshot is None or view is None:
            return []
        shown: list[Figure | Level] = [*figures(view, snapshot), *view.levels(snapshot)]
        terms = [Term(item.label, item.slug) for item in shown]
        axis = Term("sweeps", "sweep") if _planning(snapshot) else STEPS
        return unique([*terms, axis, Term("band over agents", "band")])

    def _draw(self) -> None:
        snapshot, view = self.snapshot, self.view
        if snapshot is None or view is None or not self.is_mounted:
            return
        bar, chart = self.query_one(ChoiceBar), self.query_one(Chart)
        bar.titles = tuple(v.title for v in self.views)
        bar.chosen = self.view_index % len(self.views)
        chart.ascii = glyphs.current().ascii
        chart.x_label = "sweeps" if _planning(snapshot) else STEPS.label
        curves = [(figure, snapshot.curves[figure.metric]) for figure in figures(view, snapshot)]
        chart.show(
            [Series(glyphs.plain(f.label), c.x, c.mean, c.low, c.high) for f, c in curves],
            [Reference(glyphs.plain(x.label), x.value) for x in view.levels(snapshot)],
            y_range=view.y_range,
        )

    def next_view(self) -> None:
        """Show the next figures."""
        if self.views:
            self.view_index = (self.view_index + 1) % len(self.views)

    def watch_view_index(self) -> None:
        """Another view."""
        self._draw()

    def on_choice_bar_clicked(self, message: ChoiceBar.Clicked) -> None:
        """A title was clicked."""
        message.stop()
        self.view_index = message.index

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a cursor there is nothing to drop, and nowhere to go."""
        return action not in ("go", "release") or (self.is_mounted and self.cursor is not None)

    def action_cursor(self, cells: int) -> None:
        """Move the chart's cursor."""
        before = self.cursor
        self.query_one(Chart).move_cursor(cells)
        if before is None:
            self.refresh_bindings()

    def action_release(self) -> None:
        """Drop the chart's cursor."""
        self.query_one(Chart).cursor_x = None
        self.refresh_bindings()

    def action_log_x(self) -> None:
        """Switch the step axis between linear and logarithmic."""
        chart = self.query_one(Chart)
        chart.log_x = not chart.log_x

    def action_go(self) -> None:
        """Ask for the run as it was at the cursor."""
        if self.cursor is not None:
            self.post_message(self.MomentChosen(int(self.cursor)))

    async def _on_click(self, event: events.Click) -> None:
        """Put the cursor where the chart was clicked."""
        chart = self.query_one(Chart)
        x = chart.x_at(event.screen_x - chart.content_region.x)
        if event.widget is chart and x is not None:
            chart.cursor_x = x
            self.refresh_bindings()


def figures(view: View, snapshot: Snapshot) -> list[Figure]:
    """The figures of a view that this run has, each curve once: the target policy of an
    off-policy method is the greedy one."""
    same = snapshot.algorithm.policy_type != "on-policy"
    return [
        figure
        for figure in view.figures
        if _has_data(snapshot, figure.metric) and not (same and figure.metric == GREEDY)
    ]


def _has_data(snapshot: Snapshot, metric: str) -> bool:
    curve = snapshot.curves.get(metric)
    return curve is not None and bool((~np.isnan(curve.mean)).any())


def _planning(snapshot: Snapshot) -> bool:
    return snapshot.algorithm.family == "planning"
