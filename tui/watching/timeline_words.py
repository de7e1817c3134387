"""What the timeline says: the kinds of marks, their letters, and what one goes to among them."""

from __future__ import annotations

from typing import NamedTuple

from engine.runs.past.timeline import TOLD, Kind, Mark
from tui import kinds
from tui.model.snapshot import Snapshot
from tui.ui.text import clean

LETTERS: dict[Kind, str] = {
    "update": "·",
    "episode": "-",
    "note": "n",
    "checkpoint": "c",
    "tune": "t",
    "edit": "m",
}
"""How each kind is drawn. Where several share a cell, the last of them here is shown."""


class Jump(NamedTuple):
    """What the keys for the next mark and the one before look for."""

    name: str
    kinds: tuple[Kind, ...]


JUMPS = (
    Jump("marks", TOLD),
    Jump("updates", ("update",)),
    Jump("episodes", ("episode",)),
    Jump("notes", ("note",)),
    Jump("checkpoints", ("checkpoint",)),
    Jump("tunes", ("tune",)),
    Jump("map changes", ("edit",)),
)
"""The choices, in the order of their key. Marks are all but updates and episodes."""


def told(mark: Mark) -> str:
    """A mark in words."""
    if mark.kind == "note":
        return f"note: {clean(mark.text)}"
    if mark.kind == "tune":
        return f"tuned: {clean(mark.text)}"
    return "the map changed" if mark.kind == "edit" else mark.kind


def at_cursor(snapshot: Snapshot) -> str:
    """The marks that stand exactly where the cursor is, in words; nothing at the live edge."""
    if snapshot.following:
        return ""
    here = [told(mark) for mark in snapshot.track.told if mark.step == snapshot.at]
    return "; ".join(dict.fromkeys(here))


def where_to(snapshot: Snapshot) -> str:
    """Where the key `f` leads."""
    return "the end" if snapshot.head.ended else "live"


def unit(snapshot: Snapshot) -> str:
    """What the timeline counts, in a word."""
    return kinds.of(snapshot.preset).clock.unit
