"""The curves panel: one chart, and which figures it shows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import reactive

from engine.runs.curves import Curve
from tui import kinds
from tui.kinds.tabular_views import GREEDY
from tui.kinds.views import Figure, Level, View
from tui.model.snapshot import Snapshot
from tui.plot.chart import Chart
from tui.plot.chart_plot import Reference, Series
from tui.ui import glyphs
from tui.ui.bindings import key, move
from tui.ui.choice_bar import ChoiceBar
from tui.ui.fact import Term
from tui.ui.terms import unique

NOTHING = "No point recorded yet"


class CurvesPanel(Vertical, can_focus=True):
    """Curves of a run against its exact optimum. Mean and band are over the agents."""

    DEFAULT_CSS = """
    CurvesPanel { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        move("curves.left", "left", "cursor(-1)", "Cursor left",
             "The cursor on the curves goes one point back"),
        move("curves.right", "right", "cursor(1)", "Cursor right",
             "The cursor on the curves goes one point on"),
        move("curves.far-left", "pageup", "cursor(-10)", "Cursor far left",
             "The cursor on the curves goes ten points back"),
        move("curves.far-right", "pagedown", "cursor(10)", "Cursor far right",
             "The cursor on the curves goes ten points on"),
        key("curves.go", "enter", "go", "Go there",
            "Show the run as it was at the cursor, which left and right move"),
        key("curves.release", "escape", "release", "Drop cursor",
            "Take the cursor off the curves", show=False),
        key("curves.log-x", "l", "log_x", "Log x", "Logarithmic or linear step axis"),
    ]  # fmt: skip

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
        yield Chart(empty=NOTHING)

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
        choice = kinds.of(snapshot.preset).views_of(snapshot)
        self.views = [view for view in choice if figures(view, snapshot)]
        chart.empty = f"{NOTHING}: space goes on" if snapshot.head.state == "paused" else NOTHING
        self._draw()

    def terms(self) -> list[Term]:
        """The glossary terms of the figures and levels shown."""
        snapshot, view = self.snapshot, self.view
        if snapshot is None or view is None:
            return []
        shown: list[Figure | Level] = [*figures(view, snapshot), *view.levels(snapshot)]
        terms = [Term(item.label, item.slug) for item in shown]
        clock = kinds.of(snapshot.preset).clock
        axis = Term(clock.axis, clock.slug)
        return unique([*terms, axis, Term("band over agents", "band")])

    def _draw(self) -> None:
        snapshot, view = self.snapshot, self.view
        if snapshot is None or view is None or not self.is_mounted:
            return
        bar, chart = self.query_one(ChoiceBar), self.query_one(Chart)
        bar.titles = tuple(v.title for v in self.views)
        bar.chosen = self.view_index % len(self.views)
        chart.ascii = glyphs.current().ascii
        rule = snapshot.world.maze.success_rule if view.about_success else ""
        chart.title = f"success: {rule}" if rule else ""
        chart.x_label = kinds.of(snapshot.preset).clock.axis
        chart.show(
            [_series(figure, snapshot) for figure in figures(view, snapshot)],
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
    if _about_held_out(view) and not snapshot.held_out_curves:
        return []
    same = kinds.of(snapshot.preset).target_is_greedy
    return [
        figure
        for figure in view.figures
        if _has_data(snapshot, figure) and not (same and figure.metric == GREEDY)
    ]


def _about_held_out(view: View) -> bool:
    return any(figure.split == "test" for figure in view.figures)


def _curve(figure: Figure, snapshot: Snapshot) -> Curve | None:
    curves = snapshot.held_out_curves if figure.split == "test" else snapshot.curves
    return curves.get(figure.metric)


def _has_data(snapshot: Snapshot, figure: Figure) -> bool:
    curve = _curve(figure, snapshot)
    return curve is not None and bool((~np.isnan(curve.mean)).any())


def _series(figure: Figure, snapshot: Snapshot) -> Series:
    """The curve of a figure; a band only where there is something to spread over."""
    curve, label = _curve(figure, snapshot), glyphs.plain(figure.label)
    assert curve is not None
    known = ~np.isnan(curve.mean)
    if kinds.of(snapshot.preset).one_learner and (curve.low[known] == curve.high[known]).all():
        return Series(label, curve.x, curve.mean)
    return Series(label, curve.x, curve.mean, curve.low, curve.high)
