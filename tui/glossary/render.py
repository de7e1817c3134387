"""An entry as text: for `icemaze glossary` and wherever else there is no panel.

`to_ascii` spells out the signs of the field for terminals that cannot show them.
"""

from __future__ import annotations

import textwrap
import unicodedata

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tui.glossary.entries import Entry, Glossary, load
from tui.glossary.source import resolve

_SPELLED = {
    "α": "alpha", "γ": "gamma", "δ": "delta", "ε": "epsilon", "π": "pi", "τ": "tau",
    "θ": "theta", "κ": "kappa", "√": "sqrt ", "λ": "lambda",
    "β": "beta", "η": "eta", "ρ": "rho", "∇": "grad ", "±": "+/-",
    "Σ": "sum", "Π": "product", "Φ": "Phi", "Δ": "Delta", "←": "<-", "→": "->",
    "↓": "v", "↑": "^", "⇄": "<->", "·": "*", "×": "x", "−": "-", "–": "-", "—": "-", "′": "'",
    "≤": "<=", "≥": ">=", "≠": "!=", "∞": "inf", "∈": "in", "‖": "||", "…": "...", "⌊": "floor(",
    "⌋": ")", "●": "o", "│": "|", "▌": "|", "▸": ">", "∝": "proportional to",
    "≻": ">", "σ": "sigma", "φ": "phi", "⁄": "/",
}  # fmt: skip
_SIGNS = str.maketrans(_SPELLED)
_MARKS = {"<sub>": "_", "<super>": "^"}


def to_ascii(text: str) -> str:
    """The text with every sign spelled out: `γ·Gₜ₊₁` gives `gamma*G_t+1`.

    Anything else that is not ASCII loses its accents, or becomes `?`.
    """
    marked, before = [], ""
    for char in text:
        mark = _MARKS.get(unicodedata.decomposition(char).split(" ")[0], "")
        marked.append(mark + char if mark != before else char)
        before = mark
    letters = unicodedata.normalize("NFKD", "".join(marked))
    kept = "".join(char for char in letters if not unicodedata.combining(char))
    return kept.translate(_SIGNS).encode("ascii", "replace").decode("ascii")


def plain(entry: Entry, width: int = 80, ascii_only: bool = False) -> str:
    """The entry as lines of plain text, at most `width` wide (a formula is never broken)."""

    def paragraph(text: str, indent: str = "") -> str:
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)

    lines = [f"{entry.title}  [{entry.group}]"]
    if entry.symbols:
        lines.append(f"Symbols: {', '.join(entry.symbols)}")
    lines += [paragraph(line) for line in also_lines(entry)]
    lines += ["", paragraph(entry.meaning), "", f"  {entry.formula}", ""]
    lines += ["On screen:", *(paragraph(place, "  ") for place in entry.where)]
    lines += ["Source:", *(f"  {place}" for place in source_places(entry))]
    lines += ["Related:", paragraph(", ".join(entry.related), "  ")]
    text = "\n".join(lines)
    return to_ascii(text) if ascii_only else text


def also_lines(entry: Entry) -> list[str]:
    """What else a symbol or word of the entry stands for: `θ is also: Logits (logits)`."""
    return [
        f"{name} is also: {', '.join(f'{other.title} ({other.slug})' for other in others)}"
        for name, others in load().also(entry).items()
    ]


def source_places(entry: Entry) -> list[str]:
    """Where the entry's source lines are: `engine/tabular/algorithms/sarsa.py:72 (sarsa)`."""
    places = []
    for reference in entry.source:
        try:
            excerpt = resolve(reference)
        except LookupError:  # a stripped installation: the entry is worth reading all the same
            continue
        line = excerpt.marked[0] if excerpt.marked else excerpt.first_line
        places.append(f"{excerpt.file}:{line} ({excerpt.name})")
    return places


def render_entry(entry: Entry) -> RenderableType:
    """The entry for a Rich console."""
    heading = Text(entry.title, style="bold")
    if entry.symbols:
        heading.append("   " + "  ".join(entry.symbols), style="bold cyan")
    heading.append(f"   {entry.group}", style="dim")
    also = [Text(line, style="dim") for line in also_lines(entry)]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    facts.add_row("On screen", Text("\n".join(entry.where)))
    facts.add_row("Source", Text("\n".join(source_places(entry))))
    facts.add_row("Related", Text(", ".join(entry.related)))
    formula = Padding(Text(entry.formula, style="cyan"), (1, 2))
    return Group(heading, *also, Text(), Text(entry.meaning), formula, facts)


def render_listing(glossary: Glossary | None = None) -> RenderableType:
    """All entries by group, one line each: slug, title, symbols."""
    parts: list[RenderableType] = []
    for group, entries in (glossary or load()).groups.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for entry in entries:
            title = Text(entry.title)
            if entry.symbols:
                title.append("  " + " ".join(entry.symbols), style="bold")
            table.add_row(Text(entry.slug), title)
        parts += [Text(group, style="bold"), Padding(table, (0, 0, 1, 2))]
    return Group(*parts)


def plain_listing(glossary: Glossary | None = None, ascii_only: bool = False) -> str:
    """All entries by group as lines of plain text."""
    lines = []
    for group, entries in (glossary or load()).groups.items():
        lines.append(group)
        for entry in entries:
            symbols = f"  {' '.join(entry.symbols)}" if entry.symbols else ""
            lines.append(f"  {entry.slug:29}{entry.title}{symbols}")
        lines.append("")
    text = "\n".join(lines).rstrip()
    return to_ascii(text) if ascii_only else text
