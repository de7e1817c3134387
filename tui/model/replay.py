"""Where a replay stands: a place among the recorded episodes of a run."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from tui.model.source import Moment, SnapshotSource


class Replay:
    """Moves through the recording step by step and episode by episode.

    Every method that moves says whether there was somewhere to go; else it stays where it is.
    Used in the thread that reads the run.
    """

    def __init__(self, source: SnapshotSource) -> None:
        self._source = source
        self.moment: Moment | None = None
        """None while the live edge is followed."""

    def follow(self) -> bool:
        """Go back to the live edge."""
        self.moment = None
        return True

    def first(self) -> bool:
        """The beginning of the first recorded episode."""
        return self._go(0, 0)

    def episode(self, by: int) -> bool:
        """The beginning of the episode recorded before (-1) or after (1) the one shown."""
        return self._go(self._index() + by, 0)

    def at(self, step: int) -> bool:
        """The last recorded moment that is not after `step`, else the first of all."""
        rows = self._source.recorded()
        i = bisect_right(rows, step, key=lambda row: row.step)
        if i < len(rows):  # the step may fall into an episode that ended later
            t = bisect_right(self._source.episode(rows[i].id).steps, step, key=lambda s: s.step)
            if t:
                return self._go(i, t - 1)
        return self._go(i - 1, rows[i - 1].length - 1) if i else self.first()

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

    def _step_of(self, moment: Moment) -> int:
        if moment.episode_id is None:
            return 0
        episode = self._source.episode(moment.episode_id)
        return episode.steps[moment.t].step if episode.steps else episode.step

    def step(self) -> bool:
        """One step on, into the next recorded episode where one ends; at first the first step."""
        if self.moment is None:
            return self.first()
        rows, i = self._source.recorded(), self._index()
        if i < len(rows) and self.moment.t + 1 < rows[i].length:
            return self._go(i, self.moment.t + 1)
        return self._go(i + 1, 0)

    def to_end(self) -> bool:
        """The last step of the episode shown; of the next one when it is there already."""
        rows, i = self._source.recorded(), self._index()
        if self.moment is None:
            i = 0
        elif i < len(rows) and self.moment.t + 1 >= rows[i].length:
            i += 1
        return i < len(rows) and self._go(i, rows[i].length - 1)

    def _index(self) -> int:
        """The index of the episode shown; one past the end at the live edge."""
        rows = self._source.recorded()
        if self.moment is not None:
            for i, row in enumerate(rows):
                if row.id == self.moment.episode_id:
                    return i
        return len(rows)

    def _go(self, i: int, t: int) -> bool:
        rows = self._source.recorded()
        if not 0 <= i < len(rows):
            return False
        self.moment = Moment(rows[i].id, t)
        return True
