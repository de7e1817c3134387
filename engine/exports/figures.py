"""The last figures of a run with their 95 % intervals over agents, as rows for a report."""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.core.errors import UserError
from engine.experiments.ends import EXACT, FigureEnds
from engine.experiments.intervals import Estimate, Statistic, of_group
from engine.exports.tables import Exported
from engine.exports.words import number, percent
from engine.runs import stored
from engine.runs.curves import TIMES

FIRST = ("success_rate", "greedy_success_rate", *EXACT[1:], *TIMES)
"""The figures that a report begins with."""
NOT_ENDED = "the run has not ended: intervals are made of its last figures"


class Figure(NamedTuple):
    """One figure: its words, and how many agents have it."""

    name: str
    statistic: str
    value: str
    interval: str
    agents: str


def figures(run: Exported) -> list[Figure]:
    """All figures of the run's end; without intervals while it goes on."""
    per_agent = run.reader.per_agent()
    if not per_agent:
        return _of_now(run)
    ends = FigureEnds(run.reader.worlds(), run.info.preset.algorithm.gamma)
    names = [*(name for name in FIRST if name in per_agent)]
    names += [name for name in per_agent if name not in names]
    rows = []
    with stored.trusted_by_nobody(run.reader.path):
        for name in names:
            statistic: Statistic = "median" if name in TIMES else "mean"
            try:
                group = of_group(per_agent[name], statistic, ends[name])
            except UserError:  # a maze without a bound
                group = of_group(per_agent[name], statistic)
            value = group.estimate
            if math.isnan(value.value):
                continue
            of = f"{group.reached} of {group.n}" if group.reached < group.n else str(group.n)
            rows.append(Figure(name, statistic, shown(name, value.value), _told(name, value), of))
    return rows


def _of_now(run: Exported) -> list[Figure]:
    final = run.reader.final()
    found = {name: final[name] for name in FIRST if name in final} | final["metrics"]
    return [
        Figure(name, "mean", shown(name, value), NOT_ENDED, "")
        for name, value in found.items()
        if not math.isnan(value)
    ]


def _told(name: str, estimate: Estimate) -> str:
    if not estimate.known:
        return estimate.why
    if estimate.low == estimate.high:
        return f"exactly {shown(name, estimate.low)}: nothing else is possible"
    return f"{shown(name, estimate.low)} to {shown(name, estimate.high)}"


def shown(name: str, value: float) -> str:
    """A figure in words: rates as percentages."""
    if math.isinf(value):
        return "never" if value > 0 else "no bound"
    return percent(value) if name.endswith("success_rate") else number(value)
