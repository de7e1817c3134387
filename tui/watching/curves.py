"""The curves panel: which figures of a run are drawn, over which time axis."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from textual.binding import BindingType
from textual.message import Message
from textual.reactive import reactive

from engine.runs.curves import Curve
from tui import kinds
from tui.kinds.tabular_views import GREEDY
from tui.kinds.views import Figure, Level, View
from tui.model.snapshot import Snapshot
from tui.plot.chart_panel import ChartPanel
from tui.plot.chart_view import Reference, Series
from tui.plot.charts import MOST, Charts, Picture
from tui.ui import glyphs
from tui.ui.bindings import key, move
from tui.ui.choice_bar import ChoiceBar
from tui.ui.fact import Term
from tui.ui.terms import unique
from tui.watching.axes import Axis, axes_of

NOTHING = "No point recorded yet"


class CurvesPanel(ChartPanel):
    """Curves of a run against its exact optimum. Mean and band are over the agents."""

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
    ]  # fmt: skip

    class MomentChosen(Message):
        """The user asked for the run as it was at a step."""

        def __init__(self, step: int) -> None:
            self.step = step
            super().__init__()

    view_index: reactive[int] = reactive(0, init=False)
    """Which of the views with data is shown."""
    cursor: reactive[float | None] = reactive(None, init=False)
    """The step at which the vertical cursor of all charts stands; None shows none."""
    unit: reactive[str] = reactive("", init=False)
    """What the time axis counts (`Axis.unit`), where the run has recorded it; else its clock."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(NOTHING, id=id, classes=classes)
        self.snapshot: Snapshot | None = None
        self.views: list[View] = []
        self._axes: tuple[Axis, ...] = ()

    @property
    def view(self) -> View | None:
        """The view that is shown first."""
        return self.views[self.view_index % len(self.views)] if self.views else None

    @property
    def axis(self) -> Axis | None:
        """The time axis of all charts."""
        return next((a for a in self._axes if a.unit == self.unit), next(iter(self._axes), None))

    @property
    def axes(self) -> int:
        """How many units the time axis can be counted in."""
        return len(self._axes)

    def show(self, snapshot: Snapshot) -> None:
        """Draw the curves of this moment; in a recording the cursor stands at it."""
        left_recording = self.snapshot is not None and not self.snapshot.following
        self.snapshot = snapshot
        kind = kinds.of(snapshot.preset)
        self._axes = axes_of(kind, snapshot)
        self.views = [view for view in kind.views_of(snapshot) if figures(view, snapshot)]
        if not snapshot.following:
            self.cursor = float(snapshot.at)
        elif left_recording:
            self.cursor = None
        paused = snapshot.head.state == "paused"
        self.charts.empty = f"{NOTHING}: space goes on" if paused else NOTHING
        self._draw()

    def terms(self) -> list[Term]:
        """The glossary terms of the figures and levels shown."""
        snapshot, axis = self.snapshot, self.axis
        if snapshot is None or axis is None:
            return []
        shown: list[Figure | Level] = []
        for view in self._in_sight:
            shown += [*figures(view, snapshot), *view.levels(snapshot)]
        terms = [Term(item.label, item.slug) for item in shown]
        if self.charts.smoothing:
            terms.append(Term("smoothed curve", "smoothing"))
        return unique([*terms, Term(axis.label, axis.slug), Term("band over agents", "band")])

    @property
    def _in_sight(self) -> list[View]:
        """The views from the one chosen on, as many as are drawn."""
        if not self.views:
            return []
        first = self.view_index % len(self.views)
        return [*self.views[first:], *self.views[:first]][: self.charts.shown]

    def _draw(self) -> None:
        snapshot, axis = self.snapshot, self.axis
        if snapshot is None or axis is None or not self.is_mounted:
            return
        bar = self.query_one(ChoiceBar)
        bar.titles = tuple(v.title for v in self.views)
        self.dress()
        self.charts.x_label = axis.label
        self._place_cursor()
        if self.views:
            first = bar.chosen = self.view_index % len(self.views)
            views = [*self.views[first:], *self.views[:first]]
            self.charts.show([_picture(view, snapshot, axis) for view in views[:MOST]])

    def _place_cursor(self) -> None:
        axis = self.axis
        if self.cursor is None or axis is None:
            self.charts.cursor_x = None
            return
        self.charts.cursor_x = float(axis.of(np.array([self.cursor]))[0])
        self.charts.reveal()

    def next_view(self) -> None:
        """Show the next figures."""
        if self.views:
            self.view_index = (self.view_index + 1) % len(self.views)

    def watch_view_index(self) -> None:
        """Another view."""
        self._draw()

    def watch_cursor(self) -> None:
        """The cursor stands elsewhere."""
        self._place_cursor()
        self.refresh_bindings()

    def on_choice_bar_clicked(self, message: ChoiceBar.Clicked) -> None:
        """A title was clicked."""
        message.stop()
        self.view_index = message.index

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a cursor there is nothing to drop, and nowhere to go."""
        if action in ("go", "release"):
            return self.is_mounted and self.cursor is not None
        return super().check_action(action, parameters)

    def action_cursor(self, cells: int) -> None:
        """Move the cursor of all charts."""
        self.charts.move_cursor(cells)
        self._cursor_at(self.charts.cursor_x)

    def _cursor_at(self, x: float | None) -> None:
        """Keep the step of a place on the axis."""
        axis = self.axis
        if x is not None and axis is not None:
            self.cursor = float(axis.step(x))

    def action_release(self) -> None:
        """Drop the cursor."""
        self.cursor = None

    def action_next_axis(self) -> None:
        """Count the time axis in the next unit that the run has recorded."""
        axis = self.axis
        if axis is not None:
            place = self._axes.index(axis)
            self.unit = self._axes[(place + 1) % len(self._axes)].unit

    def watch_unit(self) -> None:
        """Another time axis: all of it is shown."""
        self.charts.window = None
        self._draw()
        self.refresh_bindings()

    def action_go(self) -> None:
        """Ask for the run as it was at the cursor."""
        if self.cursor is not None:
            self.post_message(self.MomentChosen(int(self.cursor)))

    def on_charts_cursor_moved(self, message: Charts.CursorMoved) -> None:
        """The mouse put the cursor somewhere."""
        message.stop()
        self._cursor_at(message.x)


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


def _picture(view: View, snapshot: Snapshot, axis: Axis) -> Picture:
    """One chart with the figures of a view."""
    rule = snapshot.world.maze.success_rule if view.about_success else ""
    return Picture(
        f"success: {rule}" if rule else view.title,
        tuple(_series(figure, snapshot, axis) for figure in figures(view, snapshot)),
        tuple(Reference(glyphs.plain(x.label), x.value) for x in view.levels(snapshot)),
        view.y_range,
    )


def _series(figure: Figure, snapshot: Snapshot, axis: Axis) -> Series:
    """The curve of a figure, with its band: one without width is drawn as the line it is."""
    curve, label = _curve(figure, snapshot), glyphs.plain(figure.label)
    assert curve is not None
    return Series(label, axis.of(curve.x), curve.mean, curve.low, curve.high)
