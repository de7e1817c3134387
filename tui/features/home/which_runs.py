"""The question which runs of a challenge to open: those there are, or fresh ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.library.shelf import RunCard
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.dialog import Dialog


class WhichRuns(Dialog[bool]):
    """Dismissed with True for fresh runs, False for those there are, None for neither."""

    DEFAULT_CSS = """
    WhichRuns > .box { width: 64; padding: 0 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("which.close", "escape,q", "dismiss(None)", "Close", "Open nothing"),
        key("which.fresh", "f", "dismiss(True)", "Fresh", "Start fresh runs"),
        key("which.open", "o", "dismiss(False)", "Open", "Open the runs there are"),
    ]

    def __init__(self, title: str, runs: Sequence[RunCard]) -> None:
        super().__init__()
        self._title, self._runs = title, runs

    def compose(self) -> ComposeResult:
        states = ", ".join(dict.fromkeys(run.summary.state for run in self._runs))
        newest = max(run.summary.created for run in self._runs if run.summary.created)
        there = f"Open the runs of {newest.astimezone():%d %b %H:%M} (o): {states}"
        yield OptionList(
            Option(Content(glyphs.plain(there)), id="there"),
            Option("Start fresh runs (f)", id="fresh"),
            classes="box",
        )

    def on_mount(self) -> None:
        """The runs there are cost nothing, so they stand first."""
        options = self.query_one(OptionList)
        options.border_title = Content(glyphs.plain(self._title))
        options.border_subtitle = "Enter: choose   Esc: close"
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id == "fresh")
