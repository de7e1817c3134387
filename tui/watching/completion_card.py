"""One completion in a frame: whole, wrapped, and never as markup."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.ui import glyphs
from tui.ui.text import clean

EMPTY = "(nothing: the model ended at once)"


class CompletionCard(VerticalScroll, can_focus=False):
    """A completion with a title; `chosen` frames it as the one that was preferred."""

    DEFAULT_CSS = """
    CompletionCard {
        width: 1fr;
        height: 1fr;
        padding: 0 1;
        border: $frame $foreground 40%;
        border-title-color: $foreground;
        scrollbar-size-vertical: 1;
        &.-chosen { border: $frame-chosen $text-success; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, title: str, text: str, chosen: bool = False) -> None:
        """Show a completion as the model wrote it, made harmless."""
        self._draw(title, clean(text, lines=True).strip() or EMPTY, chosen)

    def say(self, words: str) -> None:
        """Show no completion, but why there is none; or nothing."""
        self._draw("", glyphs.plain(words), chosen=False)

    def _draw(self, title: str, words: str, chosen: bool) -> None:
        self.set_class(chosen, "-chosen")
        self.border_title = Content(glyphs.plain(title))
        self.query_one(Static).update(Content(words))
