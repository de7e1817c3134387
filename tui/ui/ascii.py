"""What a terminal can show, decided once by the app: lines of Unicode, or nothing but ASCII."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.color import Color
from textual.filter import Monochrome, NoColor
from textual.scrollbar import ScrollBar, ScrollBarRender

from tui.ui import glyphs, looks
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
REVERSED = NoColor.DEFAULT_COLORS + Style(reverse=True)


@lru_cache(1024)
def _colourless(style: Style) -> Style:
    ground = style.bgcolor is not None and not style.bgcolor.is_default
    return style + (REVERSED if ground else NoColor.DEFAULT_COLORS)


class Colourless(NoColor):
    """No colour reaches the terminal; what had a ground of its own is reversed."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same text without colours."""
        return [
            Segment(text, None if style is None else _colourless(style), control)
            for text, style, control in segments
        ]


class Blocks(ScrollBarRender):
    """Whole cells only."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class GlyphApp(App[Result], Generic[Result]):
    """An app whose borders and scrollbars are made of what `tui.ui.glyphs` chose to draw with."""

    CSS = CSS + looks.FEW_COLOURS

    def __init__(self) -> None:
        super().__init__()
        for theme in looks.THEMES:
            self.register_theme(theme)
        # In place of Textual's own answer to NO_COLOR: greys, which take meaning away from colour
        # without giving it back by signs.
        self._filters = [each for each in self._filters if not isinstance(each, Monochrome)]
        self._no_colour = Colourless(enabled=False)
        self._filters.append(self._no_colour)
        self.chosen_theme = looks.AUTO
        self.look(looks.AUTO)

    def look(self, chosen: str) -> str:
        """Take the colours of a theme for good, see `preview`."""
        self.chosen_theme = chosen
        return self.preview(chosen)

    def preview(self, chosen: str) -> str:
        """Show the colours of a theme, or what this terminal can show of it: gives its name."""
        name = looks.fitting(chosen, self.console.color_system)
        self.no_color = self._no_colour.enabled = name == looks.MONO
        if self.console.color_system is None:  # where TERM is dumb: attributes are all that is left
            self.console._color_system = ColorSystem.STANDARD
        self.theme = name
        return name

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
        self.app_resume_signal.subscribe(self, lambda _: self._terminal_diff.forget())

    @cached_property
    def _terminal_diff(self) -> TerminalDiff:
        return TerminalDiff()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Send no more than what the terminal does not show already."""
        if isinstance(renderable, (LayoutUpdate, ChopsUpdate)):
            renderable = cast("RenderableType", DiffUpdate(self._terminal_diff, renderable))
        super()._display(screen, renderable)
