"""Carrying a sweep out: what is missing of it, in the sweep's own folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import UserError
from engine.experiments import sweeps
from engine.experiments.jobs import Job, JobRunner, share_of
from engine.experiments.sweep_results import Outcome, outcome_of
from engine.experiments.sweeps import Cell, Sweep
from engine.runs import launch, library
from engine.runs.disk.lock import RunLock, is_alive
from engine.runs.reader import RunReader


@dataclass(slots=True, eq=False)
class SweepJob(Job):
    """One run of a sweep and how it stands."""

    cell: Cell
    outcome: Outcome | None = None
    """Of a finished run."""


class SweepRunner(JobRunner[SweepJob]):
    """Runs what is missing of a sweep.

    Raises UserError when the sweep is already going, and when the user's own algorithm has changed
    since it was planned.
    """

    def __init__(
        self, folder: Path, sweep: Sweep, jobs: int, *, program: list[str] | None = None
    ) -> None:
        """At most `jobs` runs go at once; `program` replaces the worker's, for tests."""
        self.folder, self.sweep = folder, sweep
        lock = RunLock.take(folder)
        if lock is None:
            raise UserError(f"The sweep {folder.name} is already going.")
        self._lock = lock
        try:
            super().__init__(self._find_jobs(), jobs, program)
            if self.count("waiting"):
                self.sweep.check_unchanged()
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Let go of the sweep. Workers that still run go on to their end."""
        super().close()
        self._lock.close()

    def _launch(self, job: SweepJob) -> Path:
        if job.run_dir is None:
            preset = self.sweep.preset(job.cell)
            job.run_dir = launch.create_run(preset, self.sweep.name, runs_dir=self.folder)
            sweeps.record_run(self.folder, job.cell, job.run_dir.name)
            launch.start_worker(job.run_dir, program=self._program)
        elif not is_alive(job.run_dir) and not _is_finished(job.run_dir):
            launch.start_worker(job.run_dir, resume=True, program=self._program)
        return job.run_dir

    def _keep_results(self, job: SweepJob, reader: RunReader) -> None:
        job.outcome = outcome_of(reader)

    # ------------------------------------------------------------ what is there already

    def _find_jobs(self) -> list[SweepJob]:
        """Every run with what is known of it. Unfinished ones wait, as if they had not begun."""
        known = sweeps.recorded_runs(self.folder)
        for orphan in set(library.run_folders(self.folder)) - set(known.values()):
            # Killed between making the folder and noting whose it is. Without a log no worker was
            # ever in it.
            if not (orphan / "worker.log").exists():
                shutil.rmtree(orphan, ignore_errors=True)
        return [self._find_job(cell, known.get(cell)) for cell in self.sweep.cells]

    def _find_job(self, cell: Cell, run_dir: Path | None) -> SweepJob:
        if run_dir is None:
            return SweepJob(cell)
        try:
            with RunReader(run_dir) as reader:
                head = reader.head()
                if head.state == "finished":
                    return SweepJob(
                        cell, outcome_of(reader), run_dir=run_dir, status="finished", share=1.0
                    )
                share = share_of(reader.info().preset.budget, head)
                return SweepJob(cell, run_dir=run_dir, share=share)
        except UserError as error:
            return SweepJob(cell, run_dir=run_dir, status="failed", error=str(error))


def _is_finished(run_dir: Path) -> bool:
    """Whether a run has come to its end while it waited for its turn: its old worker lived."""
    with RunReader(run_dir) as reader:
        return reader.head().state == "finished"
