"""The characters the widgets draw with: one set in Unicode, one in ASCII, each one cell wide.

Three kinds of arrow mean the same thing everywhere: solid is what the agent believes to be best
(or did on purpose), dashed is what it only tries, double is what is optimal.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set. Arrows are in the order left, down, right, up."""

    ascii: bool
    agent: str
    backup: str
    """Marks the state that a sweep updates."""
    tiles: dict[str, str]
    """What stands for a tile of the map, by its character there; `d` is an open door."""
    solid: str
    dashed: str
    double: str
    wind: str
    ties: str
    """One glyph for a set of directions; the index has bit 1, 2, 4, 8 for left, down, right, up."""
    shades: str
    """Five steps from nothing to full."""
    explored: str
    exploited: str
    success: str
    fell: str
    timeout: str
    ended: str
    running: str
    folded: str
    unfolded: str
    ellipsis: str
    left_edge: str
    top_edge: str
    corners: str
    """Top left, top right, bottom left, bottom right of the cursor."""
    loop: tuple[str, str, str, str, str, str]
    """Of the loop's frame: top left, top right, bottom left, bottom right, across, down."""
    forth: str
    back: str
    minus: str
    """Before a shade that stands for a negative number."""
    separator: str
    prime: str


UNICODE = Glyphs(
    ascii=False,
    agent="☻",
    backup="↻",
    tiles={"S": "S", "F": "·", ".": "·", "H": "○", "G": "★", "#": "█", "B": "✚"}
    | {"g": "☆", "k": "⚷", "D": "▥", "d": "▯"},
    solid="←↓→↑",
    dashed="⇠⇣⇢⇡",
    double="⇐⇓⇒⇑",
    wind="↑",
    ties="·←↓┐→↔┌┬↑┘↕┤└┴├┼",
    shades=" ░▒▓█",
    explored="◇",
    exploited="◆",
    success="★",
    fell="○",
    timeout="◷",
    ended="■",
    running="…",
    folded="▸",
    unfolded="▾",
    ellipsis="…",
    left_edge="▏",
    top_edge="▔",
    corners="┏┓┗┛",
    loop=("╭", "╮", "╰", "╯", "─", "│"),
    forth="▶",
    back="◀",
    minus="-",
    separator="│",
    prime="′",
)

ASCII = Glyphs(
    ascii=True,
    agent="@",
    backup="%",
    tiles={"S": "S", "F": ".", ".": ".", "H": "O", "G": "G", "#": "#", "B": "B"}
    | {"g": "g", "k": "k", "D": "=", "d": "_"},
    solid="<v>^",
    dashed="ldru",
    double="LDRU",
    wind="^",
    ties=".<v+>-++^+|+++++",
    shades=" .:+#",
    explored="?",
    exploited="*",
    success="G",
    fell="O",
    timeout="T",
    ended="#",
    running="~",
    folded=">",
    unfolded="v",
    ellipsis="~",
    left_edge="|",
    top_edge=" ",
    corners="++++",
    loop=("+", "+", "+", "+", "-", "|"),
    forth=">",
    back="<",
    minus="-",
    separator="|",
    prime="'",
)

_chosen: bool | None = None


def choose(ascii_only: bool | None) -> None:
    """Set the one setting: True for ASCII, False for Unicode, None to ask the environment."""
    global _chosen
    _chosen = ascii_only
    _wanted.cache_clear()


def current() -> Glyphs:
    """The set in use: as chosen, else as ICEMAZE_ASCII says, else as the terminal can show."""
    ascii_only = _wanted() if _chosen is None else _chosen
    return ASCII if ascii_only else UNICODE


@cache  # asked for every piece of text that is drawn
def _wanted() -> bool:
    wish = os.environ.get("ICEMAZE_ASCII", "").strip().lower()
    if wish:
        return wish not in ("0", "no", "false", "off")
    # A locale without a codeset ("C", as in most containers) says nothing about the terminal.
    locale = next((v for k in ("LC_ALL", "LC_CTYPE", "LANG") if (v := os.environ.get(k))), "")
    codeset = locale.partition(".")[2].partition("@")[0]
    stream = getattr(sys.__stdout__, "encoding", None)
    names = [name for name in (codeset, stream) if name]
    return any("utf" not in name.lower() for name in names)


def plain(text: str, ascii_only: bool | None = None) -> str:
    """The text in ASCII when that is chosen: known symbols by their name, the rest as "?"."""
    if text.isascii() or not (current().ascii if ascii_only is None else ascii_only):
        return text
    for symbol, name in _NAMES.items():
        text = text.replace(symbol, name)
    if not text.isascii():
        letters = unicodedata.normalize("NFKD", _INDEX.sub(_spelled, text))
        text = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return text.encode("ascii", "replace").decode("ascii")


_INDEX = re.compile("[\u2080-\u209c\u1d62-\u1d6a]+|[\u2070-\u207f\u00b2\u00b3\u00b9\u1d43-\u1d61]+")
"""Letters and figures below the line, or above it."""


def _spelled(found: re.Match[str]) -> str:
    """`ₙ` as `_n`, `ⁿ⁻¹` as `^(n-1)`."""
    raised = "<super>" in unicodedata.decomposition(found[0][0])
    letters = unicodedata.normalize("NFKD", found[0]).replace("−", "-")
    return ("^" if raised else "_") + (letters if len(letters) == 1 else f"({letters})")


_NAMES = {
    # Between blanks they assign or lead on; elsewhere they are directions.
    " ← ": " <- ",
    " → ": " -> ",
    **dict(zip(UNICODE.solid, ASCII.solid, strict=True)),
    "ε": "eps",
    "γ": "gamma",
    "δ": "delta",
    "π": "pi",
    "α": "alpha",
    "λ": "lambda",
    "θ": "theta",
    "ρ": "rho",
    "β": "beta",
    "∇": "grad ",
    "‖": "||",
    "Â": "A",
    "Δ": "d",
    "Σ": "sum",
    "Π": "product",
    "κ": "kappa",
    "τ": "tau",
    "η": "eta",
    "∂": "d",
    "∝": "~",
    "±": "+/-",
    "∞": "inf",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": "~",
    "×": "x",
    "·": ".",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "′": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "★": "G",
    "○": "O",
    "☻": "@",
    "√": "sqrt",
    "∈": "in",
    "½": "1/2",
}
