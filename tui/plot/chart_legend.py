"""The words around a plot: header, legend, and the hint while there is nothing to draw.

Text from outside (names, titles, hints) becomes plain one-line text here, cut to fit.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len

from tui.plot.braille import braille_cells
from tui.plot.chart_plot import (
    ASCII_MARKERS,
    CURSOR,
    LABEL,
    MARKERS,
    MUTED,
    PATTERNS,
    REFERENCE,
    REFERENCE_PATTERN,
    SERIES,
    STYLES,
    TITLE,
    Line,
    Run,
    plain,
)
from tui.plot.chart_view import BAND, Reference, Series, View
from tui.plot.smoothing import ema, name
from tui.ui.text import cut_apart, fit, number, si


def reading(value: float) -> str:
    """A value in four digits: 0.7402, -12.50, 12.35k, 1.500e-6, inf; NaN is a dash."""
    return si(value, 4) if 1e4 <= abs(value) < 1e17 else number(value, 4)


def exact(value: float) -> str:
    """A value as the cursor reads it: six digits, and those before the point in full."""
    if 1e5 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return number(value, 6)


def _position(x: float) -> str:
    """Where the cursor stands; counts (steps, episodes) in full."""
    return f"{x:,.0f}" if abs(x) < 1e9 and x == int(x) else reading(x)


def header(view: View, width: int, hidden: int) -> list[Line]:
    """Title on the left, facts about the axes on the right as far as there is room; no line at
    all if there is neither. hidden: how many points a log axis leaves out."""
    title = _cut(plain(view.title, view.ascii), width, view.ascii)
    label = plain(view.x_label, view.ascii)
    log = " and ".join(axis for axis, on in (("x", view.log_x), ("y", view.log_y)) if on)
    bands = {series.band for series in view.series if series.low is not None} - {BAND}
    facts = [
        hidden_note(hidden, view),
        f"{name(view.smoothing)} over points, raw behind it" if view.smoothing else "",
        f"log {log}" if log else "",
        "zoomed" if view.window is not None else "",
        f"x: {label}" if label else "",
        f"band: {plain(bands.pop(), view.ascii)}" if len(bands) == 1 else "",
    ]
    room = width - cell_len(title) - 2
    text = ""
    for fact in filter(None, facts):
        longer = f"{fact}{' - ' if view.ascii else ' · '}{text}" if text else fact
        text = longer if cell_len(longer) <= room else text
    if not title and not text:
        return []
    blank = " " * (width - cell_len(title) - cell_len(text))
    return [[Run(title, TITLE), Run(blank + text, MUTED)]]


_DETAILS = (
    *((2, 60, True), (1, 60, True), (0, 60, True), (1, 40, True)),
    *((0, width, True) for width in range(40, 15, -3)),
    # The plot names the references too.
    *((0, width, False) for width in (60, 40, *range(24, 5, -2))),
)
"""Ever shorter legends. Per series: 2 with the band's edges, 1 with a sample of the line, 0 with
marker, name and value only; the most cells of a name; whether references are listed."""


def legend(view: View, hidden: int, width: int, rows: int) -> list[Line]:
    """What is drawn how, with current values, in at most `rows` lines, in as much detail as fits;
    what does not even fit without names is counted. hidden: points to mention as left out."""
    if not rows:
        return []
    cursor = [] if view.cursor_x is None else [[Run(f"x = {_position(view.cursor_x)}", CURSOR)]]
    note = [[Run(hidden_note(hidden, view), MUTED)]] if hidden else []
    smooth = [_smoothed(view, series) for series in view.series]
    for detail, name_width, references in _DETAILS:
        entries = _series_entries(view, smooth, detail, name_width)
        if references:
            entries += [_reference_entry(view, r, name_width) for r in view.references]
        entries += [*cursor, *note]
        lines = _packed(entries, width, 3)
        if len(lines) <= rows and all(_width(entry) <= width for entry in entries):
            return [_fitted(line, width, view.ascii) for line in lines]
    note = [[Run(f"{hidden:,} left out", MUTED)]] if hidden else []
    short = _series_entries(view, smooth, 0, 0)
    entries = [*note, *short, *cursor, *(_reference_entry(view, r, 6) for r in view.references)]
    for shown in range(len(entries), -1, -1):
        more = [[Run(f"+{len(entries) - shown}", MUTED)]] if shown < len(entries) else []
        lines = _packed([*entries[:shown], *more], width, 1)
        if len(lines) <= rows:
            break
    return [_fitted(line, width, view.ascii) for line in lines]


def _smoothed(view: View, series: Series) -> float:
    """What is smoothed of a series where the cursor reads it; NaN where nothing is."""
    place = series.place(view.cursor_x)
    if not view.smoothing or place < 0:
        return math.nan
    return float(ema(series.y[: place + 1], view.smoothing)[-1])


def _series_entries(
    view: View, smooth: Sequence[float], detail: int, name_width: int
) -> list[Line]:
    """One for each series; of names that are cut, what tells them apart stays."""
    names = [plain(series.name, view.ascii) for series in view.series]
    cut = (
        cut_apart(names, name_width, "~" if view.ascii else "…")
        if name_width
        else [""] * len(names)
    )
    return [_series_entry(view, i, smooth[i], detail, label) for i, label in enumerate(cut)]


def _series_entry(view: View, index: int, smooth: float, detail: int, label: str) -> Line:
    series, ink = view.series[index], SERIES + index % STYLES
    marker = (ASCII_MARKERS if view.ascii else MARKERS)[index % STYLES]
    sample = "" if view.ascii or detail < 1 else f" {_sample(PATTERNS[index % STYLES])}"
    value, low, high = series.reading(view.cursor_x)
    told = reading if view.cursor_x is None or not label else exact
    smoothed = bool(view.smoothing and label)
    label = f"{label} " if label else ""
    entry = [Run(f"{marker}{sample} ", ink), Run(label, LABEL), Run(told(value), ink)]
    if smoothed:
        entry.append(Run(f" {name(view.smoothing)} {told(smooth)}", MUTED))
    if detail >= 2 and low < high and told(low) != told(high):
        # Named, or it would be taken for an interval of confidence.
        band = plain(series.band, view.ascii)
        entry.append(Run(f" {band} [{told(low)}, {told(high)}]", MUTED))
    return entry


def _reference_entry(view: View, reference: Reference, name_width: int) -> Line:
    label = _cut(plain(reference.name, view.ascii), name_width, view.ascii)
    sample = "--" if view.ascii else _sample(REFERENCE_PATTERN)
    return [
        Run(f"{sample} ", REFERENCE),
        Run(f"{label} ", LABEL),
        Run(reading(reference.value), REFERENCE),
    ]


def _sample(pattern: Sequence[bool]) -> str:
    """Three cells of a line drawn with the pattern."""
    dots = np.zeros((4, 6), dtype=bool)
    dots[2] = np.resize(np.array(pattern), 6)
    return "".join(chr(0x2800 + code) if code else " " for code in braille_cells(dots)[0].tolist())


def hidden_note(count: int, view: View) -> str:
    """How many points a log axis cannot show; nothing if none."""
    if not count:
        return ""
    compare = "<=" if view.ascii else "≤"
    return f"{count:,} {'point' if count == 1 else 'points'} {compare} 0 left out"


def _width(entry: Line) -> int:
    return sum(cell_len(run.text) for run in entry)


def _packed(entries: list[Line], width: int, gap: int) -> list[Line]:
    """Entries side by side, `gap` blanks between them, on as many lines as it takes."""
    lines: list[Line] = []
    used = width
    for entry in entries:
        size = _width(entry)
        if used + gap + size <= width:
            lines[-1] += [Run(" " * gap, LABEL), *entry]
            used += gap + size
        else:
            lines.append(list(entry))
            used = size
    return lines


def _fitted(line: Line, width: int, ascii_only: bool) -> Line:
    """The line cut or padded to exactly `width` cells."""
    fitted: Line = []
    for run in line:
        text = _cut(run.text, width, ascii_only)
        width -= cell_len(text)
        fitted.append(run._replace(text=text))
        if text != run.text:
            break
    return [*fitted, Run(" " * width, LABEL)]


def _cut(text: str, width: int, ascii_only: bool) -> str:
    """The text, or its beginning and an ellipsis, in at most `width` cells."""
    return text if cell_len(text) <= width else fit(text, width, "~" if ascii_only else "…")


def empty_hint(view: View, hidden: int, width: int, height: int) -> list[Line]:
    """The hint, in the middle, under the title; if a log axis hides all there is, that."""
    title = plain(view.title, view.ascii)
    reason = hidden_note(hidden, view) or plain(view.empty, view.ascii)
    wrapped = textwrap.wrap(reason, max(1, width - 2))[: max(1, height - 1)]
    lines: list[Line] = [[] for _ in range(height)]
    if title and height >= 3:
        lines[0] = [Run(title, TITLE)]
    first = (height - len(wrapped)) // 2
    for row, text in enumerate(wrapped):
        lines[first + row] = [Run(" " * max(0, (width - cell_len(text)) // 2) + text, MUTED)]
    return [_fitted(line, width, view.ascii) for line in lines]
