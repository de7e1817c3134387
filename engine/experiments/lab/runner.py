"""Carrying out the runs of challenges: two workers at once, in the run store like any other run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine import presets
from engine.config.preset import LlmPreset, Preset
from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.experiments.lab.challenge import Challenge
from engine.experiments.lab.growth import override
from engine.experiments.sweep_runner import share_of
from engine.runs import launch
from engine.runs.reader import RunReader
from engine.runs.records import Head

Status = Literal["waiting", "running", "finished", "stopped", "failed"]
AT_ONCE = 2

Task = tuple[str, str]
"""A preset's name and what is overridden in it for a growth ("" for the preset as it is)."""


@dataclass(slots=True)
class Job:
    """One run of a challenge and how it stands.

    `figures` (as `RunReader.final` gives them) and `per_agent` ([N] each) are filled when it has
    finished; `error` says why it failed.
    """

    task: Task
    preset: Preset
    run_dir: Path | None = None
    status: Status = "waiting"
    share: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    per_agent: dict[str, Floats] = field(default_factory=dict)
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ("finished", "stopped", "failed")

    @property
    def alone(self) -> bool:
        """Whether it wants the machine for itself: a language model uses all cores."""
        return isinstance(self.preset, LlmPreset)


def plan(
    challenges: Iterable[Challenge],
    *,
    seed: int | None = None,
    agents: int | None = None,
    llm: bool = False,
) -> list[Job]:
    """The runs that some challenges need, each once. Raises UserError for the first mistake.

    `seed` and `agents` replace those of all presets (a language model's agent is always one).
    Presets that train language models are left out without `llm`.
    """
    jobs: list[Job] = []
    for task in dict.fromkeys(task for challenge in challenges for task in tasks(challenge)):
        preset = _load(task, seed, agents)
        if llm or not isinstance(preset, LlmPreset):
            jobs.append(Job(task, preset))
    return jobs


def tasks(challenge: Challenge) -> list[Task]:
    """Everything a challenge runs, the failing preset first."""
    growths = [(g.preset, override(g, value)) for g in challenge.growth for value in g.values]
    return [*((name, "") for name in (*challenge.presets, *challenge.llm)), *growths]


def _load(task: Task, seed: int | None, agents: int | None) -> Preset:
    name, change = task
    overrides = [change] if change else []
    if seed is not None:
        overrides.append(f"run.seed={seed}")
    preset = presets.load(name, overrides)
    if agents is None or isinstance(preset, LlmPreset):
        return preset
    return presets.load(name, [*overrides, f"run.agents={agents}"])


def single_agent(figures: dict[str, Any]) -> dict[str, Floats]:
    """A run's last figures as those of one agent, [1] each: for language models, of which a run has
    one and keeps no others."""
    known = {**figures["metrics"], **figures}
    return {
        name: np.array([float(value)])
        for name, value in known.items()
        if isinstance(value, int | float)
    }


class LabRunner:
    """Runs jobs. Call `poll` again and again until `done`, then `close`; or use it in a `with`.

    Two presets that come to the same are run once: the second job gets the first one's results.
    """

    def __init__(
        self,
        jobs: list[Job],
        *,
        runs_dir: Path | None = None,
        at_once: int = AT_ONCE,
        program: list[str] | None = None,
    ) -> None:
        """`program` replaces the worker's, for tests."""
        self.jobs, self.at_once = jobs, at_once
        self.stopping = False
        self._runs_dir, self._program = runs_dir, program
        self._readers: dict[Task, RunReader] = {}
        texts = [presets.dump(job.preset) for job in jobs]
        first = {text: job for job, text in reversed(list(zip(jobs, texts, strict=True)))}
        self._same = {job.task: first[text] for job, text in zip(jobs, texts, strict=True)}

    def __enter__(self) -> LabRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the runs. Workers that are still at it go on to their end."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    @property
    def share(self) -> float:
        """Share of all the work that is done, 0 to 1."""
        own = [job for job in self.jobs if self._same[job.task] is job]
        return sum(1.0 if job.ended else job.share for job in own) / max(len(own), 1)

    @property
    def done(self) -> bool:
        """Whether nothing goes on and nothing more will be started."""
        return not self._readers and (self.stopping or self.count("waiting") == 0)

    def count(self, status: Status) -> int:
        """How many runs stand like that."""
        return sum(job.status == status for job in self.jobs)

    def poll(self) -> list[Job]:
        """Look after the runs that go on, start new ones; gives those that have just ended."""
        ended = [job for job in self.jobs if job.task in self._readers and self._has_ended(job)]
        for job in self.jobs:
            if job.status == "waiting" and self._same[job.task] is not job:
                continue
            if job.status == "waiting" and self._has_room(job) and not self._start(job):
                ended.append(job)
        return ended + [twin for twin in self.jobs if self._follow(twin)]

    def stop(self) -> None:
        """Start nothing more, and ask what goes on to write a checkpoint and end."""
        self.stopping = True
        for reader in self._readers.values():
            with contextlib.suppress(UserError):  # it may have come to its end by itself
                reader.send("stop")

    def _has_room(self, job: Job) -> bool:
        if self.stopping:
            return False
        going = [other for other in self.jobs if other.task in self._readers]
        if job.alone or any(other.alone for other in going):
            return not going
        return len(going) < self.at_once

    def _follow(self, job: Job) -> bool:
        """Whether a job has just got the results of one that is the same."""
        first = self._same[job.task]
        if first is job or job.ended or not first.ended:
            return False
        job.run_dir, job.status, job.share = first.run_dir, first.status, first.share
        job.figures, job.per_agent, job.error = first.figures, first.per_agent, first.error
        return True

    def _start(self, job: Job) -> bool:
        """Start a run. False when that failed."""
        try:
            name, _ = job.task
            job.run_dir = launch.create_run(job.preset, name, runs_dir=self._runs_dir)
            launch.start_worker(job.run_dir, program=self._program)
            self._readers[job.task] = RunReader(job.run_dir)
        except UserError as error:
            job.status, job.error = "failed", str(error)
            return False
        job.status = "running"
        return True

    def _has_ended(self, job: Job) -> bool:
        reader = self._readers[job.task]
        try:
            head = reader.head()
            job.share = share_of(job.preset.budget, head)
            if not head.ended:
                return False
            self._conclude(job, reader, head)
        except UserError as error:  # the run was deleted, or its disk is gone
            job.status, job.error = "failed", str(error)
        self._readers.pop(job.task).close()
        return True

    def _conclude(self, job: Job, reader: RunReader, head: Head) -> None:
        if head.state == "finished":
            job.figures = reader.final()
            job.per_agent = reader.per_agent() or single_agent(job.figures)
            job.status, job.share = "finished", 1.0
        elif head.state == "stopped":
            job.status = "stopped"
            if not self.stopping:
                job.error = "it was stopped"
        else:
            job.status, job.error = "failed", reader.error() or "it left no message"
