"""What a sweep found: for each setting the mean over the agents of all seeds, with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from engine.core.arrays import Floats
from engine.experiments.ends import FigureEnds
from engine.experiments.intervals import OPEN, SAME, Ends, of_group
from engine.experiments.sweeps import Cell, Setting, Sweep
from engine.runs.curves import Curve
from engine.runs.reader import RunReader

NEAR = 0.05
"""Near the optimum: within 5 % of `optimal_return`."""
MEASURES = ("success_rate", "expected_return", "steps_to_optimum")


class Outcome(NamedTuple):
    """What one finished run came to."""

    success_rate: float
    expected_return: float
    steps_to_optimum: float
    """Steps (or sweeps) of each agent until the target policy's exact return was first recorded
    within 5 % of that of π*; NaN if it never was."""
    of_agents: Mapping[str, Floats] = {}
    """The first two figures of each of its agents [N]; none where a run has just one agent."""
    ends: Mapping[str, Ends] = {}
    """What figures of an agent can be at least and at most, as far as that is known."""

    @property
    def figures(self) -> dict[str, float]:
        """Its measures by name."""
        return {name: getattr(self, name) for name in MEASURES}


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with its 95 % interval (`engine.experiments.intervals`), NaN where there is none.

    `n` is how many independent values it is over: the agents of all seeds, for steps the runs. Too
    few have no interval, and `why` says how many would do.
    """

    mean: float
    low: float
    high: float
    n: int
    why: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its measures over the agents of the seeds whose runs have finished."""

    setting: Setting
    runs: int
    """How many have finished, …"""
    of: int
    """… of how many."""
    success_rate: Interval
    expected_return: Interval
    steps_to_optimum: Interval
    """Over the runs that came near the optimum at all: its `n` says how many did."""
    best: tuple[str, ...] = ()
    """The measures in which no other setting has a better mean, and some have a worse one. Only
    settings all of whose runs have finished are compared: those that did may be the lucky ones."""


def outcome_of(reader: RunReader) -> Outcome:
    """The outcome of a finished run."""
    final, agents = reader.final(), reader.per_agent()
    curve = reader.curves(["expected_return"]).get("expected_return")
    ends = FigureEnds(reader.worlds(), reader.info().preset.algorithm.gamma)
    return Outcome(
        success_rate=final["success_rate"],
        expected_return=final["expected_return"],
        steps_to_optimum=steps_to(final["optimal_return"], curve),
        of_agents={name: agents[name] for name in MEASURES if name in agents},
        ends={name: ends[name] for name in MEASURES},
    )


def steps_to(optimum: float, curve: Curve | None) -> float:
    """The first step at which the mean of a curve is within 5 % of `optimum`; NaN if there is none.

    It is a recording point: these are log-spaced, so it is up to 3 % (and at least one step) late.
    """
    if curve is None or math.isnan(optimum):
        return math.nan
    near = np.flatnonzero(curve.mean >= optimum - NEAR * abs(optimum) - 1e-12)
    return float(curve.x[near[0]]) if near.size else math.nan


def results(sweep: Sweep, outcomes: Mapping[Cell, Outcome]) -> list[Result]:
    """One result for each setting, in the order of the grid."""
    found = []
    for i, setting in enumerate(sweep.settings):
        own = [outcome for cell, outcome in outcomes.items() if cell.setting == i]
        success, returns, steps = (
            interval(_values(own, name), _ends(own, name)) for name in MEASURES
        )
        found.append(
            Result(
                setting=setting,
                runs=len(own),
                of=len(sweep.seeds),
                success_rate=success,
                expected_return=returns,
                steps_to_optimum=steps,
            )
        )
    return _with_best(found)


def _values(outcomes: Sequence[Outcome], name: str) -> Floats:
    """A measure of every agent of some runs, or of the runs where it is not one of agents."""
    alone = (np.array([outcome.figures[name]]) for outcome in outcomes)
    parts = [o.of_agents.get(name, one) for o, one in zip(outcomes, alone, strict=True)]
    return np.concatenate([np.empty(0), *parts])


def _ends(outcomes: Sequence[Outcome], name: str) -> Ends:
    """The ends that hold for all of them."""
    found = [outcome.ends.get(name, OPEN) for outcome in outcomes] or [OPEN]
    # min and max would lose a NaN, an end that is unknown.
    return Ends(float(np.min([e.low for e in found])), float(np.max([e.high for e in found])))


def interval(values: Floats, ends: Ends = OPEN) -> Interval:
    """Mean and interval of independent values [N]; those that are NaN are left out."""
    known = values[~np.isnan(values)]
    found = of_group(known, "mean", ends).estimate
    return Interval(mean=found.value, low=found.low, high=found.high, n=known.size, why=found.why)


def _with_best(found: list[Result]) -> list[Result]:
    """Mark in each measure the best mean, ties included, of the settings that are complete.

    Steps are compared only where as many runs as anywhere came near the optimum: a setting at
    which one lucky run was quick and nine failed is not the fastest.
    """
    marks: dict[int, list[str]] = {i: [] for i, r in enumerate(found) if r.runs == r.of}
    for name in MEASURES:
        measured = [getattr(found[i], name) for i in marks]
        sign = -1.0 if name == "steps_to_optimum" else 1.0
        most = max((m.n for m in measured), default=0) if name == "steps_to_optimum" else 1
        scores = [sign * m.mean if m.n >= max(most, 1) else -math.inf for m in measured]
        top = max(scores, default=-math.inf)
        tops = [math.isclose(score, top, rel_tol=SAME) for score in scores]
        if not all(tops):
            for mark, is_top in zip(marks.values(), tops, strict=True):
                mark += [name] if is_top else []
    return [
        msgspec.structs.replace(result, best=tuple(marks.get(i, ())))
        for i, result in enumerate(found)
    ]
