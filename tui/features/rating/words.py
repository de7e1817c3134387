"""What the rating screen says: questions, verdicts and hints, as plain functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from engine.learning.events import Member, Pair, Preference
from engine.runs.records import Head
from tui.library.facts_of import OVER, RESUMABLE
from tui.model.snapshot import Snapshot
from tui.ui.text import clean, percent, signed


def open_pairs(snapshot: Snapshot, sent: Collection[int] = ()) -> list[Pair]:
    """The pairs without an answer, in order; those whose answer is on its way left out."""
    known = {given.index for given in snapshot.preferences} | set(sent)
    return [pair for pair in snapshot.pairs if pair.index not in known]


def question(snapshot: Snapshot, pair: Pair) -> str:
    """Which pair it is, and what the model was asked."""
    together = [other.index for other in snapshot.pairs if other.step == pair.step]
    place = together.index(pair.index) + 1
    return f"Pair {place} of {len(together)}   asked: {clean(pair.prompt)}"


def verdict(given: Preference) -> str:
    """What was answered, and what the reward model had expected before it knew."""
    who = "You" if given.by == "you" else "The rule"
    if given.choice == "skip":
        return f"{who} left the pair out: nothing is learned from it."
    said = f"{who} preferred {name(given)}."
    if given.choice == "tie":
        said = f"{who} found both alike."
    if given.scores is not None:
        first, second = given.scores
        said = f"{said[:-1]}: {first:g} against {second:g}."
    if math.isnan(given.guess):
        return f"{said} There was no reward model yet to guess it."
    likelier = 1 if given.guess > 0.5 else 2
    sure = percent(max(given.guess, 1 - given.guess))
    if given.target == 0.5:
        return f"{said} The reward model had expected {likelier} ({sure})."
    right = (given.guess > 0.5) == (given.target > 0.5)
    return f"{said} The reward model had expected {likelier} ({sure}): " + (
        "right." if right else "wrong."
    )


def name(given: Preference) -> str:
    """The one that was preferred, as the screen numbers it."""
    return "1" if given.target > 0.5 else "2"


def tally(snapshot: Snapshot, step: int) -> str:
    """How often the reward model was right about the pairs of a round, so far."""
    clear = [
        given
        for given in snapshot.preferences
        if given.step == step and math.isfinite(given.guess) and given.target not in (0.5,)
        and math.isfinite(given.target)
    ]  # fmt: skip
    if not clear:
        return ""
    right = sum((given.guess > 0.5) == (given.target > 0.5) for given in clear)
    return f" In this round it was right {right} of {len(clear)} times."


def best_and_worst(members: Sequence[Member]) -> tuple[Member, Member] | None:
    """What the reward model likes most of some completions, and least; None of fewer than two."""
    if len(members) < 2:
        return None
    order = sorted(members, key=lambda member: member.total)
    return order[-1], order[0]


def card_title(member: Member, best: bool) -> str:
    """How a completion that was scored is headed."""
    which = "the reward model likes most" if best else "likes least"
    return f"{which}: {signed(member.total)}"


def nothing_yet(head: Head) -> str:
    """What stands in place of completions while none has been scored."""
    if head.ended:
        return "Nothing was written."
    if head.state == "starting":
        return "The worker is starting …"
    if head.state == "paused":
        return "Paused before anything was written."
    return (
        "The model is at work: it is being loaded, writes, or learns. What it writes stands here "
        "as soon as an update has scored it."
    )


def hint(snapshot: Snapshot, missing: int) -> str:
    """One sentence: what happens, and what to press."""
    head, text = snapshot.head, getattr(snapshot.preset, "text", None)
    if head.state in RESUMABLE:
        how = OVER[head.state]
        return f"{how}: r in the library goes on with it. < and > show the pairs, q leaves."
    if head.ended:
        return "It is over. < and > go through all pairs, m shows other curves, q leaves."
    if missing:
        plural = "answer is" if missing == 1 else "answers are"
        return f"Waiting for you: {missing} {plural} wanted. 1 or 2 prefers, 0 both alike, s marks."
    if head.state == "paused":
        return "Paused. Space goes on; < and > go through the pairs, m shows other curves."
    if not snapshot.pairs:
        return "The model is being loaded, and then writes the first pairs."
    every = text.every if text else 1
    left = every - head.step % every
    updates = "update" if left == 1 else "updates"
    return f"It learns: {left} more {updates}, then new pairs. Below: what it is paid for."
