"""Where a replay stands: a place in the recording of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from engine.runs.past.timeline import Kind
from engine.runs.reader import NEWEST
from engine.runs.records import EpisodeRow
from tui.model.source import Moment, SnapshotSource


class Replay:
    """Moves through the recording step by step, episode by episode and mark by mark.

    Every method that moves says whether there was somewhere to go; else it stays where it is.
    Used in the thread that reads the run. Every move costs a few look-ups by an index.
    """

    def __init__(self, source: SnapshotSource) -> None:
        self._source = source
        self._reader = source.reader
        self.moment: Moment | None = None
        """None while the live edge is followed."""

    @property
    def cursor(self) -> int | None:
        """The step looked at; None at the live edge."""
        moment = self.moment
        if moment is None:
            return None
        return self._step_of(moment) if moment.at is None else moment.at

    def follow(self) -> bool:
        """Go back to the live edge."""
        self.moment = None
        return True

    def first(self) -> bool:
        """The beginning of the first recorded episode."""
        return self._go(self._reader.episode_beside(-1, 0, +1), 0)

    def episode(self, by: int) -> bool:
        """The beginning of the episode recorded before (-1) or after (1) the one shown."""
        return self._go(self._beside(by), 0)

    def at(self, step: int) -> bool:
        """The last recorded moment that is not after `step`, else the first of all."""
        ended = self._reader.episodes(step, limit=1)
        after = self._reader.episode_beside(step, NEWEST, +1)
        if after is not None:  # the step may fall into an episode that ended later
            steps = self._source.episode(after.id).steps
            t = sum(move.step <= step for move in steps)
            if t:
                return self._go(after, t - 1)
        return self._go(ended[0], ended[0].length - 1) if ended else self.first()

    def until(self, step: int) -> bool:
        """The run as it was at `step` exactly, with the last recorded move that is not after it.

        Beyond the newest step it is the newest one.
        """
        found = self.at(step)
        moment = self.moment if found else None
        after = moment is not None and step < self._step_of(moment)
        if moment is None or after:
            self.moment = Moment(None, 0, step)
        else:
            self.moment = replace(moment, at=step)
        return True

    def mark(self, kinds: Iterable[Kind], by: int) -> bool:
        """The run as it was at the mark of these kinds before (-1) or after (1) the cursor."""
        cursor = self.cursor
        here = self._reader.head().step if cursor is None else cursor
        step = self._reader.timeline.beside(kinds, here, by)
        return step is not None and self.until(step)

    def step(self, by: int = 1) -> bool:
        """So many recorded moves on (negative: back), into other recorded episodes where one
        ends; at first the first move."""
        moved = False
        for _ in range(abs(by)):
            if not self._step(1 if by > 0 else -1):
                break
            moved = True
        return moved

    def _step(self, by: int) -> bool:
        if self.moment is None:
            newest = self._reader.episodes(limit=1)
            if by > 0 or not newest:
                return self.first()
            return self._go(newest[0], newest[0].length - 1)
        row = self._row()
        if row is not None and 0 <= self.moment.t + by < row.length:
            return self._go(row, self.moment.t + by)
        beside = self._beside(by)
        return self._go(beside, 0 if by > 0 or beside is None else beside.length - 1)

    def to_end(self) -> bool:
        """The last step of the episode shown; of the next one when it is there already."""
        if self.moment is None:
            row = self._reader.episode_beside(-1, 0, +1)
        else:
            row = self._row()
            if row is None or self.moment.t + 1 >= row.length:
                row = self._beside(+1)
        return row is not None and self._go(row, row.length - 1)

    def _step_of(self, moment: Moment) -> int:
        if moment.episode_id is None:
            return 0
        episode = self._source.episode(moment.episode_id)
        return episode.steps[moment.t].step if episode.steps else episode.step

    def _row(self) -> EpisodeRow | None:
        """The episode shown, if there is one."""
        if self.moment is None or self.moment.episode_id is None:
            return None
        return self._reader.episode_row(self.moment.episode_id)

    def _beside(self, by: int) -> EpisodeRow | None:
        """The episode recorded next to the one shown; the newest before the live edge."""
        row = self._row()
        if row is not None:
            return self._reader.episode_beside(row.step, row.id, by)
        step = NEWEST if self.moment is None else self.moment.at or 0
        return self._reader.episode_beside(step, NEWEST, by)

    def _go(self, row: EpisodeRow | None, t: int) -> bool:
        if row is None:
            return False
        self.moment = Moment(row.id, t)
        return True
