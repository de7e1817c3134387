"""A panel with charts, and the keys that act on all of them at once."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from tui.plot.charts import PAN, Charts
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.choice_bar import ChoiceBar

ZOOM = Binding.Group("Zoom", compact=True)


class ChartPanel(Vertical, can_focus=True):
    """A bar with the names of figures, and as many charts as there is room for, beginning with the
    figure that is chosen. What the charts show, and what the cursor means, is its subclass's."""

    DEFAULT_CSS = """
    ChartPanel { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("curves.zoom-in", "z", "zoom(True)", "Zoom in",
            "Show half as much of the time axis, around the cursor, or the newest of it",
            group=ZOOM),
        key("curves.zoom-out", "Z", "zoom(False)", "Zoom out",
            "Show twice as much of the time axis", group=ZOOM),
        key("curves.pan-left", "shift+left", "pan(-1)", "Earlier",
            "What is zoomed moves to the left", show=False),
        key("curves.pan-right", "shift+right", "pan(1)", "Later",
            "What is zoomed moves to the right", show=False),
        key("curves.whole", "backspace", "whole", "Whole", "Show the whole time axis again"),
        key("curves.smooth", "S", "smooth", "Smooth",
            "A moving average (EMA 0.6, 0.9, 0.97) over the raw curves, which stay behind it; "
            "after the last none"),
        key("curves.axis", "b", "next_axis", "Unit",
            "Count the time axis in another unit: steps, episodes, updates, tokens, seconds, as "
            "far as the run has recorded them"),
        key("curves.log-x", "l", "log_x", "Log x", "Logarithmic or linear time axis", show=False),
        key("curves.log-y", "L", "log_y", "Log y",
            "Logarithmic or linear figures; what is 0 or less is left out, and counted",
            show=False),
        key("curves.fit-y", "y", "fit_y", "Fit y",
            "The figures' axis shows only what is in view, or its usual range again", show=False),
        key("curves.alone", "C", "one_chart", "One/all charts",
            "One chart in all the room, or as many as fit with one cursor for all", show=False),
    ]  # fmt: skip

    def __init__(self, empty: str, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.charts = Charts(empty)

    def compose(self) -> ComposeResult:
        yield ChoiceBar()
        yield self.charts

    @property
    def axes(self) -> int:
        """How many units the time axis can be counted in."""
        return 1

    def dress(self) -> None:
        """Draw as the terminal can."""
        self.charts.ascii = glyphs.current().ascii

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not offered."""
        if action in ("pan", "whole"):
            return self.charts.window is not None
        if action == "next_axis":
            return self.axes > 1
        return True

    def action_zoom(self, inwards: bool) -> None:
        """Less of the axis, or more of it."""
        self.charts.zoom(inwards)
        self.refresh_bindings()

    def action_pan(self, by: int) -> None:
        """Earlier or later."""
        self.charts.pan(by * PAN)

    def action_whole(self) -> None:
        """The whole axis."""
        self.charts.window = None
        self.refresh_bindings()

    def action_smooth(self) -> None:
        """Smooth more, or not at all."""
        self.charts.next_smoothing()

    def action_log_x(self) -> None:
        """Switch the time axis between linear and logarithmic."""
        self.charts.log_x = not self.charts.log_x
        self.refresh_bindings()

    def action_log_y(self) -> None:
        """Switch the figures between linear and logarithmic."""
        self.charts.log_y = not self.charts.log_y

    def action_fit_y(self) -> None:
        """The figures' axis as it is given, or as what is in view asks for."""
        self.charts.fit_y = not self.charts.fit_y

    def action_one_chart(self) -> None:
        """One chart, or as many as fit."""
        self.charts.alone = not self.charts.alone
