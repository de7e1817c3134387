"""Several charts over one x axis: as many as there is room for, with one cursor and one window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.reactive import reactive

from engine.core.arrays import Floats
from tui.plot import smoothing, window
from tui.plot.braille import Scale
from tui.plot.chart import Chart, axis
from tui.plot.chart_view import Reference, Series
from tui.plot.window import Window

MOST = 6
"""Charts beside and below each other: more would be too small to read."""
LEAST_WIDTH, LEAST_HEIGHT = 56, 11
"""Cells that one of several charts has at least."""
ZOOM = 0.5
"""The share of the window that one press keeps."""
WHEEL = 0.8
PAN = 0.25
"""The share of the window by which one press moves it."""


@dataclass(frozen=True)
class Picture:
    """What one of the charts shows."""

    title: str
    series: tuple[Series, ...]
    references: tuple[Reference, ...] = ()
    y_range: tuple[float | None, float | None] = (None, None)


class Charts(Container):
    """Charts that are read together. It takes no focus and binds no keys; the mouse moves cursor
    and window: a click puts the cursor, the wheel zooms, dragging moves what is zoomed."""

    DEFAULT_CSS = """
    Charts { layout: grid; height: 1fr; width: 1fr; grid-gutter: 0 2; }
    """
    ALLOW_SELECT = False

    cursor_x: reactive[float | None] = reactive(None)
    """Where the vertical cursor stands in all charts."""
    window: reactive[Window | None] = reactive(None)
    """The part of the x axis that all charts show; None is all of it."""
    log_x: reactive[bool] = reactive(False)
    log_y: reactive[bool] = reactive(False)
    fit_y: reactive[bool] = reactive(False)
    smoothing: reactive[float] = reactive(0.0)
    ascii: reactive[bool] = reactive(False)
    x_label: reactive[str] = reactive("")
    empty: reactive[str] = reactive("no data yet")
    """These are as in `Chart`, for all of them."""
    alone: reactive[bool] = reactive(False)
    """One chart only, however much room there is."""

    SHARED: ClassVar[tuple[str, ...]] = (
        *("cursor_x", "window", "log_x", "log_y", "fit_y", "smoothing"),
        *("ascii", "x_label", "empty"),
    )

    class CursorMoved(Message):
        """The mouse put the cursor at a recorded x."""

        def __init__(self, x: float) -> None:
            self.x = x
            super().__init__()

    def __init__(self, empty: str) -> None:
        super().__init__()
        self.charts = [Chart(empty=empty) for _ in range(MOST)]
        self._pictures: tuple[Picture, ...] = ()
        self._dragged: float | None = None
        self._moved = False
        self.set_reactive(Charts.empty, empty)

    def compose(self) -> ComposeResult:
        yield from self.charts

    def on_mount(self) -> None:
        """The charts follow what is set here."""
        for name in self.SHARED:
            self.watch(self, name, self._share)
        self._arrange()

    def _share(self) -> None:
        for chart in self.charts:
            for name in self.SHARED:
                setattr(chart, name, getattr(self, name))

    # ------------------------------------------------------------ what is shown

    @property
    def shown(self) -> int:
        """How many charts are shown."""
        return max(1, min(len(self._pictures), self.room, MOST))

    @property
    def room(self) -> int:
        """How many charts there is room for."""
        if self.alone or self.size.height < LEAST_HEIGHT:
            return 1
        return max(1, self.size.width // LEAST_WIDTH) * (self.size.height // LEAST_HEIGHT)

    def show(self, pictures: Sequence[Picture]) -> None:
        """Draw as many of these as fit, the first for certain."""
        self._pictures = tuple(pictures)
        self._arrange()

    def on_resize(self) -> None:
        """There may be room for more, or for fewer."""
        self._arrange()

    def watch_alone(self) -> None:
        """One, or as many as fit."""
        self._arrange()

    def _arrange(self) -> None:
        count = self.shown
        across = min(max(1, self.size.width // LEAST_WIDTH), count)
        across = -(-count // -(-count // across))  # the same number of rows, evenly filled
        self.styles.grid_size_columns = across
        self.styles.grid_size_rows = -(-count // across)
        steps = [s.x for picture in self._pictures[:count] for s in picture.series if s.x.size]
        span = (
            (float(min(x[0] for x in steps)), float(max(x[-1] for x in steps))) if steps else None
        )
        for place, chart in enumerate(self.charts):
            chart.span = span
            chart.display = place < count
            if place < len(self._pictures) and place < count:
                picture = self._pictures[place]
                chart.title = picture.title
                chart.show(picture.series, picture.references, y_range=picture.y_range)
            elif place == 0:
                chart.show([])

    def recorded(self) -> Floats:
        """Every x that the axis can show of any chart in sight, ascending: (M,)."""
        found = [chart.recorded() for chart in self.charts[: self.shown]]
        return np.unique(np.concatenate(found))

    @property
    def whole(self) -> Scale | None:
        """The whole x axis of the first chart; None while there is nothing to draw."""
        return axis(self.charts[0].view)

    # ------------------------------------------------------------ cursor and window

    def move_cursor(self, cells: int) -> None:
        """Move the cursor so many columns; what is in view follows it."""
        drawn = [chart for chart in self.charts[: self.shown] if chart.plot is not None]
        if not drawn:
            return
        chart = drawn[0]
        chart.move_cursor(cells)
        self.cursor_x = chart.cursor_x
        self.reveal()

    def reveal(self) -> None:
        """Move what is in view as little as it takes to have the cursor in it."""
        whole = self.whole
        if whole is not None and self.cursor_x is not None:
            self.window = window.around(whole, self.window, self.cursor_x)

    def zoom(self, inwards: bool, at: float | None = None, factor: float = ZOOM) -> None:
        """Show less or more of the x axis around a place: the cursor, else the newest point."""
        whole = self.whole
        if whole is None:
            return
        if at is None:
            seen = window.scale(whole, self.window)
            at = seen.high if self.cursor_x is None else self.cursor_x
        self.window = window.zoomed(whole, self.window, at, factor if inwards else 1 / factor)

    def pan(self, share: float) -> None:
        """Move what is in view by a share of its width."""
        whole = self.whole
        if whole is not None:
            self.window = window.panned(whole, self.window, share)

    def next_smoothing(self) -> None:
        """Smooth more, and after the most not at all."""
        weights = smoothing.WEIGHTS
        place = weights.index(self.smoothing) if self.smoothing in weights else 0
        self.smoothing = weights[(place + 1) % len(weights)]

    def watch_log_x(self) -> None:
        """What was in view of a linear axis may not be on a logarithmic one."""
        self.window = None

    # ------------------------------------------------------------ the mouse

    def _under(self, event: events.MouseEvent) -> tuple[Chart, float] | None:
        """The chart under the mouse, and the x there."""
        for chart in self.charts[: self.shown]:
            plot, region = chart.plot, chart.content_region
            if plot is not None and region.contains(int(event.screen_x), int(event.screen_y)):
                return chart, plot.x_of(int(event.screen_x) - region.x)
        return None

    def _wheel(self, event: events.MouseEvent, inwards: bool) -> None:
        found = self._under(event)
        if found is None:
            return
        event.stop()
        if event.shift or event.ctrl:
            self.pan(-PAN if inwards else PAN)
        else:
            self.zoom(inwards, found[1], WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Nearer."""
        self._wheel(event, True)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Farther away."""
        self._wheel(event, False)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        """Earlier."""
        event.stop()
        self.pan(-PAN)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        """Later."""
        event.stop()
        self.pan(PAN)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of what is zoomed, or of the cursor."""
        found = self._under(event)
        self._moved = False
        if found is not None and event.button == 1:
            self._dragged = found[1]
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag what is in view; where all of it is, the cursor."""
        found = self._under(event)
        if self._dragged is None or found is None:
            return
        whole = self.whole
        if whole is None or not event.delta_x:
            return
        self._moved = True
        if self.window is None:
            self._put(found[0], event)
            return
        seen = window.scale(whole, self.window)
        held, here = whole.transform(np.array([self._dragged, found[1]])).tolist()
        low, high = whole.transform(np.array([seen.low, seen.high])).tolist()
        self.pan((held - here) / (high - low))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let go; without having moved, it was a click for the cursor."""
        held, self._dragged = self._dragged, None
        self.release_mouse()
        found = self._under(event)
        if held is not None and found is not None and not self._moved:
            self._put(found[0], event)

    def _put(self, chart: Chart, event: events.MouseEvent) -> None:
        x = chart.x_at(int(event.screen_x) - chart.content_region.x)
        if x is not None:
            self.post_message(self.CursorMoved(x))
