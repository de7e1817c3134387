"""Carrying runs out: so many workers at once, each started, watched, and read at its end."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar

from engine.config.preset import Budget
from engine.core.errors import UserError
from engine.runs.disk.lock import is_alive
from engine.runs.ending import end_worker
from engine.runs.reader import RunReader
from engine.runs.records import Head

Status = Literal["waiting", "running", "finished", "stopped", "failed"]


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One run and how it stands."""

    run_dir: Path | None = None
    status: Status = "waiting"
    share: float = 0.0
    """Share of its budget used, 0 to 1."""
    error: str = ""
    """Why it failed."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ("finished", "stopped", "failed")


J = TypeVar("J", bound=Job)


class JobRunner(ABC, Generic[J]):
    """Runs jobs. Call `poll` again and again until `done`, then `close`; or use it in a `with`."""

    def __init__(self, jobs: Sequence[J], at_once: int, program: list[str] | None = None) -> None:
        """At most `at_once` runs go at a time; `program` replaces the worker's, for tests."""
        self.jobs, self.at_once = list(jobs), at_once
        self.stopping = False
        self._program = program
        self._readers: dict[J, RunReader] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the runs. Workers that are still at it go on to their end."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    # ------------------------------------------------------------ where it stands

    @property
    def share(self) -> float:
        """Share of all the work that is done, 0 to 1."""
        done = (1.0 if job.status in ("finished", "failed") else job.share for job in self.jobs)
        return sum(done) / len(self.jobs)

    @property
    def done(self) -> bool:
        """Whether nothing goes on and nothing more will be started."""
        return not self._readers and (self.stopping or self.count("waiting") == 0)

    def count(self, status: Status) -> int:
        """How many runs stand like that."""
        return sum(job.status == status for job in self.jobs)

    # ------------------------------------------------------------ going on

    def poll(self) -> list[J]:
        """Look after the runs that go on, start new ones; gives those that have just ended."""
        ended = [job for job in self.jobs if job in self._readers and self._has_ended(job)]
        for job in self.jobs:
            if job.status == "waiting" and self._has_room(job) and not self._start(job):
                ended.append(job)
        return ended

    def stop(self) -> None:
        """Start nothing more, and ask what goes on to write a checkpoint and end."""
        self.stopping = True
        for reader in self._readers.values():
            with contextlib.suppress(UserError):  # it may have come to its end by itself
                reader.send("stop")

    def end(self) -> list[str]:
        """End the workers of what goes on, whatever they do; gives what could not be done."""
        self.stopping = True

        def end(reader: RunReader) -> str:
            try:
                end_worker(reader.path)
            except UserError as error:
                # It may have come to its end by itself.
                return "" if not is_alive(reader.path) else str(error)
            return ""

        readers = list(self._readers.values())
        with ThreadPoolExecutor(max(1, len(readers))) as pool:  # each may take seconds
            return [trouble for trouble in pool.map(end, readers) if trouble]

    def _has_room(self, job: J) -> bool:
        """Whether a job that waits may start now."""
        return not self.stopping and len(self._readers) < self.at_once

    @abstractmethod
    def _launch(self, job: J) -> Path:
        """Start a job's worker, or let it go on; gives the run's folder. Raises UserError."""

    @abstractmethod
    def _keep_results(self, job: J, reader: RunReader) -> None:
        """Read what a run that has finished found."""

    def _start(self, job: J) -> bool:
        """Start a run. False when that failed."""
        try:
            self._readers[job] = RunReader(self._launch(job))
        except UserError as error:
            job.status, job.error = "failed", str(error)
            return False
        job.status = "running"
        return True

    def _has_ended(self, job: J) -> bool:
        reader = self._readers[job]
        try:
            head = reader.head()
            job.share = share_of(reader.info().preset.budget, head)
            if not head.ended:
                return False
            self._conclude(job, reader, head)
        except UserError as error:  # the run was deleted, or its disk is gone
            job.status, job.error = "failed", str(error)
        self._readers.pop(job).close()
        return True

    def _conclude(self, job: J, reader: RunReader, head: Head) -> None:
        if head.state == "finished":
            self._keep_results(job, reader)
            job.status, job.share = "finished", 1.0
        elif head.state == "stopped":
            job.status = "stopped"
            if not self.stopping:  # somebody stopped just this run: that is not a failure either
                job.error = "it was stopped"
        else:
            job.status, job.error = "failed", reader.error() or "it left no message"


def share_of(budget: Budget, head: Head) -> float:
    """The share of a budget a run has used, 0 to 1; of several limits the nearest."""
    limits = {key: getattr(budget, key) for key in ("env_steps", "episodes", "updates", "seconds")}
    shares = [getattr(head, key) / limit for key, limit in limits.items() if limit]
    return min(max(shares, default=0.0), 1.0)
