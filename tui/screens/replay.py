"""Where a replay stands: a place among the recorded episodes of a run."""

from __future__ import annotations

from pathlib import Path

from engine.runs.reader import RunReader
from engine.runs.records import EpisodeRow
from tui.source import Moment

ALL = 100_000


class Replay:
    """Moves through the recording step by step and episode by episode."""

    def __init__(self, path: Path) -> None:
        self._reader = RunReader(path)
        self.moment: Moment | None = None
        """None while the live edge is followed."""

    def close(self) -> None:
        """Close the store."""
        self._reader.close()

    def follow(self) -> None:
        """Go back to the live edge."""
        self.moment = None

    def _episodes(self) -> list[EpisodeRow]:
        return list(reversed(self._reader.episodes(limit=ALL)))

    def _index(self, episodes: list[EpisodeRow]) -> int:
        """The index of the episode shown; one past the end at the live edge."""
        if self.moment is None:
            return len(episodes)
        for i, row in enumerate(episodes):
            if row.id == self.moment.episode_id:
                return i
        return len(episodes)

    def _go(self, row: EpisodeRow, t: int) -> bool:
        self.moment = Moment(row.id, t)
        return True

    def first(self) -> bool:
        """The beginning of the first recorded episode. Whether there is one."""
        episodes = self._episodes()
        return bool(episodes) and self._go(episodes[0], 0)

    def episode(self, by: int) -> bool:
        """The beginning of the episode recorded before (-1) or after (1) the one shown."""
        episodes = self._episodes()
        i = self._index(episodes) + by
        return 0 <= i < len(episodes) and self._go(episodes[i], 0)

    def at(self, step: int) -> bool:
        """The end of the newest episode recorded at or before a step, else the first one."""
        before = [row for row in self._episodes() if row.step <= step]
        return self._go(before[-1], before[-1].length - 1) if before else self.first()

    def advance(self) -> bool:
        """One step on, into the next recorded episode where one ends. Whether there was one."""
        episodes = self._episodes()
        i = self._index(episodes)
        if self.moment is None or i >= len(episodes):
            return False
        if self.moment.t + 1 < episodes[i].length:
            return self._go(episodes[i], self.moment.t + 1)
        return i + 1 < len(episodes) and self._go(episodes[i + 1], 0)

    def to_end(self) -> bool:
        """The last step of the episode shown; of the next one when it is there already."""
        episodes = self._episodes()
        i = self._index(episodes)
        if self.moment is None:
            return bool(episodes) and self._go(episodes[0], episodes[0].length - 1)
        if i < len(episodes) and self.moment.t + 1 >= episodes[i].length:
            i += 1
        return i < len(episodes) and self._go(episodes[i], episodes[i].length - 1)
