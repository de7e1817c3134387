"""Carrying a sweep out: so many workers at once, each started, watched, and read at its end."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config.preset import Budget
from engine.core.errors import UserError
from engine.experiments import sweeps
from engine.experiments.sweep_results import Outcome, outcome_of
from engine.experiments.sweeps import Cell, Sweep
from engine.runs import launch, library
from engine.runs.lock import RunLock, is_alive
from engine.runs.reader import RunReader
from engine.runs.records import Head

Status = Literal["waiting", "running", "finished", "stopped", "failed"]


@dataclass(slots=True)
class Job:
    """One run of a sweep and how it stands."""

    cell: Cell
    run_dir: Path | None = None
    status: Status = "waiting"
    share: float = 0.0
    """Share of its budget used, 0 to 1."""
    outcome: Outcome | None = None
    """Of a finished run."""
    error: str = ""
    """Why it failed."""


class SweepRunner:
    """Runs what is missing of a sweep. Call `poll` again and again until `done`, then `close`.

    Use it in a `with`. Raises UserError when the sweep is already going, and when the user's own
    algorithm has changed since it was planned.
    """

    def __init__(
        self, folder: Path, sweep: Sweep, jobs: int, *, program: list[str] | None = None
    ) -> None:
        """At most `jobs` runs go at once; `program` replaces the worker's, for tests."""
        self.folder, self.sweep, self.at_once = folder, sweep, jobs
        self.stopping = False
        self._program = program
        self._readers: dict[Cell, RunReader] = {}
        lock = RunLock.take(folder)
        if lock is None:
            raise UserError(f"The sweep {folder.name} is already going.")
        self._lock = lock
        try:
            self.jobs = self._find_jobs()
            if any(job.status == "waiting" for job in self.jobs):
                self._check_unchanged()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SweepRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the sweep. Workers that still run go on to their end."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._lock.close()

    # ------------------------------------------------------------ where it stands

    @property
    def share(self) -> float:
        """Share of all the work that is done, 0 to 1."""
        done = (1.0 if job.status in ("finished", "failed") else job.share for job in self.jobs)
        return sum(done) / len(self.jobs)

    @property
    def done(self) -> bool:
        """Whether nothing goes on and nothing more will be started."""
        waiting = any(job.status == "waiting" for job in self.jobs)
        return not self._readers and (self.stopping or not waiting)

    def count(self, status: Status) -> int:
        """How many runs stand like that."""
        return sum(job.status == status for job in self.jobs)

    # ------------------------------------------------------------ going on

    def poll(self) -> list[Job]:
        """Look after the runs that go on, start new ones; gives those that have just ended."""
        ended = [job for job in self.jobs if job.cell in self._readers and self._has_ended(job)]
        for job in self.jobs:
            if self.stopping or len(self._readers) >= self.at_once:
                break
            if job.status == "waiting" and not self._start(job):
                ended.append(job)
        return ended

    def stop(self) -> None:
        """Start nothing more, and ask what goes on to write a checkpoint and end."""
        self.stopping = True
        for reader in self._readers.values():
            with contextlib.suppress(UserError):  # it may have come to its end by itself
                reader.send("stop")

    def _has_ended(self, job: Job) -> bool:
        reader = self._readers[job.cell]
        try:
            head = reader.head()
            job.share = share_of(reader.info().preset.budget, head)
            if not head.ended:
                return False
            self._conclude(job, reader, head)
        except UserError as error:  # the run was deleted, or its disk is gone
            job.status, job.error = "failed", str(error)
        self._readers.pop(job.cell).close()
        return True

    def _conclude(self, job: Job, reader: RunReader, head: Head) -> None:
        if head.state == "finished":
            job.status, job.share, job.outcome = "finished", 1.0, outcome_of(reader)
        elif head.state == "stopped":
            job.status = "stopped"
            if not self.stopping:  # somebody stopped just this run: that is not a failure either
                job.error = "it was stopped"
        else:
            job.status, job.error = "failed", reader.error() or "it left no message"

    def _start(self, job: Job) -> bool:
        """Start a run, or go on with it. False when that failed."""
        try:
            if job.run_dir is None:
                preset = self.sweep.preset(job.cell)
                job.run_dir = launch.create_run(preset, self.sweep.name, runs_dir=self.folder)
                sweeps.record_run(self.folder, job.cell, job.run_dir.name)
                launch.start_worker(job.run_dir, program=self._program)
            elif not is_alive(job.run_dir):
                launch.start_worker(job.run_dir, resume=True, program=self._program)
            self._readers[job.cell] = RunReader(job.run_dir)
        except UserError as error:
            job.status, job.error = "failed", str(error)
            return False
        job.status = "running"
        return True

    # ------------------------------------------------------------ what is there already

    def _find_jobs(self) -> list[Job]:
        """Every run with what is known of it. Unfinished ones wait, as if they had not begun."""
        known = sweeps.recorded_runs(self.folder)
        for orphan in set(library.run_folders(self.folder)) - set(known.values()):
            # Killed between making the folder and noting whose it is. Without a log no worker was
            # ever in it.
            if not (orphan / "worker.log").exists():
                shutil.rmtree(orphan, ignore_errors=True)
        return [self._find_job(cell, known.get(cell)) for cell in self.sweep.cells]

    def _find_job(self, cell: Cell, run_dir: Path | None) -> Job:
        if run_dir is None:
            return Job(cell)
        try:
            with RunReader(run_dir) as reader:
                head = reader.head()
                if head.state == "finished":
                    return Job(cell, run_dir, "finished", 1.0, outcome_of(reader))
                return Job(cell, run_dir, share=share_of(reader.info().preset.budget, head))
        except UserError as error:
            return Job(cell, run_dir, "failed", error=str(error))

    def _check_unchanged(self) -> None:
        now = self.sweep.check()
        for name, digest in self.sweep.own.items():
            if now.get(name) != digest:
                raise UserError(
                    f"The sweep {self.folder.name} cannot go on: {name} was changed since it was "
                    "started. Put the old file back, or start a new sweep."
                )


def share_of(budget: Budget, head: Head) -> float:
    """The share of a budget a run has used, 0 to 1; of several limits the nearest."""
    limits = {key: getattr(budget, key) for key in ("env_steps", "episodes", "updates", "seconds")}
    shares = [getattr(head, key) / limit for key, limit in limits.items() if limit]
    return min(max(shares, default=0.0), 1.0)
