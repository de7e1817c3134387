"""Dialogs about runs in the list: a title for one, and in which settings two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.dialog import Dialog

if TYPE_CHECKING:
    from tui.library.differences import Difference


class RenameRun(Dialog[str]):
    """Dismissed with the new title (empty: the preset's), or with None."""

    DEFAULT_CSS = """
    RenameRun {
        & > .box { width: 70; padding: 0 1; }
        & Input { width: 1fr; background: $panel; &:focus { background: $primary 30%; } }
        & Static { color: $foreground 60%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("rename.close", "escape", "dismiss(None)", "Close", "Keep the title it has")
    ]

    def __init__(self, run_id: str, title: str) -> None:
        """`title` must be clean."""
        super().__init__()
        self._run_id, self._title = run_id, title

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(f"A title for {self._run_id}")
            box.border_subtitle = "Enter: keep it   Esc: close"
            yield Input(self._title, compact=True, select_on_focus=True)
            yield Static("Empty brings the preset's title back. The run's id stays.")

    @on(Input.Submitted)
    def _chosen(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class RunDifferences(Dialog[None]):
    """In which settings two runs differ, a line each."""

    DEFAULT_CSS = """
    RunDifferences {
        & > .box { width: 100; padding: 0 1; }
        & Static { height: auto; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("difference.close", "escape,q,enter", "dismiss", "Close", "Back to the library")
    ]

    def __init__(self, titles: Sequence[str], found: Sequence[Difference]) -> None:
        """`titles` of the two runs must be clean."""
        super().__init__()
        self._titles, self._found = titles, found

    def compose(self) -> ComposeResult:
        # deferred: Rich's tables are needed only here
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_row(*(Text(glyphs.plain(t), style="bold") for t in ("setting", *self._titles)))
        for each in self._found:
            table.add_row(*(Text(glyphs.plain(text)) for text in (each.key, *each.told)))
        with VerticalScroll(classes="box") as box:
            box.border_title = "What differs in the settings"
            box.border_subtitle = "Esc: close"
            yield Static(table if self._found else "Both runs have the same settings.")

    def on_mount(self) -> None:
        """It may be longer than the screen."""
        self.query_one(VerticalScroll).focus()
