"""What the screen of another trainer's run says, as plain functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content

from engine.learning.events import Group, Member
from tui import kinds
from tui.model.snapshot import Snapshot
from tui.ui import glyphs
from tui.ui.text import clean, number, signed
from tui.watching.notes import note_prompt

SHOWN_NOTES = 20


def best_and_worst(members: Sequence[Member]) -> tuple[Member, Member | None] | None:
    """The completions that earned most and least; the second is missing where there is but one."""
    known = [member for member in members if not math.isnan(member.total)] or list(members)
    if not known:
        return None
    order = sorted(known, key=lambda member: member.total)
    return order[-1], order[0] if len(order) > 1 else None


def card_title(which: str, member: Member) -> str:
    """`earned most: 0.8, advantage +1.2`."""
    advantage = "" if math.isnan(member.advantage) else f", advantage {signed(member.advantage)}"
    cut = ", cut off" if member.cut_off else ""
    return f"{which}: {number(member.total)}{advantage}{cut}"


def asked(group: Group, unit: str) -> str:
    """Which completions these are, and what was asked."""
    return f"{unit.capitalize()} {group.step}, {group.size} completions of: {clean(group.prompt)}"


def nothing_yet(snapshot: Snapshot) -> str:
    """What stands in place of completions while none is recorded."""
    if snapshot.head.ended:
        return "Its trainer has told of no completions."
    return "No completions yet: they stand here as soon as the trainer tells of some."


def hint(snapshot: Snapshot) -> str:
    """One sentence: what happens, and what to press."""
    state, more = snapshot.head.state, "u shows all rollouts, m other curves, q leaves."
    said = {
        "finished": "Its trainer has finished",
        "stopped": "Nobody records it any more",
        "failed": "Its trainer has failed",
        "dead": "The program that recorded it is gone",
    }.get(state)
    if said is None:
        return f"Watching: Ice Maze only looks on; stop the run where it was started. {more}"
    return f"{said}. {more}"


def known(snapshot: Snapshot) -> Content:
    """Who trains what, and what the diagnosis has said, newest first."""
    kind = kinds.of(snapshot.preset)
    pieces: list[Content] = [
        Content.assemble((f"{glyphs.plain(fact.label)}  ", "bold"), glyphs.plain(fact.text))
        for fact in kind.model_facts()
    ]
    notes = list(reversed(snapshot.notes))[:SHOWN_NOTES]
    pieces.append(Content(""))
    if not notes:
        pieces.append(Content.styled("The diagnosis has nothing to say so far.", "$foreground 60%"))
    pieces += [note_prompt(note, kind.clock.unit) for note in notes]
    return Content("\n").join(pieces)
