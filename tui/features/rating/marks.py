"""Two marks for two completions, typed."""

from __future__ import annotations

import re
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label

from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.dialog import Dialog

Marks = tuple[float, float]
MOST = 10.0
TEXT = "A mark from 0 to 10 for each, the left one first, such as: 7 4"
WRONG = "Expected two numbers from 0 to 10 with a space between, such as: 7 4"


def read_marks(text: str) -> Marks | None:
    """The two marks in what was typed, `7 4` or `7.5 / 4`; None when it is something else."""
    parts = [part for part in re.split(r"[\s/;|]+", text.strip()) if part]
    try:
        numbers = [float(part.replace(",", ".")) for part in parts]
    except ValueError:
        return None
    if len(numbers) != 2 or not all(0 <= mark <= MOST for mark in numbers):
        return None
    return numbers[0], numbers[1]


class MarksDialog(Dialog[Marks | None]):
    """Dismissed with the marks, or None."""

    DEFAULT_CSS = """
    MarksDialog {
        & > .box { width: 72; padding: 1 2; }
        & Label { width: 100%; }
        & Input { margin-top: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("marks.cancel", "escape", "dismiss(None)", "Cancel", "Give no marks")
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Marks"
            yield Label(glyphs.plain(TEXT), markup=False)
            yield Input(placeholder="7 4", compact=True)

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        marks = read_marks(message.value)
        if marks is None:
            self.query_one(Label).update(WRONG)
        else:
            self.dismiss(marks)
