"""Carrying out the runs of challenges: two workers at once, in the run store like any other run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine import presets
from engine.config.preset import LlmPreset, Preset
from engine.core.arrays import Floats
from engine.experiments.ends import FigureEnds
from engine.experiments.jobs import Job, JobRunner
from engine.experiments.lab.challenge import Challenge
from engine.experiments.lab.growth import override
from engine.runs import launch
from engine.runs.reader import RunReader

AT_ONCE = 2

Task = tuple[str, str]
"""A preset's name and what is overridden in it for a growth ("" for the preset as it is)."""


@dataclass(slots=True, eq=False)
class LabJob(Job):
    """One run of a challenge and how it stands.

    `figures` (as `RunReader.final` gives them) and `per_agent` ([N] each) are filled when it has
    finished.
    """

    task: Task
    preset: Preset
    figures: dict[str, Any] = field(default_factory=dict)
    per_agent: dict[str, Floats] = field(default_factory=dict)
    _ends: FigureEnds | None = field(default=None, repr=False)

    @property
    def ends(self) -> FigureEnds:
        """What the figures of an agent can be at least and at most."""
        if self._ends is None:
            self._ends = FigureEnds.of_preset(self.preset)
        return self._ends

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
) -> list[LabJob]:
    """The runs that some challenges need, each once. Raises UserError for the first mistake.

    `seed` and `agents` replace those of all presets (a language model's agent is always one).
    Presets that train language models are left out without `llm`.
    """
    jobs: list[LabJob] = []
    for task in dict.fromkeys(task for challenge in challenges for task in tasks(challenge)):
        preset = _load(task, seed, agents)
        if llm or not isinstance(preset, LlmPreset):
            jobs.append(LabJob(task, preset))
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


class LabRunner(JobRunner[LabJob]):
    """Runs the jobs of challenges; language models one at a time, and nothing beside them.

    Two presets that come to the same are run once: the second job gets the first one's results.
    """

    def __init__(
        self,
        jobs: list[LabJob],
        *,
        runs_dir: Path | None = None,
        at_once: int = AT_ONCE,
        program: list[str] | None = None,
    ) -> None:
        """`program` replaces the worker's, for tests."""
        super().__init__(jobs, at_once, program)
        self._runs_dir = runs_dir
        texts = [presets.dump(job.preset) for job in jobs]
        first = {text: job for job, text in reversed(list(zip(jobs, texts, strict=True)))}
        self._same = {job: first[text] for job, text in zip(jobs, texts, strict=True)}

    @property
    def share(self) -> float:
        """Share of all the work that is done, 0 to 1."""
        own = [job for job in self.jobs if self._same[job] is job]
        return sum(1.0 if job.ended else job.share for job in own) / max(len(own), 1)

    def poll(self) -> list[LabJob]:
        """Look after the runs that go on, start new ones; gives those that have just ended."""
        return super().poll() + [twin for twin in self.jobs if self._follow(twin)]

    def _has_room(self, job: LabJob) -> bool:
        if self.stopping or self._same[job] is not job:
            return False
        if job.alone or any(other.alone for other in self._readers):
            return not self._readers
        return super()._has_room(job)

    def _follow(self, job: LabJob) -> bool:
        """Whether a job has just got the results of one that is the same."""
        first = self._same[job]
        if first is job or job.ended or not first.ended:
            return False
        job.run_dir, job.status, job.share = first.run_dir, first.status, first.share
        job.figures, job.per_agent, job.error = first.figures, first.per_agent, first.error
        return True

    def _launch(self, job: LabJob) -> Path:
        name, _ = job.task
        job.run_dir = launch.create_run(job.preset, name, runs_dir=self._runs_dir)
        launch.start_worker(job.run_dir, program=self._program)
        return job.run_dir

    def _keep_results(self, job: LabJob, reader: RunReader) -> None:
        job.figures = reader.final()
        job.per_agent = reader.per_agent() or single_agent(job.figures)
