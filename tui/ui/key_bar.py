"""The line of keys at the bottom: what Textual's Footer shows, drawn as one line.

Textual builds a widget for every key and does so again at each change of focus, which takes a
quarter of a second with the keys of the trainer. Here a change is one line to paint. Keys that do
not fit are left out whole, so the most important ones must come first in `active_bindings`.
"""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.binding import ActiveBinding
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.style import Style
from textual.widget import Widget
from textual.widgets import Input

ROOMY = 100
"""From this many columns on two blanks stand between the keys, below it one."""


TYPED = ("plus", "minus", "slash")
"""Keys that a text field takes, though Textual does not know their characters by these names."""


class Item(NamedTuple):
    """A key with its name, or several keys of one group."""

    keys: tuple[tuple[str, str, str], ...]
    """What is shown, the key a click presses, the tooltip."""
    name: str

    @property
    def width(self) -> int:
        """In cells."""
        return sum(cell_len(shown) for shown, _, _ in self.keys) + 1 + cell_len(self.name)


class KeyBar(Widget):
    """The keys that work now, by the bindings themselves; a click on one presses it."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-bar--key"}

    DEFAULT_CSS = """
    KeyBar {
        dock: bottom;
        height: 1;
        padding: 0 1;
        color: $footer-foreground;
        background: $footer-background;
        & > .key-bar--key { color: $footer-key-foreground; text-style: bold; }
    }
    """

    with_palette: reactive[bool] = reactive(True)
    """Show the key of the command palette at the right end."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._items: list[Item] = []
        self._palette: Item | None = None

    def on_mount(self) -> None:
        """Follow the bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if self.is_attached and self.app.app_focus:
            self.call_after_refresh(self._read)

    def _read(self) -> None:
        if not self.is_attached:
            return
        active = self.screen.active_bindings
        items = list(self._grouped(self._offered(active)))
        palette = active.get(self.app.COMMAND_PALETTE_BINDING)
        last = None if palette is None else self._item([palette])
        if (items, last) != (self._items, self._palette):
            self._items, self._palette = items, last
            self.refresh()

    def _offered(self, active: dict[str, ActiveBinding]) -> list[ActiveBinding]:
        """The keys to name. In a text field Enter and Escape first, and none that it would type."""
        shown = [each for each in active.values() if each.binding.show]
        if not isinstance(self.screen.focused, Input):
            return shown
        first = [active[key] for key in ("enter", "escape") if key in active]
        return [*first, *(a for a in shown if a not in first and a.binding.key not in TYPED)]

    def _grouped(self, active: list[ActiveBinding]) -> list[Item]:
        """One item for each action, or for each group of actions that stand together."""
        first: dict[str, ActiveBinding] = {}
        for each in active:
            first.setdefault(each.binding.action, each)
        return [
            self._item(list(same))
            for _, same in groupby(
                first.values(), lambda each: each.binding.group or each.binding.action
            )
        ]

    def _item(self, active: list[ActiveBinding]) -> Item:
        keys = tuple(
            (self.app.get_key_display(each.binding), each.binding.key, each.tooltip)
            for each in active
        )
        group = active[0].binding.group
        return Item(keys, group.description if group else _name(active[0]))

    def render(self) -> RenderResult:
        """As many keys as fit whole."""
        key = self.get_visual_style("key-bar--key")
        room = self.content_size.width
        gap = "  " if room >= ROOMY else " "
        last = self._palette if self.with_palette else None
        if last is not None:
            room -= last.width + len(gap)
        pieces: list[Content] = []
        for item in self._items:
            if item.width > room:
                break
            pieces += [self._drawn(item, key), Content(gap)]
            room -= item.width + len(gap)
        line = Content("").join(pieces)
        if last is None:
            return line
        blank = self.content_size.width - line.cell_length - last.width
        return Content("").join([line, Content(" " * max(blank, 0)), self._drawn(last, key)])

    @staticmethod
    def _drawn(item: Item, look: Style) -> Content:
        keys = [
            Content.styled(shown, look + Style.from_meta({"key": key, "tip": tip}))
            for shown, key, tip in item.keys
        ]
        _, key, tip = item.keys[0]
        name = Content.styled(f" {item.name}", Style.from_meta({"key": key, "tip": tip}))
        return Content("").join([*keys, name])

    async def _on_click(self, event: events.Click) -> None:
        if isinstance(key := event.style.meta.get("key"), str):
            self.app.simulate_key(key)

    async def _on_mouse_move(self, event: events.MouseMove) -> None:
        tip = event.style.meta.get("tip") or None
        if tip != self.tooltip:
            self.tooltip = tip


def _name(active: ActiveBinding) -> str:
    """What a key is called; Textual's own name of Enter in a text field says too little."""
    binding = active.binding
    return "Go" if binding.action == "submit" and not binding.id else binding.description
