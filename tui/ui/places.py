"""The places of a screen that the focus can go to, for jumping by a letter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Place(NamedTuple):
    """Somewhere to go."""

    title: str
    widget: Widget
    """What it is: its letter stands in its corner."""
    go: Callable[[], object]


@runtime_checkable
class HasPlaces(Protocol):
    """A screen that knows its places, also those that are not shown."""

    def places(self) -> list[Place]:
        """From first to last."""


def has_places(screen: Screen[object]) -> bool:
    """Whether there is somewhere else to go. Also while the screen is still being built."""
    if isinstance(screen, ModalScreen):
        return False
    return isinstance(screen, HasPlaces) or len(screen.focus_chain) > 1


def places_of(screen: Screen[object]) -> list[Place]:
    """The places of a screen: its own, or whatever can take the focus."""
    if isinstance(screen, HasPlaces):
        return screen.places()
    found = []
    for widget in screen.focus_chain:
        framed = next((w for w in widget.ancestors_with_self if _title(w)), None)
        title = _title(framed) if framed is not None else ""
        if not title and isinstance(widget, Input):
            title = widget.placeholder
        found.append(Place(title or widget.id or "Here", widget, widget.focus))
    return found


def letters(titles: Iterable[str]) -> list[str]:
    """A letter for each title: one of its own if one is free, else any."""
    taken: list[str] = []
    for title in titles:
        wanted = [sign for sign in title.lower() if sign in LETTERS]
        free = (sign for sign in [*wanted, *LETTERS, *LETTERS.upper()] if sign not in taken)
        taken.append(next(free, ""))
    return taken


def _title(node: object) -> str:
    title = node.border_title if isinstance(node, Widget) else None
    return str(title) if title else ""
