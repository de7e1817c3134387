"""Charts with the same figures of every run that is compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from msgspec.json import encode
from textual.binding import BindingType
from textual.message import Message

from engine.config.preset import Preset
from tui.features.compare.clock import SharedClock
from tui.features.compare.figures import Metric, curve_of, figure_of, optimum
from tui.features.compare.seeds import FEWEST, Line, banded
from tui.features.compare.watch import Comparison, Side
from tui.plot.chart_panel import ChartPanel
from tui.plot.chart_view import Reference, Series
from tui.plot.charts import MOST, Charts, Picture
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.choice_bar import ChoiceBar
from tui.ui.fact import Term
from tui.ui.terms import unique
from tui.ui.text import clean, number
from tui.watching.axes import Axis
from tui.watching.curves import NOTHING

if TYPE_CHECKING:
    from engine.experiments.ends import FigureEnds
    from engine.experiments.intervals import Ends


class CompareCurves(ChartPanel):
    """The same figures of all runs, on the one clock they share. Every run keeps its marker and
    line pattern; mean and band are over its agents, or over seeds."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("curves.seeds", "B", "seeds", "Seeds",
            "Runs that differ only in their seed: their mean with its interval, or each of them",
            show=False),
    ]  # fmt: skip

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

    class AxisChosen(Message):
        """The time axis is to count something else; None is the runs' own clock."""

        def __init__(self, axis: Axis | None) -> None:
            self.axis = axis
            super().__init__()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(NOTHING, id=id, classes=classes)
        self.metrics: tuple[Metric, ...] = ()
        """The figures from the chosen one on."""
        self.together = True
        """Whether seeds are drawn as one line with a band."""
        self.comparison: Comparison | None = None

    @property
    def metric(self) -> Metric | None:
        """The figure that is chosen."""
        return self.metrics[0] if self.metrics else None

    def show(self, comparison: Comparison, metrics: Sequence[Metric], chosen: int) -> None:
        """Draw one of the figures, and where there is room those after it, with the cursor where
        all runs are shown."""
        bar, charts, clock = self.query_one(ChoiceBar), self.charts, comparison.clock
        bar.titles = tuple(glyphs.plain(metric.label) for metric in metrics)
        bar.chosen = chosen
        if self.comparison is not None and self.comparison.clock != clock:
            charts.window = None
        self.comparison = comparison
        self.metrics = (*metrics[chosen:], *metrics[:chosen])[:MOST]
        self.dress()
        charts.x_label, charts.cursor_x = clock.axis, comparison.cursor
        charts.reveal()
        paused = any(side.state == "paused" for side in comparison.sides)
        charts.empty = f"{NOTHING}: space goes on" if paused else NOTHING
        self._draw()

    def _draw(self) -> None:
        shown = self.comparison
        if shown is None:
            return
        self.charts.show(
            [
                Picture(
                    glyphs.plain(metric.label),
                    tuple(series(shown, metric, self.together)),
                    tuple(levels(shown.sides, metric)),
                    metric.y_range,
                )
                for metric in self.metrics
            ]
        )

    def terms(self) -> list[Term]:
        """The glossary terms of the figures and the axes."""
        if self.comparison is None or not self.metrics:
            return []
        clock = self.comparison.clock
        terms = [Term(m.label, m.slug) for m in self.metrics[: self.charts.shown]]
        terms.append(Term(clock.axis, clock.slug))
        if self.charts.smoothing:
            terms.append(Term("smoothed curve", "smoothing"))
        return unique([*(t for t in terms if t.slug), Term("band over agents", "band")])

    @property
    def axes(self) -> int:
        """How many units the clock can count."""
        return 0 if self.comparison is None else len(self.comparison.units)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without several seeds there is nothing to draw together."""
        if action == "seeds":
            return self.comparison is not None and of_seeds(self.comparison)
        return super().check_action(action, parameters)

    def action_seeds(self) -> None:
        """Seeds as one line, or each of them."""
        self.together = not self.together
        self._draw()

    def action_next_axis(self) -> None:
        """Have the clock count the next unit that all runs have recorded."""
        shown = self.comparison
        if shown is None or len(shown.units) < 2:
            return
        units = [axis.unit for axis in shown.units]
        here = units.index(shown.clock.counted) if shown.clock.counted in units else 0
        place = (here + 1) % len(units)
        self.post_message(self.AxisChosen(shown.units[place] if place else None))

    def on_choice_bar_clicked(self, message: ChoiceBar.Clicked) -> None:
        """A name was clicked."""
        message.stop()
        self.post_message(self.MetricChosen(message.index))

    def on_charts_cursor_moved(self, message: Charts.CursorMoved) -> None:
        """A chart was clicked."""
        message.stop()
        self.post_message(self.CursorMoved(message.x))


def of_seeds(comparison: Comparison) -> bool:
    """Whether there are several seeds of one setting that can be drawn as one line."""
    together = comparison.one_preset and len(comparison.sides) >= FEWEST
    return together or any(side.seeds for side in comparison.sides)


def series(comparison: Comparison, metric: Metric, together: bool) -> list[Series]:
    """The curves of a figure: one for each run, or where they differ only in their seed one for
    all, with the interval of their mean."""
    sides = comparison.sides
    if not together or not of_seeds(comparison):
        return [_series(side, metric, comparison) for side in sides]
    if comparison.one_preset:
        lines = [line for side in sides for line in _lines(side, metric, comparison.clock)]
        name = f"mean of {len(lines)} seeds" if len(lines) > 1 else clean(sides[0].preset.title)
        return [banded(name, lines, _ends(sides[0].preset, metric.name))]
    return [
        banded(
            f"{side.letter} {side.title}",
            _lines(side, metric, comparison.clock),
            _ends(side.preset, metric.name),
        )
        if side.seeds
        else _series(side, metric, comparison)
        for side in sides
    ]


def _lines(side: Side, metric: Metric, clock: SharedClock) -> list[Line]:
    """A figure of a run and of its other seeds, as far as they have it."""
    found = []
    curve = None if side.snapshot is None else curve_of(side.snapshot, metric.name)
    if curve is not None:
        found.append(Line(side.on(clock, curve.x), curve.mean))
    for seed in side.seeds:
        known = figure_of(seed.curves, seed.held_out, metric.name)
        counted = not clock.counted or any(axis.unit == clock.counted for axis in seed.axes)
        if known is not None and counted:
            found.append(Line(clock.positions(known.x, seed.length, seed.axes), known.mean))
    return found


def _ends(preset: Preset, name: str) -> Ends:
    """What a figure of this preset can be at least and at most."""
    # start-up time
    from engine.experiments.ends import FigureEnds

    key = encode(preset)
    if key not in _ENDS:
        _ENDS[key] = FigureEnds.of_preset(preset)
    return _ENDS[key][name]


_ENDS: dict[bytes, FigureEnds] = {}
"""Found once for each preset: they take solving its mazes."""


def _series(side: Side, metric: Metric, comparison: Comparison) -> Series:
    """A run's curve on the common clock, with its band: one without width is drawn as a line.

    A run without the figure has an empty one, so that the others keep their markers.
    """
    name = f"{side.letter} {side.title}"
    curve = None if side.snapshot is None else curve_of(side.snapshot, metric.name)
    if curve is None:
        return Series(name, np.empty(0), np.empty(0))
    return Series(name, side.on(comparison.clock, curve.x), curve.mean, curve.low, curve.high)


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
