"""What Textual itself draws, for terminals that show nothing but ASCII."""

from __future__ import annotations

from typing import ClassVar

from textual.scrollbar import ScrollBar, ScrollBarRender

CSS = """
IceMazeApp.-ascii {
    Toast { border-left: none; }
    FooterKey.-command-palette { border-left: none; }
    SearchIcon { display: none; }
    CommandPalette #--input { border: none; }
    CommandPalette CommandList { border: none; }
    CommandPalette CommandInput, CommandPalette CommandInput:focus { border: none; }
    CommandPalette LoadingIndicator { display: none; }
    OptionList { text-overflow: clip; }
    SelectCurrent .arrow { display: none; }
    SelectOverlay { border: ascii $primary; }
}
"""


class Blocks(ScrollBarRender):
    """Whole cells only."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


def use(ascii_only: bool) -> None:
    """Draw scrollbars with whole cells, or with Textual's fractions of a cell."""
    ScrollBar.renderer = Blocks if ascii_only else ScrollBarRender
