"""Curves as braille dots: scales, ticks, and rasterising by minimum and maximum per column.

Pure NumPy, no Textual. A cell of the terminal is 2 dots wide and 4 dots high (Unicode block
"Braille Patterns", U+2800). Shapes: N points of a series, C dot columns, R dot rows; row 0 is
the top one. A curve becomes one *span* (top row, bottom row) per dot column, which is what makes
ten thousand points cheap and keeps every spike: nothing is ever sampled away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Bools, Floats, Index

Spans = tuple[Index, Index]
"""Top and bottom row of every dot column, both (C,) and inclusive; top > bottom means empty."""

FAR = 1 << 20
"""Rows further away than this are drawn as if they were this far: still off any screen."""
EMPTY_TOP, EMPTY_BOTTOM = 4 * FAR, -4 * FAR
_LARGEST = np.finfo(np.float64).max / 4  # so that high - low cannot overflow


@dataclass(frozen=True)
class Scale:
    """Maps the values low..high to dots 0..count-1, the ends falling on the middle of a dot."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def fit(
        cls,
        values: Iterable[Floats],
        *,
        log: bool = False,
        limits: tuple[float | None, float | None] = (None, None),
    ) -> Scale | None:
        """The scale that shows all finite values (on a log axis: the positive ones), or None
        if there are none. A limit that is given wins over the data; a log axis ignores a
        limit that is not positive."""
        low, high = math.inf, -math.inf
        for array in values:
            shown = array[np.isfinite(array) & ((array > 0) | (not log))]
            if shown.size:
                low, high = min(low, float(shown.min())), max(high, float(shown.max()))
        if low > high:
            return None
        fixed_low, fixed_high = (None if log and v is not None and v <= 0 else v for v in limits)
        if fixed_low is not None:
            low, high = fixed_low, max(high, fixed_low)
        if fixed_high is not None:
            low, high = min(low, fixed_high), fixed_high
        return cls(*_widened(low, high, log), log)

    def transform(self, values: Floats) -> Floats:
        """Values where the axis is linear in them: log10 on a log axis, NaN for what it cannot
        show; overflow-safe."""
        if not self.log:
            return np.asarray(np.clip(values, -_LARGEST, _LARGEST), dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(values > 0, np.log10(values), np.nan), dtype=np.float64)

    def positions(self, values: Floats, count: int) -> Floats:
        """Where the values fall on `count` dots, as floats, clipped to ±FAR; NaN stays NaN."""
        low, high = self.transform(np.array([self.low, self.high])).tolist()
        with np.errstate(over="ignore", invalid="ignore"):
            placed = (self.transform(values) - low) * ((count - 1) / (high - low))
        return np.asarray(np.clip(placed, -FAR, FAR), dtype=np.float64)

    def value(self, position: float, count: int) -> float:
        """The value at a (fractional) dot position: the inverse of `positions`."""
        low, high = self.transform(np.array([self.low, self.high])).tolist()
        at = low + (high - low) * position / max(1, count - 1)
        return float(10.0**at) if self.log else float(at)

    def ticks(self, count: int) -> tuple[list[float], float]:
        """About `count` round values within low..high, ascending, and the step between them
        (0 where a log axis has them at 1, 2, 5, 10…)."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            decades = last - first + 1
            if decades >= 2 and 3 * decades <= count + 2:
                between = [m * 10.0**e for e in range(first - 1, last + 1) for m in (1.0, 2.0, 5.0)]
                return [v for v in between if self.low <= v <= self.high], 0.0
            if decades >= 2:
                stride = -(-decades // max(2, count))
                return [10.0**e for e in range(first, last + 1) if e % stride == 0], 0.0
        values, step = linear_ticks(self.low, self.high, count)
        return (values, step) if len(values) > 1 else linear_ticks(self.low, self.high, 2 * count)


def _widened(low: float, high: float, log: bool) -> tuple[float, float]:
    """The same range, or a wider one if it is too thin to divide by."""
    low, high = max(-_LARGEST, low), min(_LARGEST, high)
    if log:
        return (low, high) if high > low * (1 + 1e-9) else (low / 2, high * 2)
    if high - low > max(1e-12 * max(abs(low), abs(high)), 1e-290):
        return low, high
    if abs(low) <= 1e-290:  # nothing but zero, such as a run at its first step: count from there
        return 0.0, 1.0
    margin = abs(low) * 0.1
    return low - margin, high + margin


def linear_ticks(low: float, high: float, count: int) -> tuple[list[float], float]:
    """Multiples of 1, 2 or 5 times a power of ten within low..high, at most about `count`."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1.0, 2.0, 5.0) if m * power >= raw * 0.999), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)], step


_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def tick_label(value: float, step: float) -> str:
    """A tick's value with no more digits than tell it from its neighbours: 0.25, 500, 1.5k, 2M,
    1e-5. `step` is the distance to the next tick, 0 on a log axis."""
    step = step or abs(value)
    if abs(value) < step * 1e-6:
        return "0"
    if step < 1e-4 or abs(value) >= 1e15:
        digits = max(0, math.floor(math.log10(abs(value)) + 1e-9) - _exponent(step))
        return _scientific(value, digits)
    unit, suffix = next(((u, s) for u, s in _SUFFIXES if abs(value) >= u * (1 - 1e-9)), (1.0, ""))
    text = f"{value / unit:.{max(0, -_exponent(step / unit))}f}"
    return (text.rstrip("0").rstrip(".") if suffix and "." in text else text) + suffix


def _exponent(value: float) -> int:
    return math.floor(math.log10(value) + 1e-9)


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


class Columns:
    """Points sorted into dot columns, ready to say what each column shows of a curve.

    A column shows the lowest and the highest of its points; a column without points the straight
    line between its neighbours. A NaN breaks the line.
    """

    def __init__(self, positions: Floats, count: int) -> None:
        """positions: (N,) ascending dot positions within 0..count-1, no NaN."""
        self.positions, self.count = positions, count
        column = np.floor(positions + 0.5).astype(np.int64)
        edges = np.searchsorted(column, np.arange(count + 1))
        start, self.end = edges[:-1], edges[1:]
        self.filled = np.flatnonzero(self.end > start)
        self.first = start[self.filled]
        between = (self.end == start) & (start > 0) & (start < positions.size)
        self.between = np.flatnonzero(between)
        self.left = start[self.between] - 1
        gap = positions[self.left + 1] - positions[self.left]
        self.share = (self.between - positions[self.left]) / gap

    def line(self, rows: Floats) -> Spans:
        """The spans of a line through the points; neighbouring columns grow towards each other
        until no dot is missing between them. rows: (N,) dot positions within ±FAR, or NaN."""
        top = self._extreme(np.fmin, rows, EMPTY_TOP)
        bottom = self._extreme(np.fmax, rows, EMPTY_BOTTOM)
        last = np.clip(self.end[:-1] - 1, 0, max(0, rows.size - 2))
        linked = (self.end[:-1] > 0) & (self.end[:-1] < rows.size)
        if rows.size > 1:
            linked &= ~np.isnan(rows[last] + rows[last + 1])
        return _joined(top, bottom, linked)

    def band(self, upper: Floats, lower: Floats) -> Spans:
        """The spans between two curves (rows as in `line`); a NaN in either is a gap in both."""
        hole = np.isnan(upper) | np.isnan(lower)
        if hole.any():
            upper, lower = np.where(hole, np.nan, upper), np.where(hole, np.nan, lower)
        top = self._extreme(np.fmin, upper, EMPTY_TOP)
        return top, self._extreme(np.fmax, lower, EMPTY_BOTTOM)

    def _extreme(self, pick: np.ufunc, rows: Floats, empty: int) -> Index:
        """The row that `pick` (fmin or fmax) chooses in every column, `empty` where none is."""
        found = np.full(self.count, np.nan)
        if self.filled.size:
            found[self.filled] = pick.reduceat(rows, self.first)
        before, after = rows[self.left], rows[self.left + 1]
        found[self.between] = before + self.share * (after - before)
        return np.where(np.isnan(found), empty, np.floor(found + 0.5)).astype(np.int64)


def _joined(top: Index, bottom: Index, linked: Bools) -> Spans:
    """Close the vertical gap at every linked boundary: each side grows half of the way."""
    new_top, new_bottom = top.copy(), bottom.copy()
    falls = np.flatnonzero(linked & (top[1:] - bottom[:-1] > 1))
    middle = (bottom[falls] + top[falls + 1]) // 2
    new_bottom[falls] = np.maximum(new_bottom[falls], middle)
    new_top[falls + 1] = np.minimum(new_top[falls + 1], middle + 1)
    climbs = np.flatnonzero(linked & (top[:-1] - bottom[1:] > 1))
    middle = (top[climbs] + bottom[climbs + 1]) // 2
    new_top[climbs] = np.minimum(new_top[climbs], middle + 1)
    new_bottom[climbs + 1] = np.maximum(new_bottom[climbs + 1], middle)
    return new_top, new_bottom


def fill(spans: Spans, rows: int) -> Bools:
    """All dots of the spans, (R, C); what lies outside the rows is cut off."""
    top, bottom = spans
    row = np.arange(rows)[:, None]
    return (row >= top) & (row <= bottom)


def texture(spans: Spans, rows: int, pattern: Sequence[bool]) -> Bools:
    """The spans drawn with a repeating on/off pattern, (R, C): along steep lines it runs with the
    rows, else with the columns, so that a noisy curve becomes a thick dashed line. Local extremes
    are always drawn: a pattern never hides a spike or an isolated point."""
    top, bottom = spans
    dots = fill(spans, rows)
    if all(pattern):
        return dots
    on = np.asarray(pattern, dtype=bool)
    by_column = on[np.arange(top.size) % on.size]
    by_row = on[np.arange(rows) % on.size][:, None]
    top_before, top_after = np.append(EMPTY_TOP, top[:-1]), np.append(top[1:], EMPTY_TOP)
    bottom_before = np.append(EMPTY_BOTTOM, bottom[:-1])
    bottom_after = np.append(bottom[1:], EMPTY_BOTTOM)
    shared = np.maximum(
        np.minimum(bottom, bottom_before) - np.maximum(top, top_before),
        np.minimum(bottom, bottom_after) - np.maximum(top, top_after),
    )
    steep = (bottom - top >= 2) & (shared <= 0)  # noise covers the same rows again and again
    peak = np.where((top < top_before) & (top <= top_after), top, -1)
    dip = np.where((bottom > bottom_before) & (bottom >= bottom_after), bottom, -1)
    row = np.arange(rows)[:, None]
    kept: Bools = dots & (np.where(steep, by_row, by_column) | (row == peak) | (row == dip))
    return kept


# Dot (row, column) of a cell -> bit of its braille code point.
_BITS = ((0, 3), (1, 4), (2, 5), (6, 7))


def braille_cells(dots: Bools) -> NDArray[np.uint8]:
    """The offset from U+2800 of every cell, (R/4, C/2), for dots (R, C)."""
    quads = dots.view(np.uint8).reshape(dots.shape[0] // 4, 4, dots.shape[1] // 2, 2)
    codes = np.zeros((quads.shape[0], quads.shape[2]), dtype=np.uint8)
    for row, bits in enumerate(_BITS):
        for column, bit in enumerate(bits):
            codes |= quads[:, row, :, column] << np.uint8(bit)
    return codes


def half_cells(dots: Bools) -> Bools:
    """Which upper and lower halves of cells hold a dot, (R/2, C/2)."""
    rows = dots[0::2] | dots[1::2]
    return np.asarray(rows[:, 0::2] | rows[:, 1::2], dtype=bool)
