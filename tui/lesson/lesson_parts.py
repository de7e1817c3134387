"""The pieces of the lesson panel that know nothing of it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.widgets import Input, Markdown

from tui.ui import glyphs
from tui.ui.bindings import key


class NumberField(Input):
    """Where a number is typed that is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("lesson.submit", "enter", "submit", "Answer", "Answer with this number")
    ]


class LessonText(Markdown):
    """A page. Links are not followed: nothing here is worth leaving the terminal for."""

    def __init__(self) -> None:
        super().__init__(open_links=False)
        if glyphs.current().ascii:
            self.BULLETS = ["- "]
