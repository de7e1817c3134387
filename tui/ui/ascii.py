"""What a terminal can show, decided once by the app: lines of Unicode, or nothing but ASCII."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.scrollbar import ScrollBar, ScrollBarRender

from tui.ui import glyphs
from tui.ui.terminal_diff import DiffUpdate, TerminalDiff
from tui.ui.text import clean

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.screen import Screen

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

    def on_mount(self) -> None:
        """Have what Textual itself draws drawn alike."""
        ascii_only = glyphs.current().ascii
        self.set_class(ascii_only, "-ascii")
        ScrollBar.renderer = Blocks if ascii_only else ScrollBarRender
        self.app_resume_signal.subscribe(self, lambda _: self._terminal_diff.forget())

    @cached_property
    def _terminal_diff(self) -> TerminalDiff:
        return TerminalDiff()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Send no more than what the terminal does not show already."""
        if isinstance(renderable, (LayoutUpdate, ChopsUpdate)):
            super()._display(screen, cast("Any", DiffUpdate(self._terminal_diff, renderable)))
        else:
            super()._display(screen, renderable)
