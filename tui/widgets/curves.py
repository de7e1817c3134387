"""The curves panel: one chart, and which figures it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from textual import events
from textual.app import ComposeResult, RenderResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.style import Style
from textual.widgets import Static

from tui.snapshot import Snapshot
from tui.widgets import glyphs
from tui.widgets.chart import Chart
from tui.widgets.chart_plot import Reference, Series
from tui.widgets.terms import Term


@dataclass(frozen=True, slots=True)
class Figure:
    """One curve: the metric in the store, its name on screen, its glossary entry."""

    metric: str
    label: str
    slug: str


@dataclass(frozen=True, slots=True)
class View:
    """What the chart shows at once."""

    title: str
    figures: tuple[Figure, ...]
    references: Callable[[Snapshot], list[Reference]] = lambda snapshot: []
    y_range: tuple[float | None, float | None] = (None, None)


def _success(snapshot: Snapshot) -> list[Reference]:
    return [Reference("π* success", snapshot.optimal_figures.success_rate)]


def _return(snapshot: Snapshot) -> list[Reference]:
    figures = snapshot.optimal_figures
    optimum = Reference("π* return", figures.optimal_return)
    if abs(figures.horizon_optimum - figures.optimal_return) < 1e-9:
        return [optimum]
    return [optimum, Reference("upper bound", figures.horizon_optimum)]


def _length(snapshot: Snapshot) -> list[Reference]:
    return [Reference("π* length", snapshot.optimal_figures.expected_length)]


VIEWS = (
    View(
        "Success",
        (
            Figure("online_success_rate", "online success", "online-return"),
            Figure("greedy_success_rate", "greedy, exact", "greedy-success-rate"),
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
            Figure("online_length", "online length", "expected-length"),
            Figure("expected_length", "target policy, exact", "expected-length"),
        ),
        _length,
        (0.0, None),
    ),
    View(
        "TD error",
        (
            Figure("td_error", "mean |δ|", "td-error"),
            Figure("largest_change", "largest change of a sweep", "sweep"),
        ),
        y_range=(0.0, None),
    ),
    View(
        "Exploration",
        (
            Figure("exploring_share", "share of exploring steps", "exploration"),
            Figure("epsilon", "ε", "epsilon"),
            Figure("learning_rate", "α", "learning-rate"),
        ),
        y_range=(0.0, None),
    ),
    View(
        "Falls",
        (Figure("falls_per_1000_steps", "falls per 1,000 steps", "safety"),),
        y_range=(0.0, None),
    ),
)


class ViewBar(Static):
    """The names of the views, the shown one marked; a click chooses one."""

    DEFAULT_CSS = "ViewBar { height: 1; width: 1fr; }"

    class Chosen(Message):
        """A view was clicked."""

        def __init__(self, index: int) -> None:
            self.index = index
            super().__init__()

    shown: reactive[int] = reactive(0)
    """Index of the view that is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.titles: tuple[str, ...] = ()

    def render(self) -> RenderResult:
        pieces: list[Content] = []
        for i, title in enumerate(self.titles):
            look = Style(bold=True, reverse=True) if i == self.shown else Style()
            text = f"[{title}]" if i == self.shown else f" {title} "
            pieces.append(Content.styled(text, look + Style.from_meta({"view": i})))
        return Content("").join(pieces)

    async def _on_click(self, event: events.Click) -> None:
        index = event.style.meta.get("view")
        if isinstance(index, int):
            self.post_message(self.Chosen(index))


class CurvesPanel(Vertical, can_focus=True):
    """Curves of a run against its exact optimum. Mean and band are over the agents."""

    DEFAULT_CSS = """
    CurvesPanel { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "cursor(-1)", "Cursor left", id="curves.left", show=False),
        Binding("right", "cursor(1)", "Cursor right", id="curves.right", show=False),
        Binding(
            "enter",
            "go",
            "Go there",
            id="curves.go",
            tooltip="Show the run as it was at the cursor",
        ),
        Binding("escape", "release", "Drop cursor", id="curves.release", show=False),
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
        yield ViewBar()
        yield Chart(x_label="steps per agent", empty="No point recorded yet: press space to go on")

    @property
    def view(self) -> View | None:
        """The view that is shown."""
        return self.views[self.view_index % len(self.views)] if self.views else None

    def show(self, snapshot: Snapshot) -> None:
        """Draw the curves of this moment."""
        self.snapshot = snapshot
        self.views = [
            view
            for view in VIEWS
            if any(_has_data(snapshot, figure.metric) for figure in view.figures)
        ]
        self._draw()

    def terms(self) -> list[Term]:
        """The glossary terms of the figures shown."""
        view = self.view
        return [Term(f.label, f.slug) for f in view.figures] if view else []

    def _draw(self) -> None:
        snapshot, view = self.snapshot, self.view
        if snapshot is None or view is None or not self.is_mounted:
            return
        bar, chart = self.query_one(ViewBar), self.query_one(Chart)
        titles = tuple(v.title for v in self.views)
        if bar.titles != titles:
            bar.titles = titles
            bar.refresh(layout=False)
        bar.shown = self.view_index % len(self.views)
        chart.ascii = glyphs.current().ascii
        chart.x_label = "sweeps" if snapshot.algorithm.family == "planning" else "steps per agent"
        series = [
            Series(figure.label, curve.x, curve.mean, curve.low, curve.high)
            for figure in view.figures
            if (curve := snapshot.curves.get(figure.metric)) is not None
            and not np.isnan(curve.mean).all()
        ]
        if not snapshot.following:
            chart.cursor_x = float(snapshot.at)
        chart.show(series, view.references(snapshot), y_range=view.y_range)

    def next_view(self) -> None:
        """Show the next figures."""
        if self.views:
            self.view_index = (self.view_index + 1) % len(self.views)

    def follow(self) -> None:
        """Drop the cursor: the run is followed again."""
        self.query_one(Chart).cursor_x = None

    def watch_view_index(self) -> None:
        self._draw()

    def on_view_bar_chosen(self, message: ViewBar.Chosen) -> None:
        self.view_index = message.index

    def action_cursor(self, cells: int) -> None:
        """Move the chart's cursor."""
        self.query_one(Chart).move_cursor(cells)

    def action_release(self) -> None:
        """Drop the chart's cursor."""
        self.follow()

    def action_log_x(self) -> None:
        """Switch the step axis between linear and logarithmic."""
        chart = self.query_one(Chart)
        chart.log_x = not chart.log_x

    def action_go(self) -> None:
        """Ask for the run as it was at the cursor."""
        x = self.query_one(Chart).cursor_x
        if x is not None:
            self.post_message(self.MomentChosen(int(x)))


def _has_data(snapshot: Snapshot, metric: str) -> bool:
    curve = snapshot.curves.get(metric)
    return curve is not None and bool((~np.isnan(curve.mean)).any())
