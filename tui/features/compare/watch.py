"""Several runs and whoever compares them: all are looked at together, on one thread.

As `RunWatch` does for one run: the screen asks and never waits; `look` gives everything that is to
be shown as one frozen `Comparison`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.config.preset import Preset
from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.runs.records import ENDED, RunState
from tui import kinds
from tui.features.compare import seeds
from tui.features.compare.clock import SharedClock
from tui.features.compare.intervals import Differences
from tui.features.compare.intervals import differences as sure_differences
from tui.features.compare.seeds import Seed, Seeds
from tui.library.differences import differences
from tui.model.replay import Replay
from tui.model.run_watch import News, Notice, RunWatch
from tui.model.snapshot import Snapshot
from tui.ui.text import clean
from tui.watching.axes import Axis, axes_of

FEWEST, MOST = 2, 4
LETTERS = "ABCD"
"""What the runs are called on screen, in the order they were given."""
STARTING = "The worker is starting …"


class Watch(Protocol):
    """What is needed of a `RunWatch`."""

    @property
    def asked(self) -> bool:
        """Whether something was asked that no look has done yet."""

    def go(self, move: Callable[[Replay], bool], failing: str = "") -> None:
        """Show another moment."""

    def command(self, name: str, said: str = "", **args: Any) -> None:
        """Send a command to the worker."""

    def look(self) -> News:
        """Do what was asked and see what is new."""

    def close(self) -> None:
        """Close the store."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the runs at one moment. All texts are clean."""

    letter: str
    run_id: str
    preset_name: str
    title: str
    """The preset's title, with what tells it from the others where two have the same."""
    preset: Preset
    snapshot: Snapshot | None = None
    """None while there is nothing to show of it; then `words` say why."""
    words: str = STARTING
    state: RunState | None = None
    """What the run was doing at the last look; None before it, or when it cannot be read."""
    axes: tuple[Axis, ...] = ()
    """What its curves can be drawn over."""
    seeds: tuple[Seed, ...] = ()
    """Runs that differ from it in nothing but their seed, and are not compared themselves."""

    @property
    def live(self) -> bool:
        """Whether a worker hears commands; one that is still starting hears them then."""
        return self.state is not None and self.state not in ENDED

    def on(self, clock: SharedClock, steps: Floats) -> Floats:
        """Where steps [M] of it stand on a clock: [M]."""
        return clock.positions(steps, self.length, self.axes)

    def at(self, clock: SharedClock, position: float) -> int:
        """Its step at a position of a clock."""
        return clock.step(position, self.length, self.axes)

    @property
    def length(self) -> int:
        """How many steps it has done so far."""
        if self.snapshot is None:
            return 0
        return max(self.snapshot.head.step, self.snapshot.at)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One moment of all runs."""

    sides: tuple[Side, ...]
    clock: SharedClock
    cursor: float | None
    """The position on the clock that is shown; None follows the live edge."""
    remarks: tuple[str, ...] = ()
    """What must be known to read it: different mazes, a clock that is only relative."""
    intervals: tuple[Differences, ...] = ()
    """For each run how sure its differences to the first are; empty until all have ended."""
    one_preset: bool = False
    """Whether the runs differ in nothing but their seed."""

    @property
    def units(self) -> tuple[Axis, ...]:
        """What the clock can count: the runs' own clock, and what all of them have recorded."""
        own = SharedClock.of([side.preset for side in self.sides])
        found = [Axis(own.unit, own.slug, own.axis)]
        if all(side.axes for side in self.sides):
            for axis in self.sides[0].axes[1:]:
                others = [[each.unit for each in side.axes[1:]] for side in self.sides]
                if all(axis.unit in units for units in others):
                    found.append(axis)
        return tuple(found)

    @property
    def waiting(self) -> bool:
        """Whether there are live runs and none of them moves (yet)."""
        states = {side.state for side in self.sides if side.live}
        return bool(states) and states <= {"paused", "starting"}

    @property
    def edge(self) -> float:
        """Where the run that is farthest stands on the clock."""
        ends = [s.on(self.clock, np.array([s.length]))[0] for s in self.sides]
        return float(max(ends))

    @property
    def timeline(self) -> Floats:
        """Every recorded position of any run, ascending: [M]."""
        known = [np.empty(0)]
        for side in self.sides:
            if side.snapshot is not None:
                steps = [curve.x for curve in side.snapshot.curves.values()]
                known += [side.on(self.clock, x) for x in steps]
        return np.unique(np.concatenate(known))


class CompareWatch:
    """Reads two to four runs, moves all of them to one place, and passes commands on."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises UserError where there are not two to four different, readable runs."""
        check(paths)
        self.watches: list[Watch] = []
        self._others: list[Seeds] = []
        sides = []
        try:
            for letter, path in zip(LETTERS, paths, strict=False):
                watch = RunWatch(path)
                self.watches.append(watch)
                info = watch.source.reader.info()
                title = clean(info.preset.title)
                sides.append(Side(letter, info.id, clean(info.preset_name), title, info.preset))
        except UserError:
            self.close()
            raise
        self._sides = told_apart(sides)
        self._own_clock = SharedClock.of([side.preset for side in sides])
        self.axis: Axis | None = None
        """What the clock is to count instead of the runs' own steps. Any thread may set it."""
        self._others = [Seeds(found) for found in seeds.others(paths)]
        differ = {each.key for each in differences([side.preset for side in sides])}
        self._one_preset = differ == {"run.seed"}
        self.cursor: float | None = None
        """Where the screen wants to be; None is the live edge. Any thread may read or set it."""
        self._at_edge = True
        self._shown: tuple[float | None, Axis | None] = None, None
        self._last_notes = [-1] * len(sides)
        self._paths = tuple(paths)
        self._measured: tuple[tuple[int, ...], tuple[Differences, ...]] = ((), ())
        """The intervals, and how far the runs had come when they were made."""

    @property
    def sides(self) -> tuple[Side, ...]:
        """The runs as they were at the last look."""
        return self._sides

    @property
    def clock(self) -> SharedClock:
        """The clock of all runs."""
        axis = self.axis
        return self._own_clock if axis is None else self._own_clock.counting(axis)

    @property
    def asked(self) -> bool:
        """Whether something was asked that no look has done yet."""
        wanted = self.cursor, self.axis
        return wanted != self._shown or any(watch.asked for watch in self.watches)

    def command(self, index: int, name: str, **args: Any) -> None:
        """Send a command to the worker of one run."""
        self.watches[index].command(name, **args)

    # ------------------------------------------------------------ on the thread

    def look(self) -> tuple[Comparison | None, tuple[Notice, ...]]:
        """What is new of any run (None when all look as before), and what there is to tell."""
        cursor, axis, clock = self.cursor, self.axis, self.clock
        notices: list[Notice] = []
        sides: list[Side] = []
        for i, (watch, side) in enumerate(zip(self.watches, self._sides, strict=True)):
            self._aim(watch, side, clock, cursor)
            news = watch.look()
            notices += [
                replace(each, title=f"{side.letter}: {each.title}".strip(" :"))
                for each in news.notices
            ]
            if news.unreadable and news.unreadable != side.words:
                notices.append(Notice(news.unreadable, "error", f"{side.letter} cannot be read"))
            side = _updated(side, news)
            others = self._others[i].look()
            side = side if others is side.seeds else replace(side, seeds=others)
            notices += self._notes(i, side)
            sides.append(side)
        pairs = zip(sides, self._sides, strict=True)
        same = all(new is old for new, old in pairs) and (cursor, axis) == self._shown
        self._sides, self._shown, self._at_edge = tuple(sides), (cursor, axis), cursor is None
        if same:
            return None, tuple(notices)
        return (
            Comparison(
                self._sides,
                clock,
                cursor,
                remarks(self._sides, clock),
                self._intervals(),
                self._one_preset,
            ),
            tuple(notices),
        )

    def _intervals(self) -> tuple[Differences, ...]:
        """How sure the differences are, once all runs have ended; made anew where one went on."""
        if any(side.state not in ENDED for side in self._sides):
            return ()
        lengths = tuple(side.length for side in self._sides)
        if self._measured[0] != lengths:
            self._measured = lengths, sure_differences(self._paths)
        return self._measured[1]

    def close(self) -> None:
        """Close the stores."""
        for watch in self.watches:
            watch.close()
        for found in self._others:
            found.close()

    def _aim(self, watch: Watch, side: Side, clock: SharedClock, cursor: float | None) -> None:
        """Have a run shown at the cursor. Asked at every look: it grows, and may be resumed."""
        if cursor is not None:
            step = side.at(clock, cursor)
            watch.go(lambda replay: replay.until(step))
        elif not self._at_edge:
            watch.go(Replay.follow)

    def _notes(self, index: int, side: Side) -> list[Notice]:
        """Warnings since the last look; those of long ago are not told."""
        if side.snapshot is None:
            return []
        last, head = self._last_notes[index], side.snapshot.head
        told = []
        for note in side.snapshot.notes:
            past = note.id <= last or (last < 0 and (head.ended or note.step < head.step))
            if not past and note.level != "info":
                level: Any = note.level
                text = f"{note.text} {note.remedy}".strip()
                told.append(Notice(text, level, f"{side.letter}: {side.title}"))
        self._last_notes[index] = max([last, 0, *(note.id for note in side.snapshot.notes)])
        return told


def check(paths: Sequence[Path]) -> None:
    """Raises UserError where there are not two to four different runs."""
    if not FEWEST <= len(paths) <= MOST:
        raise UserError(
            f"Two to four runs can be compared, not {len(paths)}. `icemaze runs` shows their ids."
        )
    twice = [name for name, n in Counter(path.name for path in paths).items() if n > 1]
    if twice:
        raise UserError(f"The run {twice[0]} was named twice; compare it with another one.")


def _updated(side: Side, news: News) -> Side:
    """The side after a look at its run; the same one when nothing is new."""
    if news.snapshot is not None:
        axes = axes_of(kinds.of(side.preset), news.snapshot)
        return replace(side, snapshot=news.snapshot, words="", state=news.state, axes=axes)
    words, state = side.words, news.state
    if news.unreadable:
        words, state = clean(news.unreadable), None
    elif side.snapshot is None and state is not None:
        waiting = clean(news.preparing) or STARTING
        words = "The worker ended before it began." if state in ENDED else waiting
    if words != side.words:
        return replace(side, snapshot=None, words=words, state=state)
    return side if state == side.state else replace(side, state=state)


def told_apart(sides: Sequence[Side]) -> tuple[Side, ...]:
    """The sides; those with the same title also with the one setting they differ in, or their id.

    The seed counts only where nothing else differs.
    """
    return tuple(_told_apart(side, [s for s in sides if s.title == side.title]) for side in sides)


def _told_apart(side: Side, namesakes: Sequence[Side]) -> Side:
    if len(namesakes) == 1:
        return side
    found = differences([namesake.preset for namesake in namesakes])
    found = [each for each in found if each.key != "run.seed"] or found
    place = namesakes.index(side)
    if len(found) == 1 and len(set(found[0].told)) == len(namesakes):
        sign = f"{found[0].name} {found[0].told[place]}"
    else:
        sign = side.run_id.rpartition("-")[2]
    return replace(side, title=f"{side.title} ({sign})")


def remarks(sides: Sequence[Side], clock: SharedClock) -> tuple[str, ...]:
    """What must be known to read the comparison, in sentences."""
    said = []
    if clock.relative:
        said.append("Different clocks: the cursor is each run's own progress in %.")
    shots = [side.snapshot for side in sides if side.snapshot is not None]
    if any(shot.world.maze != shots[0].world.maze for shot in shots):
        said.append("Mazes differ: figures are of each run's own.")
    if any(shot.preset.algorithm.gamma != shots[0].preset.algorithm.gamma for shot in shots):
        said.append("γ differs: compare scores, not returns.")
    return tuple(said)
