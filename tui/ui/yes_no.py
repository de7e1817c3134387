"""A question before something that is not easily undone."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Label

from tui.ui.bindings import key, move
from tui.ui.dialog import Dialog


class YesNo(Dialog[bool]):
    """Dismissed with whether the answer was yes. The safe answer has the focus."""

    DEFAULT_CSS = """
    YesNo {
        & > .box { width: auto; padding: 1 2; }
        & Label { width: auto; max-width: 70; }
        & Horizontal { width: auto; height: auto; margin-top: 1; }
        & Button { margin-right: 2; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("question.yes", "y", "answer(True)", "Yes", "Do it"),
        key("question.no", "n,escape,q", "answer(False)", "No", "Do nothing"),
        move("question.next", "left,right", "app.focus_next", "Other answer",
             "Go to the other answer"),
    ]  # fmt: skip

    def __init__(self, question: str, yes: str = "Yes", no: str = "No") -> None:
        super().__init__()
        self.question, self.yes, self.no = question, yes, no

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(self.question, markup=False)
            with Horizontal():
                yield Button(f"{self.no} (n)", id="no", variant="primary", compact=True)
                yield Button(f"{self.yes} (y)", id="yes", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """Give the answer."""
        self.dismiss(yes)
