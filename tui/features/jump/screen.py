"""Jump mode: every panel shows a letter, and the letter puts the focus there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.places import Place, letters


class JumpScreen(ModalScreen[int]):
    """Dismissed with the index of the place whose letter was pressed, or None."""

    DEFAULT_CSS = """
    JumpScreen {
        align: center middle;
        background: $background 40%;
        & > .jump--place {
            position: absolute;
            width: auto;
            height: 1;
            padding: 0 1;
            background: $accent;
            color: $background;
            text-style: bold;
        }
        & > .box {
            width: auto;
            height: auto;
            padding: 0 1;
            border: $frame $accent;
            background: $surface;
        }
        & > .box Static { width: auto; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("jump.cancel", "escape", "dismiss(None)", "Stay", "Stay where the focus is"),
    ]

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__()
        self._letters = letters(place.title for place in places)
        self._places = places

    def compose(self) -> ComposeResult:
        hidden = []
        for letter, place in zip(self._letters, self._places, strict=True):
            region = place.widget.region
            words = glyphs.plain(f"{letter}  {place.title}")
            if place.widget.is_on_screen and region.area:
                label = Static(Content(words), classes="jump--place")
                label.styles.offset = (region.x, region.y)
                yield label
            else:
                hidden.append(words)
        if hidden:
            with Vertical(classes="box"):
                yield from (Static(Content(words)) for words in hidden)

    def on_key(self, event: events.Key) -> None:
        """A letter goes there; anything else ends jumping."""
        event.stop()
        event.prevent_default()
        where = self._letters.index(event.key) if event.key in self._letters else None
        self.dismiss(where)
