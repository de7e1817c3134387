"""What `gpu.py` found, as rows of a Markdown table under a heading of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

HEADING = "## On a GPU"
TABLE = ("| what | result | beside it |", "|---|---|---|")


@dataclass(frozen=True)
class Row:
    """One measurement: in words, and its figures by name. `said` is what went wrong, if anything;
    a row that was left out for want of time has not `failed`."""

    what: str
    result: str = ""
    beside: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    said: str = ""
    failed: bool = False

    def markdown(self) -> str:
        """A line of the table."""
        result = " ".join(part for part in (self.result, self.said) if part)
        cells = (self.what, result, self.beside)
        return "| " + " | ".join(cell.replace("|", "\\|").strip() for cell in cells) + " |"


def failed(what: str, why: str) -> Row:
    """A measurement that came to nothing, with the reason in one sentence."""
    sentence = " ".join(why.split())[:300].rstrip(". ")
    return Row(what, said=f"**failed: {sentence}.**", failed=True)


def left_out(what: str, why: str) -> Row:
    """A measurement that was not begun."""
    return Row(what, said=f"not measured: {why}")


def verdict(row: Row, held: bool, why: str) -> Row:
    """The row, or its failure: a figure that is not finite, or a promise that was not kept."""
    odd = [name for name, value in row.figures.items() if not math.isfinite(value)]
    if odd:
        held, why = False, f"{odd[0]} is not finite"
    if held:
        return row
    return Row(row.what, row.result, row.beside, row.figures, f"**failed: {why}.**", failed=True)


def section(machine: str, command: str, rows: Sequence[Row]) -> str:
    """The section of RESULTS.md: where it was measured, by what, and all rows."""
    head = [
        HEADING,
        "",
        f"`{command}` on {date.today().isoformat()}: {machine}. GiB are the peak that torch "
        "allocated and, behind it, reserved (on a CPU the process's); the estimate is "
        "`engine/llm/models/memory.py`'s for the largest pass that was made, and the last number "
        "the allocated peak over it. Models with random weights have the shape of those named.",
        "",
        *TABLE,
    ]
    return "\n".join([*head, *(row.markdown() for row in rows)]) + "\n"


def replaced(text: str, new: str) -> str:
    """`text` with the section under `HEADING` replaced by `new`, or put behind everything else.
    No other line changes."""
    lines = text.splitlines(keepends=True)
    starts = [n for n, line in enumerate(lines) if line.rstrip() == HEADING]
    if not starts:
        return f"{text.rstrip()}\n\n{new}"
    first = starts[0]
    behind = [n for n, line in enumerate(lines) if n > first and line.startswith("## ")]
    rest = "".join(lines[behind[0] :]) if behind else ""
    return "".join(lines[:first]) + new + (f"\n{rest}" if rest else "")


def write(file: Path, new: str) -> None:
    """Put the section into a file; what else stands there stays."""
    before = file.read_text("utf-8") if file.exists() else ""
    file.write_text(replaced(before, new) if before.strip() else new, "utf-8")
