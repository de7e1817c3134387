"""A chart for the terminal: curves in braille dots, bands behind them, a legend to read them by.

chart = Chart("Success", x_label="env steps", empty="no data yet: press space")
chart.show([Series("target policy", x, mean, low, high)], [Reference("optimum", 0.74)])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from engine.core.arrays import Floats
from tui.plot.braille import Scale
from tui.plot.chart_legend import empty_hint, header, hidden_note, legend
from tui.plot.chart_plot import RAW, SERIES, STYLES, Curve, Line, Plot
from tui.plot.chart_view import Reference, Series, View
from tui.plot.window import Window, scale

__all__ = ["Chart", "Reference", "Series", "Window"]

_INKS = (
    *("chart--axis", "chart--label", "chart--title", "chart--muted"),
    *("chart--reference", "chart--cursor"),
    *(f"chart--series-{i}" for i in range(1, STYLES + 1)),
)
"""The component class of every ink of `tui.plot.chart_plot`, in its order."""
RAW_SHARE = 0.5
"""Of a series' colour, in what is drawn of it behind its smoothed line."""
_BANDS = tuple(f"chart--band-{i}" for i in range(1, STYLES + 1))


def compose(view: View, width: int, height: int) -> tuple[list[Line], Plot | None]:
    """The picture of `view` in width x height cells: `height` lines, each `width` cells wide, and
    where in it the plot is. Where room is short the title goes first, then axis lines, legend
    and labels; the curves stay."""
    if width < 1 or height < 1:
        return [], None
    curves = [Curve(series, index, view) for index, series in enumerate(view.series)]
    hidden = sum(curve.hidden for curve in curves)
    levels = np.array([reference.value for reference in view.references], dtype=np.float64)
    x = axis(view)
    if x is None:
        return empty_hint(view, hidden, width, height), None
    window = view.window if x != scale(x, view.window) else None
    x = scale(x, window)
    values = [array for curve in curves for array in curve.arrays(window)]
    limits = (None, None) if view.fit_y else view.y_range
    y = Scale.fit(values if view.fit_y else [*values, levels], log=view.log_y, limits=limits)
    if y is None or not any(curve.visible for curve in curves):
        return empty_hint(view, hidden, width, height), None
    top = header(view, width, hidden) if height >= 8 else []
    said = hidden_note(hidden, view) in "".join(run.text for line in top for run in line)
    rows = 0 if height < 5 else 1 if height < 10 else min(4, height // 5)
    top += legend(view, 0 if said else hidden, width, rows)
    plot = Plot(view, x, y, width, height - len(top))
    return top + plot.lines(curves), plot


def axis(view: View) -> Scale | None:
    """The whole x axis, whatever part of it is in view; None while there is nothing to draw."""
    ends = np.array(view.span if view.span is not None else (), dtype=np.float64)
    return Scale.fit([*(series.x for series in view.series), ends], log=view.log_x)


class Chart(Widget):
    """Curves over a common x, with bands, reference lines and a legend.

    It takes no focus and binds no keys: the screen sets the reactives. Every series has its
    colour, marker and line pattern, so it reads without colour; markers right of the plot stand
    where the curves end. Needs 20 x 5 cells; more is better.
    """

    DEFAULT_CSS = """
    Chart {
        width: 1fr;
        height: 1fr;
        & > .chart--axis { color: $foreground 35%; }
        & > .chart--label { color: $foreground 75%; }
        & > .chart--title { color: $foreground; text-style: bold; }
        & > .chart--muted { color: $foreground 60%; }
        & > .chart--reference { color: $foreground 75%; }
        & > .chart--cursor { color: $foreground; text-style: bold; }
        & > .chart--series-1 { color: $text-primary; }
        & > .chart--series-2 { color: $text-warning; }
        & > .chart--series-3 { color: $text-success; }
        & > .chart--series-4 { color: $text-error; }
        & > .chart--series-5 { color: $foreground; }
        & > .chart--series-6 { color: $text-secondary; }
        & > .chart--band-1 { background: $primary 30%; }
        & > .chart--band-2 { background: $warning 25%; }
        & > .chart--band-3 { background: $success 25%; }
        & > .chart--band-4 { background: $error 30%; }
        & > .chart--band-5 { background: $foreground 20%; }
        & > .chart--band-6 { background: $secondary 35%; }
    }
    Chart:ansi {
        & > .chart--band-1, & > .chart--band-2, & > .chart--band-3,
        & > .chart--band-4, & > .chart--band-5, & > .chart--band-6 {
            background: ansi_bright_black;
        }
    }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {*_INKS, *_BANDS}
    """
    | Class | What it colours |
    | :- | :- |
    | `chart--series-1` … `-6` | line, marker and value of a series |
    | `chart--band-1` … `-6` | background of its band; translucent ones mix where they overlap |
    | `chart--reference`, `chart--cursor` | reference lines, the cursor |
    | `chart--axis`, `chart--label`, `chart--title`, `chart--muted` | axes and text |
    """

    ALLOW_SELECT = False

    title: reactive[str] = reactive("")
    """Shown above the legend where there is room."""
    x_label: reactive[str] = reactive("")
    """What x counts, said beside the title."""
    empty: reactive[str] = reactive("no data yet")
    """The hint shown while there is nothing to draw."""
    ascii: reactive[bool] = reactive(False)
    """Draw with 7-bit characters only."""
    log_x: reactive[bool] = reactive(False)
    """Logarithmic x axis; points at x <= 0 are left out, and the legend says how many."""
    log_y: reactive[bool] = reactive(False)
    """Logarithmic y axis; points at y <= 0 become gaps, and the legend says how many."""
    cursor_x: reactive[float | None] = reactive(None)
    """Where the vertical cursor stands; the legend then shows the values recorded there."""
    span: reactive[tuple[float, float] | None] = reactive(None)
    """From where to where the x axis goes at least."""
    window: reactive[Window | None] = reactive(None)
    """The part of the x axis that is in view; None is all of it."""
    fit_y: reactive[bool] = reactive(False)
    """The y axis shows what is in view, whatever `y_range` was given to `show`."""
    smoothing: reactive[float] = reactive(0.0)
    """The weight of the moving average that is drawn over the raw curves; 0 draws none."""

    def __init__(
        self,
        title: str = "",
        *,
        x_label: str = "",
        empty: str = "no data yet",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
        disabled: bool = False,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes, disabled=disabled)
        self._series: tuple[Series, ...] = ()
        self._references: tuple[Reference, ...] = ()
        self._y_range: tuple[float | None, float | None] = (None, None)
        self._version = 0
        self._painted: tuple[object, list[Strip], Plot | None] | None = None
        self.set_reactive(Chart.title, title)
        self.set_reactive(Chart.x_label, x_label)
        self.set_reactive(Chart.empty, empty)

    def show(
        self,
        series: Sequence[Series],
        references: Sequence[Reference] = (),
        *,
        y_range: tuple[float | None, float | None] = (None, None),
    ) -> None:
        """Draw these from now on. Later series lie on top. y_range fixes an end of the y axis
        where it is not None; otherwise everything is in view, references included. What is drawn
        already is not drawn again."""
        shown = (self._references, self._y_range)
        if (tuple(references), y_range) == shown and _same(series, self._series):
            return
        self._series, self._references = tuple(series), tuple(references)
        self._y_range = y_range
        self._version += 1
        self._refresh_changed()

    def _refresh_changed(self) -> None:
        """Ask for a repaint of the lines that look different now."""
        before = self._painted[1] if self._painted and self.is_attached else []
        now = self._picture()[0] if before else []
        if not now or len(before) != len(now):
            self.refresh()
            return
        pairs = enumerate(zip(before, now, strict=True))
        changed = [Region(0, y, self.size.width, 1) for y, (was, line) in pairs if was != line]
        if changed:
            self.refresh(*changed)

    @property
    def view(self) -> View:
        """What the chart shows now."""
        return View(
            series=self._series,
            references=self._references,
            y_range=self._y_range,
            title=self.title,
            x_label=self.x_label,
            empty=self.empty,
            ascii=self.ascii,
            log_x=self.log_x,
            log_y=self.log_y,
            cursor_x=self.cursor_x,
            span=self.span,
            window=self.window,
            fit_y=self.fit_y,
            smoothing=self.smoothing,
        )

    def x_at(self, cell: int) -> float | None:
        """The recorded x nearest to a column of cells of the widget (0 is the leftmost, as in
        the offset of a mouse event); None while there is nothing to draw."""
        plot = self._picture()[1]
        known = self.recorded()
        if plot is None or not known.size:
            return None
        return float(known[np.abs(known - plot.x_of(cell)).argmin()])

    def move_cursor(self, cells: int) -> None:
        """Move the cursor so many columns to the right (negative: left), to a recorded x and at
        least to the next one; without a cursor, put it on the last one in view."""
        plot, known = self._picture()[1], self.recorded()
        if plot is None or not known.size:
            return
        if self.cursor_x is None or not cells:
            if self.cursor_x is None:
                seen = known[known <= plot.x.high]
                self.cursor_x = float(seen[-1] if seen.size else known[0])
            return
        near = known[np.abs(known - plot.x_of(plot.cell_of(self.cursor_x) + cells)).argmin()]
        if cells > 0:
            self.cursor_x = float(max(near, *known[known > self.cursor_x][:1], self.cursor_x))
        else:
            self.cursor_x = float(min(near, *known[known < self.cursor_x][-1:], self.cursor_x))

    @property
    def plot(self) -> Plot | None:
        """Where in the chart everything stands; None while there is nothing to draw."""
        return self._picture()[1]

    def recorded(self) -> Floats:
        """Every x that the axis can show, ascending: (M,)."""
        known = np.unique(np.concatenate([np.empty(0), *(s.x for s in self._series)]))
        return known[known > 0] if self.log_x else known

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._painted = None

    def render_line(self, y: int) -> Strip:
        strips, _ = self._picture()
        return strips[y] if y < len(strips) else Strip.blank(self.size.width)

    def _picture(self) -> tuple[list[Strip], Plot | None]:
        """All lines and the plot in them, painted anew only if something they show changed."""
        settings = (self.title, self.x_label, self.empty, self.ascii, self.log_x, self.log_y)
        part = (self.span, self.window, self.fit_y, self.smoothing, self.cursor_x)
        key = (self._version, self.size, settings, part)
        if self._painted is None or self._painted[0] != key:
            palette = _Palette(self)
            hollow = any(band.ansi is not None for band in palette.bands)
            lines, plot = compose(replace(self.view, hollow_bands=hollow), *self.size)
            style = lru_cache(maxsize=None)(palette.style)
            strips = [
                Strip([Segment(text, style(*look)) for text, *look in line], self.size.width)
                for line in lines
            ]
            self._painted = key, strips, plot
        return self._painted[1], self._painted[2]


def _same(some: Sequence[Series], others: Sequence[Series]) -> bool:
    """Whether two lists of curves are drawn alike."""
    return len(some) == len(others) and all(
        one.looks_like(other) for one, other in zip(some, others, strict=True)
    )


class _Palette:
    """The colours of a chart under the current theme."""

    def __init__(self, chart: Chart) -> None:
        self.base = chart.background_colors[1]
        self.bands = [chart.get_component_styles(name).background for name in _BANDS]
        inks = [chart.get_component_styles(name) for name in _INKS]
        self.inks = [(self.base + ink.color, ink.text_style) for ink in inks]
        for colour, style in self.inks[SERIES:RAW]:
            if colour.ansi is None:
                self.inks.append((self.base.blend(colour, RAW_SHARE), style))
            else:  # the terminal's own colours cannot be mixed
                self.inks.append((colour, style + Style(dim=True)))

    def behind(self, bands: int) -> Color:
        """The background under the bands in this bit set, later ones on top."""
        return sum((b for i, b in enumerate(self.bands) if bands >> i & 1), self.base)

    def style(self, ink: int, upper: int, lower: int) -> Style:
        """How a run is painted (see `Run` for half blocks)."""
        above, below = self.behind(upper), self.behind(lower)
        if upper != lower:
            front, back = (below, above) if upper == 0 else (above, below)
            return Style.from_color(front.rich_color, back.rich_color)
        colour, text_style = self.inks[ink]
        return text_style + Style.from_color(colour.rich_color, above.rich_color)
