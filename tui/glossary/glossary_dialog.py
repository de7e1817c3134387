"""The glossary as a dialog, for screens that have no panel for it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widget import Widget

from tui.glossary.panel import GlossaryPanel
from tui.glossary.term_picker import TermPicker
from tui.model.snapshot import Snapshot
from tui.ui.bindings import key
from tui.ui.dialog import Dialog
from tui.ui.fact import Term
from tui.ui.terms import TermClicked


class GlossaryDialog(Dialog[None]):
    """The glossary, opened at an entry, or at its search with an empty slug."""

    DEFAULT_CSS = """
    GlossaryDialog > .box { width: 96; height: 92%; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("glossary.close", "escape,q", "dismiss", "Close", "Close the glossary")
    ]

    def __init__(self, slug: str = "", snapshot: Snapshot | None = None) -> None:
        """With a `snapshot`, terms have their value in that run."""
        super().__init__()
        self._slug = slug
        self._snapshot = snapshot

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Glossary"
            box.border_subtitle = "/: search   Esc: close"
            yield GlossaryPanel()

    def on_mount(self) -> None:
        """Open the entry."""
        panel = self.query_one(GlossaryPanel)
        if self._snapshot is not None:
            panel.show(self._snapshot)
        if self._slug:
            panel.open(self._slug)
        panel.focus()

    @on(TermClicked)
    def _term_clicked(self, message: TermClicked) -> None:
        message.stop()
        self.query_one(GlossaryPanel).open(message.slug)


def look_up(widget: Widget, terms: list[Term]) -> None:
    """Let the user choose one of the terms on screen, and show its entry in a dialog."""
    app = widget.app

    def picked(slug: str | None) -> None:
        if slug is not None:
            app.push_screen(GlossaryDialog(slug))

    app.push_screen(TermPicker(terms), picked)
