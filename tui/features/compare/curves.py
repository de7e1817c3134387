"""One chart with the same figure of every run that is compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from tui.features.compare.figures import Metric, curve_of, optimum
from tui.features.compare.watch import Comparison, Side
from tui.plot.chart import Chart
from tui.plot.chart_view import Reference, Series
from tui.ui import glyphs
from tui.ui.choice_bar import ChoiceBar
from tui.ui.fact import Term
from tui.ui.terms import unique
from tui.ui.text import number
from tui.watching.curves import NOTHING


class CompareCurves(Vertical, can_focus=True):
    """Mean and band over the agents of each run; every run keeps its marker and line pattern."""

    DEFAULT_CSS = """
    CompareCurves { height: 1fr; }
    """

    class CursorMoved(Message):
        """The chart was clicked at a recorded position."""

        def __init__(self, position: float) -> None:
            self.position = position
            super().__init__()

    class MetricChosen(Message):
        """The name of a figure was clicked."""

        def __init__(self, index: int) -> None:
            self.index = index
            super().__init__()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.metric: Metric | None = None
        self._slug, self._axis = "", ""

    def compose(self) -> ComposeResult:
        yield ChoiceBar()
        yield Chart(empty=NOTHING)

    @property
    def chart(self) -> Chart:
        """The chart."""
        return self.query_one(Chart)

    def show(self, comparison: Comparison, metrics: Sequence[Metric], chosen: int) -> None:
        """Draw one of the figures, with the cursor where all runs are shown."""
        bar, chart, clock = self.query_one(ChoiceBar), self.chart, comparison.clock
        bar.titles = tuple(glyphs.plain(metric.label) for metric in metrics)
        bar.chosen = chosen
        self.metric = metrics[chosen] if metrics else None
        self._slug, self._axis = clock.slug, clock.axis
        chart.ascii = glyphs.current().ascii
        chart.x_label, chart.cursor_x = clock.axis, comparison.cursor
        paused = any(side.state == "paused" for side in comparison.sides)
        chart.empty = f"{NOTHING}: space goes on" if paused else NOTHING
        if self.metric is None:
            chart.show([])
            return
        series = [_series(side, self.metric, comparison) for side in comparison.sides]
        chart.show(series, levels(comparison.sides, self.metric), y_range=self.metric.y_range)

    def terms(self) -> list[Term]:
        """The glossary terms of the figure and the axes."""
        if self.metric is None:
            return []
        terms = [Term(self.metric.label, self.metric.slug), Term(self._axis, self._slug)]
        return unique([*(t for t in terms if t.slug), Term("band over agents", "band")])

    def on_choice_bar_clicked(self, message: ChoiceBar.Clicked) -> None:
        """A name was clicked."""
        message.stop()
        self.post_message(self.MetricChosen(message.index))

    async def _on_click(self, event: events.Click) -> None:
        x = self.chart.x_at(event.screen_x - self.chart.content_region.x)
        if event.widget is self.chart and x is not None:
            self.post_message(self.CursorMoved(x))


def _series(side: Side, metric: Metric, comparison: Comparison) -> Series:
    """A run's curve on the common clock; a band only where there is something to spread over.

    A run without the figure has an empty one, so that the others keep their markers.
    """
    name = f"{side.letter} {side.title}"
    curve = None if side.snapshot is None else curve_of(side.snapshot, metric.name)
    if curve is None:
        return Series(name, np.empty(0), np.empty(0))
    x = comparison.clock.positions(curve.x, side.length)
    known = ~np.isnan(curve.mean)
    if (curve.low[known] == curve.high[known]).all():
        return Series(name, x, curve.mean)
    return Series(name, x, curve.mean, curve.low, curve.high)


def levels(sides: Sequence[Side], metric: Metric) -> list[Reference]:
    """The optimum of the figure: one line where all runs have the same, else one for each."""
    by_value: dict[str, tuple[float, str]] = {}
    for side in sides:
        value = math.nan if side.snapshot is None else optimum(side.snapshot, metric.name)
        if not math.isnan(value):
            _, letters = by_value.get(number(value, 6), (value, ""))
            by_value[number(value, 6)] = value, letters + side.letter
    if len(by_value) == 1:
        return [Reference(glyphs.plain("π*"), value) for value, _ in by_value.values()]
    return [Reference(glyphs.plain(f"π* of {who}"), value) for value, who in by_value.values()]
