"""The first line over the trainer: its facts, long where there is room, short where there is none.

Nothing that matters is left out at 80 columns: what can be said shorter is, in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.cells import cell_len

from tui import kinds
from tui.model.snapshot import Snapshot
from tui.model.speedometer import Speedometer
from tui.ui import glyphs
from tui.ui.text import duration, percent, si

WORDS = {"dead": "worker is gone"}
"""States that need more than their name."""
MOST_SECONDS = 99 * 86_400.0
"""More time than that nobody waits for."""
BETWEEN = 2
"""Cells between two facts."""


class Fact(NamedTuple):
    """A piece of the first line and the glossary term it belongs to."""

    text: str
    slug: str


class Playback(NamedTuple):
    """How a recording is shown."""

    playing: bool
    pace: float
    back: bool = False


@dataclass
class Part:
    """A fact in its forms from long to short; a last form that is empty leaves it out."""

    slug: str
    forms: Sequence[str]
    chosen: int = field(default=0)

    @property
    def text(self) -> str:
        """In the form chosen."""
        return self.forms[self.chosen]

    def shorten(self) -> None:
        """The next shorter form, if there is one."""
        self.chosen = min(self.chosen + 1, len(self.forms) - 1)


def pace_text(pace: float | None, unit: str = "step") -> str:
    """A pace as people say it."""
    return "unlimited" if pace is None else f"{pace:g} {unit}{'' if pace == 1 else 's'}/s"


def fitted(parts: Sequence[Part], order: Sequence[Part], room: int) -> list[Fact]:
    """The facts in at most `room` cells, if the forms allow it; shortened in the order given."""
    for part in order:
        if _width(parts) <= room:
            break
        part.shorten()
    return [Fact(part.text, part.slug) for part in parts if part.text]


def _width(parts: Sequence[Part]) -> int:
    texts = [part.text for part in parts if part.text]
    return sum(map(cell_len, texts)) + BETWEEN * (len(texts) - 1)


class Progress:
    """How far a run is and how long it still takes, from one moment to the next."""

    def __init__(self) -> None:
        self._speed = Speedometer()

    def forms(self, snapshot: Snapshot) -> list[str]:
        """`step 704 of 2,000 · 35% · 5 min left`, and shorter."""
        budget, head = snapshot.preset.budget, snapshot.head
        unit, at = kinds.of(snapshot.preset).clock.unit, snapshot.at
        whole = budget.updates if unit != "step" else budget.env_steps
        limits = {
            "env_steps": head.env_steps, "episodes": head.episodes, "updates": head.step,
            "seconds": head.seconds,
        }  # fmt: skip
        shares = [done / limit for k, done in limits.items() if (limit := getattr(budget, k))]
        share = min(max(shares, default=math.nan), 1.0)
        left = ""
        if head.ended or not snapshot.following:
            share = at / whole if whole and head.state != "finished" else math.nan
        else:
            still = head.state == "paused" or bool(head.waiting)
            _, seconds = self._speed.measure(head.step, share, still=still)
            left = f" · {_rounded(seconds)} left" if math.isfinite(seconds) and not still else ""
        part = "" if math.isnan(share) else f" · {percent(share)}"
        long = f"{unit} {at:,} of {whole:,}" if whole else f"{unit} {at:,}"
        short = f"{unit} {at:,}" if at < 100_000 else f"{unit} {si(at)}"
        return [f"{long}{part}{left}", f"{short}{part}{left}", f"{short}{left or part}", short]


def _rounded(seconds: float) -> str:
    """A guess in steps that a reader can use: what changes every second is only noise."""
    if seconds < 10:
        return "<10 s"
    if seconds < 90:
        return f"{round(seconds / 10) * 10:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else duration(min(seconds, MOST_SECONDS))


def facts_of(
    snapshot: Snapshot, mark: str, playback: Playback | None, progress: Progress, room: int
) -> list[Fact]:
    """The facts of a moment in `room` cells. `mark` stands for the state of the run, `playback`
    replaces it while a recording is shown."""
    head, kind = snapshot.head, kinds.of(snapshot.preset)
    unit = kind.clock.unit
    pace = Part("pace", [""])
    if playback is not None:
        how = pace_text(playback.pace, kind.playback_unit) if playback.playing else "paused"
        how += " backwards" if playback.playing and playback.back else ""
        state = Part("recording-point", [f"{glyphs.current().back} recording, {how}"])
    else:
        word = WORDS.get(head.state, head.state)
        word = "waiting for you" if head.waiting and not head.ended else word
        # Of a run that goes on, the pace says that it does.
        state = Part(
            "run-state", [f"{mark} {word}", mark if word == "running" else f"{mark} {word}"]
        )
        if not head.ended:
            brief = "unlimited" if head.pace is None else f"{head.pace:g}/s"
            pace = Part("pace", [pace_text(head.pace, unit), brief, ""])
    warned = sum(note.level != "info" for note in snapshot.notes)
    plural = "warning" if warned == 1 else "warnings"
    notes = Part("note", [f"! {warned} {plural} (n)", f"! {warned}"] if warned else [""])
    clock = Part(kind.clock.slug, progress.forms(snapshot))
    numbered = kind.numbers_episodes and snapshot.step is not None
    index = snapshot.step.episode if snapshot.step is not None else 0
    episode = Part("episode", [f"episode {index:,}", f"episode {si(index)}"] if numbered else [""])
    needed = {term.slug: term.label for term in kind.success_terms(snapshot, False)}
    told = kind.success_terms(snapshot, True)
    success = [Part(t.slug, [t.label, needed.get(t.slug, "")]) for t in told]
    parent = snapshot.parent
    fork = Part("fork", [f"fork at {si(parent.step)}", ""] if parent is not None else [""])
    parts = [state, notes, pace, clock, episode, fork, *success]
    order = [fork, *success, clock, notes, state, pace, clock, episode, pace, clock]
    return fitted(parts, order, room)
