"""The choice of colours and characters: what the cursor is on is shown at once, Enter keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.ui import glyphs, looks
from tui.ui.bindings import key
from tui.ui.dialog import Dialog

GLYPHS = {
    "auto": "what locale and terminal can show",
    "unicode": "lines, arrows, dots",
    "ascii": "letters and punctuation only",
}
"""What the app can draw with, as the user's settings name it."""
Chosen = tuple[str, str]
"""The key of `[app]` that is set, and its value."""


class LooksScreen(Dialog[Chosen]):
    """Dismissed with what was chosen, or None. The colours go back to what they were then."""

    DEFAULT_CSS = """
    LooksScreen > .box { width: 78; padding: 0 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("looks.close", "escape,q", "close", "Close", "Leave the colours as they were"),
    ]

    def __init__(self, theme: str, glyph_set: str, show: Callable[[str], str]) -> None:
        """The choices in force; `show` takes the colours of a theme and gives the name of what
        the terminal shows instead, if it cannot show that."""
        super().__init__()
        self._theme, self._glyph_set, self._show = theme, glyph_set, show

    def compose(self) -> ComposeResult:
        options = [
            self._option("theme", name, words, self._theme) for name, words in looks.WORDS.items()
        ]
        options.append(Option("Characters (from the next start on)", disabled=True))
        options += [
            self._option("glyphs", name, words, self._glyph_set) for name, words in GLYPHS.items()
        ]
        yield OptionList(*options, classes="box")

    def on_mount(self) -> None:
        box = self.query_one(OptionList)
        box.border_title = "Colours"
        box.border_subtitle = "Enter: choose and remember   Esc: leave as it was"
        box.highlighted = list(looks.WORDS).index(self._theme)
        box.focus()

    def _option(self, kind: str, name: str, words: str, now: str) -> Option:
        mark = "*" if name == now else " "
        gap = " " * (20 - cell_len(name))
        return Option(Content(glyphs.plain(f"{mark} {name}{gap}{words}")), id=f"{kind}:{name}")

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show what the cursor is on."""
        kind, _, name = (event.option.id or "").partition(":")
        if kind == "theme":
            self._told(name, self._show(name))

    def _told(self, name: str, shown: str) -> None:
        instead = shown != name and name != looks.AUTO
        said = f"this terminal shows {shown} instead" if instead else "Enter: choose and remember"
        self.query_one(OptionList).border_subtitle = f"{said}   Esc: leave as it was"

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        kind, _, name = (event.option.id or "").partition(":")
        if kind == "glyphs":
            self._show(self._theme)
        self.dismiss((kind, name))

    def action_close(self) -> None:
        """Back to the colours before."""
        self._show(self._theme)
        self.dismiss(None)
