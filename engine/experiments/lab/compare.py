"""The result of a challenge: every claim beside the measured interval.

A claim is kept when the whole 95 % interval over agents lies within its bounds. Where there is no
interval (one language model is one agent), it is judged by the figure itself, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.core.errors import nearest
from engine.experiments.intervals import (
    NOTHING,
    Estimate,
    Group,
    Statistic,
    compare,
    compare_exponents,
    of_group,
)
from engine.experiments.lab import growth as grow
from engine.experiments.lab.challenge import (
    Challenge,
    Claimed,
    Comparison,
    Growth,
    GrowthComparison,
)
from engine.experiments.lab.runner import LabJob, Task
from engine.presets.claims import SLACK, Claim, judge


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """One preset of a challenge as it was run, with the claims it makes itself (`[[expect]]`)."""

    name: str
    status: str
    run_dir: Path | None
    agents: int
    figures: dict[str, Any]
    groups: dict[tuple[str, Statistic], Group]
    """The statistic of its agents for each figure that is compared, as far as they have it."""
    claims: tuple[Claim, ...]
    error: str = ""

    @property
    def kept(self) -> bool:
        """Whether it finished and its own claims held."""
        return self.status == "finished" and all(claim.kept for claim in self.claims)


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A `[[compare]]` and what was found; `problem` says why nothing was, if so."""

    claim: Comparison
    found: Estimate = NOTHING
    of: Group | None = None
    against: Group | None = None
    problem: str = ""

    @property
    def kept(self) -> bool:
        """Whether the interval lies within the bounds."""
        return within(self.claim, self.found)


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """A `[[growth]]` and what was found."""

    claim: Growth
    curve: grow.Curve | None = None
    problem: str = ""

    @property
    def found(self) -> Estimate:
        """The fitted exponent."""
        return self.curve.exponent.estimate if self.curve else NOTHING

    @property
    def kept(self) -> bool:
        """Whether there is an exponent, and its interval lies within the bounds if any."""
        return within(self.claim, self.found)


class GrownCompared(msgspec.Struct, frozen=True, kw_only=True):
    """A `[[growth_compare]]` and what was found."""

    claim: GrowthComparison
    found: Estimate = NOTHING
    problem: str = ""

    @property
    def kept(self) -> bool:
        """Whether the interval lies within the bounds."""
        return within(self.claim, self.found)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a challenge's runs came to. `skipped` are presets that were not to be run; claims
    about them are left out."""

    challenge: Challenge
    runs: tuple[RunResult, ...]
    compared: tuple[Compared, ...]
    grown: tuple[Grown, ...]
    grown_compared: tuple[GrownCompared, ...]
    skipped: tuple[str, ...] = ()

    @property
    def claims(self) -> tuple[Compared | Grown | GrownCompared, ...]:
        """All claims on comparisons, in the order of the file."""
        return (*self.compared, *self.grown, *self.grown_compared)

    @property
    def kept(self) -> bool:
        """Whether every run finished and every claim held."""
        return all(run.kept for run in self.runs) and all(claim.kept for claim in self.claims)


def within(claim: Claimed, found: Estimate) -> bool:
    """Whether an interval (or a figure without one) lies within a claim's bounds."""
    if math.isnan(found.value):
        return False
    low, high = (found.low, found.high) if found.known else (found.value, found.value)
    at_least = -math.inf if claim.at_least is None else claim.at_least
    at_most = math.inf if claim.at_most is None else claim.at_most
    return at_least - SLACK <= low and high <= at_most + SLACK


def results(challenge: Challenge, jobs: Iterable[LabJob]) -> Result:
    """Judge a challenge by its ended jobs; presets without a job count as skipped."""
    done = {job.task: job for job in jobs}
    names = (*challenge.presets, *challenge.llm)
    skipped = tuple(name for name in names if (name, "") not in done)
    grown = tuple(_grown(g, done) for g in challenge.growth if _planned(g, done))
    return Result(
        challenge=challenge,
        runs=tuple(_run(done[name, ""], challenge) for name in names if (name, "") in done),
        compared=tuple(
            _compared(claim, done)
            for claim in challenge.compare
            if claim.of not in skipped and claim.against not in skipped
        ),
        grown=grown,
        grown_compared=tuple(
            _grown_compared(claim, {g.claim.preset: g for g in grown})
            for claim in challenge.growth_compare
            if {claim.of, claim.against} <= {g.claim.preset for g in grown}
        ),
        skipped=skipped,
    )


def _run(job: LabJob, challenge: Challenge) -> RunResult:
    finished = job.status == "finished"
    wanted = dict.fromkeys((claim.metric, claim.measure) for claim in challenge.compare)
    return RunResult(
        name=job.task[0],
        status=job.status,
        run_dir=job.run_dir,
        agents=job.preset.run.agents,
        figures=job.figures,
        groups={
            (metric, measure): of_group(
                np.asarray(job.per_agent[metric], float), measure, job.ends[metric]
            )
            for metric, measure in wanted
            if metric in job.per_agent
        },
        claims=tuple(judge(claim, job.figures) for claim in job.preset.expect) if finished else (),
        error=job.error,
    )


# ---------------------------------------------------------------- two groups


def _compared(claim: Comparison, done: Mapping[Task, LabJob]) -> Compared:
    sides = [done[claim.of, ""], done[claim.against, ""]]
    if problem := next((p for job in sides if (p := _problem(job, claim.metric))), ""):
        return Compared(claim=claim, problem=problem)
    values = [np.asarray(job.per_agent[claim.metric], float) for job in sides]
    ends = [job.ends[claim.metric] for job in sides]
    of, against = (
        of_group(each, claim.measure, own) for each, own in zip(values, ends, strict=True)
    )
    found = compare(values[0], values[1], claim.kind, claim.measure, (ends[0], ends[1]))
    problem = _why_unknown(claim, found, values, sides)
    return Compared(claim=claim, found=found, of=of, against=against, problem=problem)


def _problem(job: LabJob, metric: str) -> str:
    """Why a run has no figure of that name for each agent, if it has none."""
    name, change = job.task
    what = f"{name} with {change}" if change else name
    if job.status != "finished":
        return f"the run of {what} {'failed' if job.status == 'failed' else 'did not finish'}."
    if metric in job.per_agent:
        return ""
    if not job.per_agent:
        return f"the run of {what} keeps no figures of single agents."
    hint = nearest(metric, sorted(job.per_agent))
    return f"the agents of {what} have no figure {metric!r}.{hint}"


def _why_unknown(claim: Comparison, found: Estimate, values: list[Any], sides: list[LabJob]) -> str:
    if not math.isnan(found.value):
        return ""
    for each, job in zip(values, sides, strict=True):
        without = int(np.isnan(each).sum())
        if without and claim.measure == "mean":
            return (
                f"{without} of {each.size} agents of {job.task[0]} have no {claim.metric}, so they "
                'have no mean; compare the "median" or the "share".'
            )
    if claim.kind == "ratio" and any((each < 0).any() for each in values):
        return f"{claim.metric} is below 0 for some agents: a ratio says nothing about it."
    if claim.measure == "median":
        return "in both groups at least half of the agents never got there."
    return "it is 0 in both groups, which has no ratio."


# ---------------------------------------------------------------- growth


def _planned(growth: Growth, done: Mapping[Task, LabJob]) -> bool:
    return all((growth.preset, grow.override(growth, value)) in done for value in growth.values)


def _grown(growth: Growth, done: Mapping[Task, LabJob]) -> Grown:
    jobs = [done[growth.preset, grow.override(growth, value)] for value in growth.values]
    if problem := next((p for job in jobs if (p := _problem(job, growth.metric))), ""):
        return Grown(claim=growth, problem=problem)
    sizes = [grow.measure_size(job.preset) for job in jobs]
    ends = [job.ends[growth.metric] for job in jobs]
    curve = grow.fit(growth, sizes, [job.per_agent for job in jobs], ends)
    problem = ""
    if math.isnan(curve.exponent.estimate.value):
        problem = (
            f"no power law fits {growth.metric}: at some size it is not above 0, or half of the "
            "agents never got there."
        )
    return Grown(claim=growth, curve=curve, problem=problem)


def _grown_compared(claim: GrowthComparison, grown: Mapping[str, Grown]) -> GrownCompared:
    of, against = grown[claim.of], grown[claim.against]
    if of.curve is None or against.curve is None:
        return GrownCompared(claim=claim, problem=of.problem or against.problem)
    found = compare_exponents(of.curve.exponent, against.curve.exponent)
    problem = "" if not math.isnan(found.value) else of.problem or against.problem
    return GrownCompared(claim=claim, found=found, problem=problem)
