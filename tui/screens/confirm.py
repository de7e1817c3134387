"""A question with two answers, of which the harmless one is preselected."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tui.widgets import glyphs


class Confirm(ModalScreen[bool]):
    """Asks before something that cannot be undone; dismisses with the answer."""

    DEFAULT_CSS = """
    Confirm {
        align: center middle;
        & > Vertical {
            width: 60;
            max-width: 100%;
            height: auto;
            padding: 1 2;
            background: $surface;
            border: round $error;
        }
        & Horizontal { height: auto; margin-top: 1; align-horizontal: right; }
        & Button { margin-left: 2; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape,n", "answer(False)", "No", id="confirm.no", tooltip="Leave everything as it is"
        ),
        Binding("y", "answer(True)", "Yes", id="confirm.yes", tooltip="Do it"),
        Binding(
            "left,right",
            "app.focus_next",
            "Other answer",
            id="confirm.other",
            tooltip="Go to the other answer",
            show=False,
        ),
    ]

    def __init__(self, question: str, yes: str) -> None:
        """`question` must be clean; `yes` is the word on the button that does it."""
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(glyphs.plain(self._question)))
            with Horizontal():
                yield Button("No (Esc)", id="no", compact=True)
                yield Button(f"{self._yes} (y)", id="yes", variant="error", compact=True)

    def on_mount(self) -> None:
        """The harmless answer is preselected."""
        self.query_one("#no").focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """Answer by key."""
        self.dismiss(answer)
