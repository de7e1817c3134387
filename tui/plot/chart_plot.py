"""What a chart shows, and the plot with its axes as runs of text: no app, no colours.

A plot is drawn on a grid of cells from back to front (bands, references, cursor, curves); the
words around it are `chart_legend`'s, the colours `chart`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from engine.core.arrays import Bools, Floats
from tui.plot.braille import (
    FAR,
    Columns,
    Scale,
    braille_cells,
    fill,
    half_cells,
    texture,
    tick_label,
)
from tui.ui import glyphs
from tui.ui.text import clean

STYLES = 6
"""Series beyond the sixth start again with the first one's colour, marker and pattern."""
MARKERS, ASCII_MARKERS = "●▲■◆▼✚", "*+ox#@"
PATTERNS: tuple[tuple[bool, ...], ...] = tuple(
    tuple(dot == "1" for dot in dots)
    for dots in ("111111", "111100", "101010", "111010", "110000", "100100")
)
"""On/off per dot along the line of series 1..6. Six dots long: three cells show all of it."""
REFERENCE_PATTERN = tuple(dot == "1" for dot in "11110000")

AXIS, LABEL, TITLE, MUTED, REFERENCE, CURSOR, SERIES = range(7)
"""What a piece of text is drawn as; series i is SERIES + i."""


@dataclass(frozen=True)
class Series:
    """One curve. x: (N,) finite, ascending; y: (N,), NaN for a gap, ±inf off the chart;
    low, high: (N,) edges of the band around it, both or neither. The arrays are kept, not
    copied: hand over new ones instead of changing them. Raises ValueError where they disagree."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def __post_init__(self) -> None:
        for field in ("x", "y", "low", "high"):
            values = getattr(self, field)
            if values is not None:
                object.__setattr__(self, field, np.asarray(values, dtype=np.float64))
                if getattr(self, field).shape != (np.size(self.x),):
                    raise ValueError(f"series {self.name!r}: {field} is not as long as x")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"series {self.name!r}: a band needs both low and high")
        if not (np.isfinite(self.x).all() and (np.diff(self.x) >= 0).all()):
            raise ValueError(f"series {self.name!r}: x must be finite and ascending")

    def arrays_equal(self, other: Series) -> bool:
        """Whether the other curve has the same points and the same band."""
        mine, others = (
            (self.x, self.y, self.low, self.high),
            (other.x, other.y, other.low, other.high),
        )
        return all(
            one is two or (one is not None and two is not None and np.array_equal(one, two, True))
            for one, two in zip(mine, others, strict=True)
        )

    def reading(self, x: float | None = None) -> tuple[float, float, float]:
        """(y, low, high) as last recorded at or before x, without x the last ones that are
        numbers; NaN where there is nothing to read."""
        if x is None:
            known = np.flatnonzero(~np.isnan(self.y))
            at = int(known[-1]) if known.size else -1
        else:
            at = int(np.searchsorted(self.x, x, side="right")) - 1
        if at < 0:
            return math.nan, math.nan, math.nan
        if self.low is None or self.high is None:
            return float(self.y[at]), math.nan, math.nan
        return float(self.y[at]), float(self.low[at]), float(self.high[at])


@dataclass(frozen=True)
class Reference:
    """A horizontal line at a value that matters, such as the optimum."""

    name: str
    value: float


@dataclass(frozen=True)
class View:
    """Everything a picture of a chart depends on, except its size and its colours."""

    series: tuple[Series, ...] = ()
    references: tuple[Reference, ...] = ()
    y_range: tuple[float | None, float | None] = (None, None)
    title: str = ""
    x_label: str = ""
    empty: str = "no data yet"
    ascii: bool = False
    hollow_bands: bool = False
    """Leave the bands out behind the curves: for palettes that cannot mix a background."""
    log_x: bool = False
    log_y: bool = False
    cursor_x: float | None = None


class Run(NamedTuple):
    """A piece of one line in one style. `upper` and `lower` are bit sets of the bands behind the
    upper and the lower half of its cells. Where they differ the glyph is a half block, ▀ or, if
    there is no band above, ▄: the band's own edge."""

    text: str
    ink: int
    upper: int = 0
    lower: int = 0


Line = list[Run]


def plain(text: str, ascii_only: bool) -> str:
    """Foreign text as one printable line; with `ascii_only`, in 7-bit characters."""
    text = " ".join(glyphs.plain(clean(text)).split())
    return text.encode("ascii", "replace").decode("ascii") if ascii_only else text


class Curve:
    """A series without the points that the axes cannot show; `hidden` counts those."""

    def __init__(self, series: Series, index: int, view: View) -> None:
        self.index = index % STYLES
        self.log_y = view.log_y
        first = int(np.searchsorted(series.x, 0, side="right")) if view.log_x else 0
        self.x: Floats = series.x[first:]
        self.y: Floats = series.y[first:]
        self.band = None
        if series.low is not None and series.high is not None:
            self.band = series.low[first:], series.high[first:]
        self.hidden = first + (int(np.count_nonzero(self.y <= 0)) if view.log_y else 0)

    @property
    def visible(self) -> bool:
        """Whether any value is a number the y axis can show."""
        return bool((~np.isnan(self.y) & ((self.y > 0) | (not self.log_y))).any())

    def arrays(self) -> list[Floats]:
        """Everything that should be in view."""
        return [self.y, *(self.band or ())]


class _Canvas:
    """A grid of cells with a glyph, an ink, and the bands behind both halves of each cell."""

    def __init__(self, rows: int, width: int) -> None:
        self.glyph: NDArray[np.uint32] = np.full((rows, width), ord(" "), dtype=np.uint32)
        self.ink = np.zeros((rows, width), dtype=np.int16)
        self.upper = np.zeros((rows, width), dtype=np.int16)
        self.lower = np.zeros((rows, width), dtype=np.int16)

    def write(self, row: int, column: int, text: str, ink: int) -> None:
        """Put single-width text on the canvas; what would run over the right edge is cut."""
        text = text[: self.glyph.shape[1] - column]
        place = row, slice(column, column + len(text))
        self.glyph[place] = [ord(glyph) for glyph in text]
        self.ink[place] = ink
        self.upper[place] = self.lower[place] = self.upper[place] | self.lower[place]

    def lines(self) -> list[Line]:
        """Every row as runs of equal style; blanks take the ink of what is left of them."""
        drawn = np.where(self.glyph != ord(" "), np.arange(self.glyph.shape[1]), 0)
        ink = np.take_along_axis(self.ink, np.maximum.accumulate(drawn, axis=1), axis=1)
        style = (ink.astype(np.int64) << 32) | (self.upper.astype(np.int64) << 16) | self.lower
        lines = []
        for row in range(self.glyph.shape[0]):
            text = self.glyph[row].astype("<u4").tobytes().decode("utf-32-le")
            starts = [0, *(np.flatnonzero(np.diff(style[row])) + 1).tolist()]
            keys = style[row][starts].tolist()
            ends = [*starts[1:], len(text)]
            lines.append(
                [
                    Run(text[start:end], key >> 32, (key >> 16) & 0xFFFF, key & 0xFFFF)
                    for start, end, key in zip(starts, ends, keys, strict=True)
                ]
            )
        return lines


class Plot:
    """The plot with its axes: where everything stands, and the drawing of it."""

    def __init__(self, view: View, x: Scale, y: Scale, width: int, height: int) -> None:
        self.view, self.x, self.y = view, x, y
        self.x_labels = height >= 4
        self.x_line = height >= 7
        self.rows = height - self.x_labels - self.x_line
        self.marks = min(len(view.series), 3 if width >= 60 else 1) if width >= 16 else 0
        values, step = y.ticks(max(2, self.rows // 3))
        self.y_ticks = [(self._row(v), tick_label(v, step)) for v in values]
        self.left = 1 + max((len(label) for _, label in self.y_ticks), default=0)
        if width - self.left - self.marks < 10:
            self.left = 0
        self.columns = max(1, width - self.left - self.marks)
        self.canvas = _Canvas(height, width)

    def _row(self, value: float) -> int:
        """The row of cells of a value; outside 0..rows-1 if it is not in view."""
        dot = self._dot_rows(np.array([value]))[0]
        return -1 if math.isnan(dot) else math.floor(dot + 0.5) // 4

    def _dot_rows(self, values: Floats) -> Floats:
        count = self.rows * 4
        return (count - 1) - self.y.positions(values, count)

    def _dot_columns(self, values: Floats) -> Floats:
        return self.x.positions(values, self.columns * 2)

    def cell_of(self, x: float) -> int:
        """The column of cells, from the left edge of the chart, where x is."""
        return self.left + math.floor(float(self._dot_columns(np.array([x]))[0]) + 0.5) // 2

    def x_of(self, cell: int) -> float:
        """The x in the middle of a column of cells: the inverse of `cell_of`."""
        return self.x.value(2 * (cell - self.left) + 0.5, self.columns * 2)

    def lines(self, curves: Sequence[Curve]) -> list[Line]:
        self._draw_plot(curves)
        self._draw_axes()
        self._draw_marks(curves)
        return self.canvas.lines()

    def _draw_plot(self, curves: Sequence[Curve]) -> None:
        """Bands, references, cursor and curves, from back to front."""
        shape = self.rows, self.columns
        codes = np.zeros(shape, dtype=np.uint8)
        ink = np.zeros(shape, dtype=np.int16)
        upper, lower = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.int16)

        def lay(dots: Bools, colour: int) -> None:
            cells = braille_cells(dots)
            np.bitwise_or(codes, cells, out=codes)
            ink[cells != 0] = colour

        for reference in self.view.references:
            lay(self._level(reference.value), REFERENCE)
        lay(self._cursor(), CURSOR)
        for curve in curves:
            columns = Columns(self._dot_columns(curve.x), self.columns * 2)
            if curve.band is not None:
                halves = half_cells(self._band(columns, *curve.band))
                upper |= halves[0::2].astype(np.int16) << curve.index
                lower |= halves[1::2].astype(np.int16) << curve.index
            spans = columns.line(self._dot_rows(curve.y))
            pattern = PATTERNS[0 if self.view.ascii else curve.index]
            lay(texture(spans, self.rows * 4, pattern), SERIES + curve.index)
        self._place(codes, ink, upper, lower)
        self._label_references((ink >= SERIES) | (ink == CURSOR))

    def _level(self, value: float) -> Bools:
        """A dashed horizontal line."""
        dots = np.zeros((self.rows * 4, self.columns * 2), dtype=bool)
        row = self._dot_rows(np.array([value]))[0]
        if -0.5 <= row < self.rows * 4 - 0.5:
            pattern = np.resize(np.array(REFERENCE_PATTERN), self.columns * 2)
            dots[math.floor(row + 0.5)] = pattern
        return dots

    def _cursor(self) -> Bools:
        """A dotted vertical line."""
        dots = np.zeros((self.rows * 4, self.columns * 2), dtype=bool)
        x = self.view.cursor_x
        if x is not None and self.x.low <= x <= self.x.high:
            column = math.floor(self._dot_columns(np.array([x]))[0] + 0.5)
            dots[::2, column] = True
        return dots

    def _band(self, columns: Columns, low: Floats, high: Floats) -> Bools:
        upper, lower = self._dot_rows(high), self._dot_rows(low)
        if self.view.log_y:  # a low edge at or below zero is below the axis, not unknown
            lower = np.where(low <= 0, FAR, lower)
        return fill(columns.band(upper, lower), self.rows * 4)

    def _place(
        self,
        codes: NDArray[np.uint8],
        ink: NDArray[np.int16],
        upper: NDArray[np.int16],
        lower: NDArray[np.int16],
    ) -> None:
        """Put the finished plot on the canvas, in braille or in ASCII."""
        empty = codes == 0
        if self.view.ascii:
            glyphs = np.full(SERIES + STYLES, ord(" "), dtype=np.uint32)
            glyphs[REFERENCE], glyphs[CURSOR] = ord("-"), ord("|")
            glyphs[SERIES:] = [ord(c) for c in ASCII_MARKERS]
            glyph = glyphs[ink]
            glyph[empty & ((upper | lower) != 0)] = ord(".")
        else:
            glyph = np.where(empty, ord(" "), codes.astype(np.uint32) + 0x2800)
            edge = empty & (upper != lower)
            glyph[edge] = np.where(upper[edge] == 0, ord("▄"), ord("▀"))
        # Behind dots, and in ASCII, a cell has one background: the bands of both its halves.
        whole = np.where(empty & (not self.view.ascii), upper, upper | lower)
        if self.view.hollow_bands:
            whole[~empty] = 0
        rows, columns = slice(0, self.rows), slice(self.left, self.left + self.columns)
        self.canvas.glyph[rows, columns] = glyph
        self.canvas.ink[rows, columns] = ink
        self.canvas.upper[rows, columns] = whole
        self.canvas.lower[rows, columns] = np.where(empty & (not self.view.ascii), lower, whole)

    def _label_references(self, busy: Bools) -> None:
        """The name of every reference on its line, as far right as no curve is in the way."""
        for reference in self.view.references:
            row, name = self._row(reference.value), plain(reference.name, self.view.ascii)
            text = f" {name} "
            if not name or cell_len(text) != len(text) or not 0 <= row < self.rows:
                continue  # wide characters and what is out of view: the legend has it
            free = np.convolve(busy[row], np.ones(len(text)), mode="valid") == 0
            if len(text) <= self.columns and free.any():
                start = int(np.flatnonzero(free)[-1])
                self.canvas.write(row, self.left + start, text, REFERENCE)
                busy[row, start : start + len(text)] = True

    def _draw_axes(self) -> None:
        bar, tick, corner, dash, down = "|++-+" if self.view.ascii else "│┤└─┬"
        bottom = self.rows
        if self.left:
            self.canvas.glyph[: self.rows, self.left - 1] = ord(bar)
            for row, label in self.y_ticks:
                if 0 <= row < self.rows:
                    self.canvas.write(row, 0, label.rjust(self.left - 1), LABEL)
                    self.canvas.write(row, self.left - 1, tick, AXIS)
            if self.x_line:
                self.canvas.write(bottom, self.left - 1, corner, AXIS)
        if self.x_line:
            self.canvas.write(bottom, self.left, dash * self.columns, AXIS)
        if self.x_labels:
            self._draw_x_labels(bottom, down)

    def _draw_x_labels(self, bottom: int, down: str) -> None:
        values, step = self.x.ticks(max(2, self.columns // (8 if self.x.log else 11)))
        width = self.canvas.glyph.shape[1]
        free_from = 0
        for value in values:
            label = tick_label(value, step)
            column = self.cell_of(value)
            start = min(max(0, column - len(label) // 2), width - len(label))
            if start < free_from:
                continue
            free_from = start + len(label) + 1
            self.canvas.write(bottom + self.x_line, start, label, LABEL)
            if self.x_line:
                self.canvas.write(bottom, column, down, AXIS)

    def _draw_marks(self, curves: Sequence[Curve]) -> None:
        """Each curve's marker right of the plot, at the height of its last value: it says whose
        line ends there without colour."""
        markers = ASCII_MARKERS if self.view.ascii else MARKERS
        taken: set[tuple[int, int]] = set()
        for curve in curves:
            known = curve.y[~np.isnan(curve.y)]
            row = self._row(float(known[-1])) if known.size else -1
            place = next((m for m in range(self.marks) if (row, m) not in taken), None)
            if 0 <= row < self.rows and place is not None:
                taken.add((row, place))
                at = self.left + self.columns + place
                self.canvas.write(row, at, markers[curve.index], SERIES + curve.index)
