"""What a terminal can show, decided once by the app: lines of Unicode, or nothing but ASCII."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from textual.app import App
from textual.scrollbar import ScrollBar, ScrollBarRender

from tui.ui import glyphs
from tui.ui.text import clean

Result = TypeVar("Result")

UNICODE = {"frame": "round", "frame-chosen": "heavy", "rule": "solid", "cut": "ellipsis"}
ASCII = {"frame": "ascii", "frame-chosen": "ascii", "rule": "ascii", "cut": "clip"}
"""Kinds of border, and the end of a text that is cut, as style sheets name them: `$frame`."""

CSS = """
GlyphApp.-ascii {
    Toast { border-left: none; }
    FooterKey.-command-palette { border-left: none; }
    SearchIcon { display: none; }
    CommandPalette #--input { border: none; }
    CommandPalette CommandList { border: none; }
    CommandPalette CommandInput, CommandPalette CommandInput:focus { border: none; }
    CommandPalette LoadingIndicator { display: none; }
    MarkdownBlockQuote { border-left: ascii $foreground 50%; }
    OptionList { text-overflow: clip; }
    SelectCurrent .arrow { display: none; }
    SelectOverlay { border: ascii $primary; }
}
"""
"""What Textual itself draws, for terminals that show nothing but ASCII."""


class Blocks(ScrollBarRender):
    """Whole cells only."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class GlyphApp(App[Result], Generic[Result]):
    """An app whose borders and scrollbars are made of what `tui.ui.glyphs` chose to draw with."""

    CSS = CSS

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What the style sheets name."""
        return ASCII if glyphs.current().ascii else UNICODE

    def notify(self, message: str, *, title: str = "", markup: bool = False, **how: Any) -> None:
        """Notify of something, exceptions among them: foreign text, so never as markup."""
        super().notify(clean(message, lines=True), title=clean(title), markup=False, **how)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy by OSC 52, which most terminals know; only they know what became of it."""
        super().copy_to_clipboard(text)
        self.notify("Sent to the terminal's clipboard.", timeout=2)

    def action_help_quit(self) -> None:
        """Ctrl+C with nothing selected: nobody who wants to copy is asked whether to quit."""
        self.notify("Nothing is selected: drag over text, then ctrl+c copies it. ctrl+q quits.")

    def on_mount(self) -> None:
        """Have what Textual itself draws drawn alike."""
        ascii_only = glyphs.current().ascii
        self.set_class(ascii_only, "-ascii")
        ScrollBar.renderer = Blocks if ascii_only else ScrollBarRender
