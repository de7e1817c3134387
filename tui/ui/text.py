"""Text that is safe and short enough to show: the one sanitiser, and the one way to write numbers.

Foreign text (model output, names of runs and presets, exceptions) goes through `clean` when it is
loaded. After that it may be shown as `Text` or `Content`, never as markup.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

_STRING = r"(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
"""OSC, DCS, SOS, PM and APC: an introducer, a payload, and a terminator that may be missing."""
_CONTROL_SEQUENCE = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
_SHORT_SEQUENCE = r"\x1b[ -/]*[0-~]?"
_SEQUENCES = re.compile("|".join((_STRING, _CONTROL_SEQUENCE, _SHORT_SEQUENCE)))
_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (tab and newline are handled before), DEL, C1
    # What has no width, or turns the reading direction: all of Unicode's category Cf
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # What looks like nothing, or changes how wide its neighbour is: fillers, variation selectors
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "]"
)
_MAY_BE_MARK = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u1dff\u20d0-\u20ff\u2cef-\u2cf1\u2d7f-\u2dff\u302a-\u302f\u3099"
    "\u309a\ua66f-\uabff\ufb1e\ufe20-\ufe2f\U000101fd-\U0001ffff]"
)
"""The blocks with all combining marks: most texts have nothing of them, and need no closer look."""
MARKS = 4
"""Combining marks on one character: more than any language writes are drawn over other lines."""
ALONE = "\u25cc"
"""The dotted circle that carries a mark with nothing before it, as Unicode's own charts show it."""
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(text: str, *, lines: bool = False) -> str:
    """`text` without anything a terminal could take for a command, or the eye for another text.

    Escape sequences go with their payload; every line break becomes a newline with `lines`, else a
    space; tabs become four spaces with `lines`, else one. Lone surrogates, which no terminal can be
    sent, become U+FFFD. Characters carry at most `MARKS` combining marks.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _SEQUENCES.sub("", text)
    text = _BREAKS.sub("\n", text)
    text = text.replace("\t", "    " if lines else " ")
    if not lines:
        text = text.replace("\n", " ")
    text = _SURROGATES.sub("\ufffd", _UNSAFE.sub("", text))
    return _few_marks(text) if _MAY_BE_MARK.search(text) else text


def _few_marks(text: str) -> str:
    """The text with at most `MARKS` combining marks in a row, none of them first in a line: there
    it would be drawn on what stands before the text."""
    kept: list[str] = []
    marks = 0
    for char in text:
        if unicodedata.category(char)[0] != "M":
            marks = 0
        else:
            marks += 1
            if marks > MARKS:
                continue
            if not kept or kept[-1] == "\n":
                kept.append(ALONE)
        kept.append(char)
    return "".join(kept)


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in exactly `width` terminal cells: padded, or cut and ended with `ellipsis`."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    if width <= cell_len(ellipsis):
        return set_cell_size(text, max(width, 0))
    return set_cell_size(text, width - cell_len(ellipsis)) + ellipsis


def cut_apart(texts: Sequence[str], width: int, ellipsis: str = "…") -> list[str]:
    """The texts in at most `width` cells each; of one that must be cut, what tells it from the
    others stays: the words after those it begins with in common with another one. Signs of one
    character before all of them stay, too."""
    if len(texts) > 1 and all(text[1:2] == " " for text in texts):
        rest = cut_apart([text[2:] for text in texts], max(width - 2, 1), ellipsis)
        return [text[:2] + cut for text, cut in zip(texts, rest, strict=True)]
    return [
        text if cell_len(text) <= width else _cut_apart(text, texts, width, ellipsis)
        for text in texts
    ]


def _cut_apart(text: str, texts: Sequence[str], width: int, ellipsis: str) -> str:
    shared = max((_shared(text, other) for other in texts if other != text), default=0)
    own = text[shared:]
    room = width - cell_len(ellipsis) - cell_len(own)
    if not shared or not own:
        return fit(text, width, ellipsis).rstrip()
    if room > 0:
        return f"{set_cell_size(text, room).rstrip()}{ellipsis}{own}"
    return fit(own, width, ellipsis).rstrip()


def _shared(text: str, other: str) -> int:
    """How many characters of whole words two texts begin with in common."""
    pairs = enumerate(zip(text, other, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))
    shared = text.rfind(" ", 0, same) + 1
    begun = text.rfind("(", 0, shared)
    return begun if begun > text.rfind(")", 0, shared) else shared  # "(seed 0)" says one thing


NOISE = 1e-13
"""Nearer to zero than this is what rounding leaves of sums and differences of figures around 1."""

SHARE_NOISE = 4 * sys.float_info.epsilon
"""The same of a share, which may well be tiny: what is left after adding up probabilities to 1."""


def number(value: float, digits: int = 3) -> str:
    """A number in `digits` significant digits, plain between 0.001 and 99,999; "-" for NaN.

    Zero is "0", and so is the noise of rounding: no other small number looks like it.
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if abs(value) < NOISE:
        return "0"
    scientific = f"{value:.{digits - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if not -3 <= exponent <= 4:
        return scientific.replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def difference(of: float, against: float) -> float:
    """The difference of two figures; 0 where it is no more than their rounding."""
    same = math.isclose(of, against, rel_tol=1e-12, abs_tol=NOISE)
    return 0.0 if same else of - against


def signed(value: float, digits: int = 3) -> str:
    """Like `number`, with the sign always there; zero, and the noise of rounding, is "0"."""
    text = number(value, digits)
    return f"+{text}" if value >= NOISE else text


def si(value: float, digits: int = 3) -> str:
    """A count with an SI suffix from ten thousand on: 9999, 12.3k, 4.57M."""
    if not math.isfinite(value) or abs(value) < 10_000:
        return f"{value:.0f}" if math.isfinite(value) else number(value)
    exponent = min(int(math.log10(abs(value)) // 3), 5)
    if abs(value) / 1000**exponent >= 999.5 and exponent < 5:
        exponent += 1
    return number(value / 1000**exponent, digits) + "kMGTP"[exponent - 1]


def percent(share: float) -> str:
    """A share of 1 as a percentage; only 0 and 1 (but for rounding) are written 0% and 100%.

    What is nearer to them than a hundredth of a percent is "<0.01%" or ">99.99%".
    """
    if math.isnan(share):
        return "-"
    if abs(share - round(share)) < SHARE_NOISE:
        share = round(share)
    if 0 < share < 0.0001 or 0.9999 < share < 1:
        return "<0.01%" if share < 0.5 else ">99.99%"
    if 0 < share < 0.01 or 0.99 < share < 1:
        return f"{math.floor(share * 1000) / 10:.1f}%" if share > 0.5 else f"{share * 100:.1g}%"
    return f"{share * 100:.0f}%"


def duration(seconds: float) -> str:
    """A time span in its largest unit, roughly: 0.4 s, 21 min, 3.5 h."""
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds / 86_400, 2)} days"


def fit_number(value: float, width: int) -> str:
    """The most telling form of a number in at most `width` characters, for cells of a table.

    Two decimals matter more than the zero before the point: 0.59, in three characters .59. A number
    that is too small to show is "~0"; what does not fit at all is a row of "#".
    """
    if not math.isfinite(value) or abs(value) < NOISE:
        forms = [number(value)]
    elif value.is_integer():
        forms = [f"{value:.0f}", *_short_forms(value)]
    else:
        exact = [f"{value:.{decimals}f}" for decimals in range(max(width - 1, 0), -1, -1)]
        fine = [text for text in exact if len(text.partition(".")[2]) >= 2]
        bare = [text.replace("0.", ".", 1) for text in exact if abs(value) < 1 and "0." in text]
        forms = [t for t in (*fine, *bare, *exact, *_short_forms(value)) if t.strip("-0.")]
        forms.append("~0" if abs(value) < 1 else "")
    return next((text for text in forms if 0 < len(text) <= width), "#" * width)


def _short_forms(value: float) -> tuple[str, ...]:
    return si(value, 2), f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
