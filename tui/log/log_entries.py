"""What the trajectory log lists: episodes with their steps, and which rows that makes.

Pure data: recorded episodes come as one line each, their steps only when asked for; the newest
steps are known anyway.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from engine.learning.events import Episode, Step
from engine.runs.records import EpisodeRow

Key = tuple[int, int]
"""An episode: agent and index."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One episode (or sweep) of the log."""

    agent: int
    index: int
    id: int | None = None
    """Its number in the record; None while it is not recorded."""
    end: int = 0
    """The step count at its (so far) last step; entries are listed by it."""
    length: int = 0
    total_return: float | None = None
    """Discounted; None while it goes on, or when its beginning is not known."""
    success: bool = False
    terminated: bool = False
    truncated: bool = False
    sweep: bool = False
    steps: tuple[Step, ...] | None = None
    """None when they must be asked for."""
    returns: tuple[float, ...] | None = None
    """Return-to-go of each of `steps`; None while the episode goes on."""

    @property
    def key(self) -> Key:
        """Agent and index."""
        return self.agent, self.index

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.id is not None or self.terminated or self.truncated


def returns_to_go(steps: Sequence[Step]) -> tuple[float, ...]:
    """[T] the discounted sum of the rewards from each step on."""
    following = accumulate(reversed(steps), lambda g, s: s.reward + s.gamma * g, initial=0.0)
    return tuple(following)[:0:-1]


def recorded_entry(row: EpisodeRow, episode: Episode | None, sweep: bool) -> Entry:
    """An episode of the record, with its steps if they have been fetched."""
    return Entry(
        agent=row.agent,
        index=row.index,
        id=row.id,
        end=row.step,
        length=row.length,
        total_return=row.total_return,
        success=row.success,
        terminated=row.terminated,
        truncated=row.truncated,
        sweep=sweep,
        steps=episode.steps if episode else None,
        returns=episode.returns_to_go if episode else None,
    )


def live_entry(steps: Sequence[Step], recorded: Entry | None) -> Entry:
    """An episode of which the newest steps are known; `recorded` knows more, if it is recorded."""
    last = steps[-1]
    if recorded is not None and (recorded.steps is not None or recorded.length != len(steps)):
        return recorded
    sweep = last.kind == "backup"
    over = recorded is not None or last.terminated or last.truncated
    returns = returns_to_go(steps) if over and not sweep else None
    return Entry(
        agent=last.agent,
        index=last.episode,
        id=recorded.id if recorded else None,
        end=last.step,
        length=len(steps) if sweep else last.t + 1,
        total_return=returns[0] if returns and steps[0].t == 0 else None,
        success=last.success,
        terminated=last.terminated,
        truncated=last.truncated,
        sweep=sweep,
        steps=tuple(steps),
        returns=returns,
    )


def entries(
    rows: Iterable[EpisodeRow],
    steps: Iterable[Step],
    provided: Mapping[int, Episode],
    *,
    sweep: bool,
) -> list[Entry]:
    """All episodes, oldest first: the recorded ones and those of the newest `steps`."""
    listed = {
        (row.agent, row.index): recorded_entry(row, provided.get(row.id), sweep) for row in rows
    }
    live: dict[Key, list[Step]] = {}
    for step in steps:
        live.setdefault((step.agent, step.episode), []).append(step)
    for key, known in live.items():
        listed[key] = live_entry(known, listed.get(key))
    return sorted(listed.values(), key=lambda entry: (entry.end, entry.agent, entry.index))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the log: a header (`position` -1), a step, or a line that says "wait"."""

    entry: Entry
    position: int

    @property
    def step(self) -> Step | None:
        """The step of this row."""
        if self.position < 0 or self.entry.steps is None:
            return None
        return self.entry.steps[self.position]

    @property
    def place(self) -> tuple[Key, int]:
        """What identifies the row from one moment to the next: episode, and t (-1: header)."""
        step = self.step
        at = self.position if step is None or self.entry.sweep else step.t
        return self.entry.key, at


class Rows:
    """The lines of all entries, numbered; finding one takes logarithmic time."""

    def __init__(self, listed: list[Entry], is_open: Callable[[Entry], bool]) -> None:
        self.entries = listed
        sizes = [1 + _steps_shown(entry) * is_open(entry) for entry in listed]
        self._ends = list(accumulate(sizes))
        self._number = {entry.key: i for i, entry in enumerate(listed)}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Row:
        """The row of a number; IndexError outside."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        i = bisect_right(self._ends, number)
        start = self._ends[i - 1] if i else 0
        return Row(self.entries[i], number - start - 1)

    def find(self, place: tuple[Key, int]) -> int:
        """The number of the row at a place; of its header where the row is folded away, else -1."""
        key, at = place
        if key not in self._number:
            return -1
        i = self._number[key]
        start = self._ends[i - 1] if i else 0
        entry = self.entries[i]
        if entry.steps and not entry.sweep:  # in order of t, though early ones may be forgotten
            at = -1 if at < entry.steps[0].t else bisect_left(entry.steps, at, key=lambda s: s.t)
        number = start + 1 + at
        return number if number < self._ends[i] else start


def _steps_shown(entry: Entry) -> int:
    return 1 if entry.steps is None else len(entry.steps)
