"""Foreign text on its way into files that other programs open: HTML, SVG, spreadsheets.

Names, titles, notes and completions come from presets, models and other people's runs. Here they
lose what is no text, and what a browser or a spreadsheet would carry out.
"""

from __future__ import annotations

import html
import math
import unicodedata

FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""How a cell begins that a spreadsheet takes for a formula (OWASP, "CSV injection")."""
NO_TEXT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Unicode's categories of what is no sign: control and format characters (which also turn the
reading direction), lone surrogates, and what is not assigned."""
FILLERS = frozenset("\u034f\u115f\u1160\u3164\uffa0")
"""Signs that look like nothing."""
MARKS = 4
"""Combining marks on one sign: more than any language writes are drawn over other lines."""
LONGEST = 100_000
"""Characters of one text that are kept."""


def visible(text: str, *, lines: bool = False) -> str:
    """The text with nothing in it but signs that can be seen; newlines stay with `lines`."""
    kept: list[str] = []
    marks = 0
    for sign in text[:LONGEST]:
        kind = unicodedata.category(sign)
        marks = marks + 1 if kind[0] == "M" else 0
        if sign == "\n" and lines:
            kept.append(sign)
        elif sign in "\n\t\r\u2028\u2029":
            kept.append(" ")
        elif kind not in NO_TEXT and sign not in FILLERS and marks <= MARKS:
            kept.append(sign)
    if len(text) > LONGEST:
        kept.append("…")
    return "".join(kept)


def escaped(text: str, *, lines: bool = False) -> str:
    """Foreign text as HTML and XML hold it, in elements and in quoted attributes."""
    return html.escape(visible(text, lines=lines))


def cell(text: str) -> str:
    """Foreign text in a spreadsheet's cell: an apostrophe keeps it from being a formula."""
    seen = visible(text)
    return f"'{seen}" if seen[:1] in FORMULA or text[:1] in FORMULA else seen


def number(value: float, digits: int = 3) -> str:
    """A number in `digits` significant digits, from a thousand on in whole ones; "unknown" for
    NaN."""
    if math.isnan(value):
        return "unknown"
    whole = value.is_integer() or abs(value) >= 1_000
    return f"{value:,.0f}" if whole and abs(value) < 1e9 else f"{value:.{digits}g}"


def percent(share: float) -> str:
    """A share of 1 as a percentage. Only exactly 0 and 1 are written 0 % and 100 %."""
    if math.isnan(share):
        return "unknown"
    if 0 < share < 0.001 or 0.999 < share < 1:
        return "under 0.1 %" if share < 0.5 else "over 99.9 %"
    return f"{share * 100:.3g} %"
