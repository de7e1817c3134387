"""The pieces of the lesson panel that know nothing of it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input, Markdown

from tui.ui import glyphs


class NumberField(Input):
    """Where a number is typed that is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Answer", id="lesson.submit", tooltip="Answer with this number")
    ]


class LessonText(Markdown):
    """A page. Links are not followed: nothing here is worth leaving the terminal for."""

    def __init__(self) -> None:
        super().__init__(open_links=False)
        if glyphs.current().ascii:
            self.BULLETS = ["- "]
