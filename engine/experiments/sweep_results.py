"""What a sweep found: for each setting the mean over seeds, with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np

from engine.core.arrays import Floats
from engine.experiments.sweeps import Cell, Setting, Sweep
from engine.runs.curves import Curve
from engine.runs.reader import RunReader

NEAR = 0.05
"""Near the optimum: within 5 % of `optimal_return`."""
MEASURES = ("success_rate", "expected_return", "steps_to_optimum")
CONFIDENCE = 0.95
SAME = 1e-12
"""Figures that differ by so small a share differ by rounding only."""


class Outcome(NamedTuple):
    """What one finished run came to."""

    success_rate: float
    expected_return: float
    steps_to_optimum: float
    """Steps (or sweeps) of each agent until the target policy's exact return was first recorded
    within 5 % of that of π*; NaN if it never was."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over `n` seeds with its 95 % t interval; NaN where there is nothing to average.

    The interval supposes that the mean is roughly normal; with few seeds of a share that is mostly
    0 or 1 it is a rule of thumb, and may reach beyond what is possible.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval; NaN with fewer than two seeds."""
        return (self.high - self.low) / 2


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its measures over the seeds whose runs have finished."""

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
    final = reader.final()
    curve = reader.curves(["expected_return"]).get("expected_return")
    return Outcome(
        success_rate=final["success_rate"],
        expected_return=final["expected_return"],
        steps_to_optimum=steps_to(final["optimal_return"], curve),
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
            interval(getattr(outcome, name) for outcome in own) for name in MEASURES
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


def interval(values: Iterable[float]) -> Interval:
    """Mean and t interval of independent values; those that are NaN are left out."""
    known = np.array([value for value in values if not math.isnan(value)], float)
    n = known.size
    if n == 0:
        return Interval(mean=math.nan, low=math.nan, high=math.nan, n=0)
    mean = float(known.mean())
    half = math.nan
    if n > 1:
        same = np.ptp(known) <= SAME * abs(mean)
        half = 0.0 if same else t_quantile(n - 1) * float(known.std(ddof=1)) / math.sqrt(n)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


@cache
def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors a t interval reaches to each side.

    With t = √ν tan φ the share of Student's t within ±t is ∫₀^φ cos^(ν−1) / ∫₀^(π/2) cos^(ν−1).
    """
    angles = np.linspace(0.0, math.pi / 2, 100_001)
    density = np.cos(angles) ** (degrees - 1)
    share: Floats = np.concatenate(([0.0], np.cumsum(density[1:] + density[:-1])))
    angle = float(np.interp(confidence, share / share[-1], angles))
    return math.sqrt(degrees) * math.tan(angle)


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
