"""The pieces of the lesson panel that know nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, Markdown, OptionList
from textual.widgets.option_list import Option

from engine.experiments.lab.proposals import Proposal
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.dialog import Dialog
from tui.ui.text import clean


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


class ProposalPicker(Dialog[Proposal]):
    """Which of the runs that a page proposes to start; dismissed with it, or with None."""

    DEFAULT_CSS = """
    ProposalPicker > .box { width: 90; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("proposal.close", "escape,q", "dismiss(None)", "Close", "Start nothing")
    ]

    def __init__(self, offered: Sequence[Proposal]) -> None:
        super().__init__()
        self._offered = offered

    def compose(self) -> ComposeResult:
        lines = [" ".join((p.preset, *p.settings)) for p in self._offered]
        options = [Option(Content(glyphs.plain(clean(line)))) for line in lines]
        yield OptionList(*options, classes="box", compact=True)

    def on_mount(self) -> None:
        """The first is highlighted."""
        options = self.query_one(OptionList)
        options.border_title = "Start which run?"
        options.border_subtitle = "Enter: start it   Esc: close"
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._offered[event.option_index])
