"""What all dialogs share: a box in the middle, and borders that fit the terminal."""

from __future__ import annotations

from typing import Generic, TypeVar

from textual.screen import ModalScreen

from tui.ui import glyphs

Result = TypeVar("Result")


class Dialog(ModalScreen[Result], Generic[Result]):
    """A modal screen whose one child of class `box` is the dialog."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        & > .box {
            max-width: 96%;
            height: auto;
            max-height: 92%;
            border: round $accent;
            border-title-color: $foreground;
            background: $surface;
            scrollbar-size-vertical: 1;
        }
        &.-ascii > .box { border: ascii $accent; }
    }
    """

    def on_mount(self) -> None:
        """Choose the border."""
        self.set_class(glyphs.current().ascii, "-ascii")
