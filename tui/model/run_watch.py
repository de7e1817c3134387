"""One run and whoever watches it: what is asked of it, and what is new, on a thread of its own.

The screen asks (`go`, `command`, `fetch`) and never waits; `look` runs on the thread, does what was
asked in that order, and gives everything new as one frozen piece of `News`. Nothing else touches
the store, so no lock is needed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from engine.core.errors import UserError
from engine.learning.events import Episode
from engine.runs.ending import end_worker
from engine.runs.records import ENDED, RunState
from tui.model.replay import Replay
from tui.model.snapshot import Snapshot
from tui.model.source import Moment, SnapshotSource

REPLY_SECONDS = 10.0
"""How long a living worker may take to answer a command."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell whoever watches."""

    text: str
    severity: Literal["information", "warning", "error"] = "information"
    title: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """What one look has brought."""

    snapshot: Snapshot | None = None
    """The run as it looks now; None when it looks as before."""
    state: RunState | None = None
    """What the run is doing; it may have no look yet because it has not begun."""
    preparing: str = ""
    """What a worker that has not begun says it is doing."""
    notices: tuple[Notice, ...] = ()
    episodes: Mapping[int, Episode] = field(default_factory=dict)
    """The recorded episodes that were fetched."""
    stuck: bool = False
    """Whether there was no such moment to go to."""
    unreadable: str = ""
    """Why the run cannot be read; empty while it can."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A command the worker has not answered yet."""

    said: str
    deadline: float


class RunWatch:
    """Reads one run, moves through its recording, and passes commands to its worker."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises UserError when there is no readable run in the folder."""
        self.source = SnapshotSource(path)
        self._clock = clock
        self._replay = Replay(self.source)
        self._asked: deque[Callable[[], None]] = deque()
        self._sent: dict[int, _Sent] = {}
        self._shown: tuple[Moment | None] | None = None
        self._state: RunState | None = None
        self._notices: list[Notice] = []
        self._episodes: dict[int, Episode] = {}
        self._stuck = False

    # ------------------------------------------------------------ asked by the screen

    @property
    def asked(self) -> bool:
        """Whether something was asked that no look has done yet."""
        return bool(self._asked)

    def go(self, move: Callable[[Replay], bool], failing: str = "") -> None:
        """Show another moment; `failing` is said when there is none."""
        self._asked.append(partial(self._go, move, failing))

    def command(self, name: str, said: str = "", **args: Any) -> None:
        """Send a command to the worker; `said` is told when it has been carried out."""
        self._asked.append(partial(self._send, name, said, args))

    def end_worker(self) -> None:
        """End the worker whatever it does."""
        self._asked.append(self._end)

    def fetch(self, episode_id: int) -> None:
        """Read a whole recorded episode."""
        self._asked.append(partial(self._fetch, episode_id))

    # ------------------------------------------------------------ on the thread

    def look(self) -> News:
        """Do what was asked and see what is new. Never raises UserError: it is part of the news."""
        snapshot, preparing, unreadable = None, "", ""
        try:
            while self._asked:
                self._do(self._asked.popleft())
            self._hear_answers()
            snapshot = self._read()
            if self._shown is None and (notes := self.source.reader.notes()):
                preparing = notes[-1].text
        except UserError as error:
            unreadable = str(error)
            self._shown = None
        news = News(
            snapshot=snapshot,
            state=self._state,
            preparing=preparing,
            notices=tuple(self._notices),
            episodes=self._episodes,
            stuck=self._stuck,
            unreadable=unreadable,
        )
        self._notices, self._episodes, self._stuck = [], {}, False
        return news

    def close(self) -> None:
        """Close the store."""
        self.source.close()

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except UserError as error:
            self._notices.append(Notice(str(error), "warning"))

    def _go(self, move: Callable[[Replay], bool], failing: str) -> None:
        if not move(self._replay):
            self._stuck = True
            self._notices += [Notice(failing)] if failing else []

    def _send(self, name: str, said: str, args: dict[str, Any]) -> None:
        command_id = self.source.reader.send(name, **args)
        self._sent[command_id] = self._awaited(said)

    def _end(self) -> None:
        text = end_worker(self.source.reader.path)
        if text and self._shown is None:  # else it is told as the run's last note
            self._notices.append(Notice(text, "warning"))

    def _awaited(self, said: str) -> _Sent:
        return _Sent(said, self._clock() + REPLY_SECONDS)

    def _fetch(self, episode_id: int) -> None:
        self._episodes[episode_id] = self.source.episode(episode_id)

    def _hear_answers(self) -> None:
        """Tell what became of the commands under way."""
        for command_id, sent in list(self._sent.items()):
            reply = self.source.reader.reply(command_id)
            if reply is None or reply.pending:
                gone = reply is None or self._state in ENDED
                if self._state == "starting":  # it is told when it has begun
                    self._sent[command_id] = self._awaited(sent.said)
                elif gone or self._clock() > sent.deadline:
                    del self._sent[command_id]
                    text = "The worker did not answer: it is busy, or gone. Try again."
                    self._notices.append(Notice(text, "warning"))
                continue
            del self._sent[command_id]
            if reply.refused:
                self._notices.append(Notice(reply.reply, "warning"))
            elif sent.said:
                self._notices.append(Notice(sent.said))

    def _read(self) -> Snapshot | None:
        """The moment to show, if it is another one or has changed."""
        changed = self.source.changed()  # always asked: it remembers what it has seen
        if not changed and self._shown == (self._replay.moment,):
            return None
        try:
            snapshot = self.source.read(self._replay.moment)
        except UserError as error:
            if self._replay.moment is None:
                raise
            # A resumed run has taken back what was recorded after its checkpoint.
            self._notices.append(Notice(str(error), "warning"))
            self._replay.follow()
            snapshot = self.source.read()
        self._shown = None if snapshot is None else (self._replay.moment,)
        self._note_death()
        return snapshot

    def _note_death(self) -> None:
        state = self.source.state
        if state == "dead" and self._state != "dead":
            text = (
                f"{self.source.reader.error()} What it had written is kept; in the library, "
                "r goes on from the last checkpoint."
            )
            self._notices.append(Notice(text, "error", "The worker is gone"))
        self._state = state
