"""What all dialogs share: a box in the middle."""

from __future__ import annotations

from typing import Generic, TypeVar

from textual.screen import ModalScreen

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
            border: $frame $accent;
            border-title-color: $foreground;
            background: $surface;
            scrollbar-size-vertical: 1;
        }
    }
    """
