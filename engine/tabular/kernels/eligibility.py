"""Eligibility traces: which pairs a TD error is due to, and how much. Sutton & Barto, chapter 12.

A trace e(o,a) is set when a pair is met and fades by γλ with every step after. Most are 0 most of
the time, so the pairs with a trace are listed: a step costs as much as there are of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, TemporalDifferenceSettings
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import encode_exploration, encode_schedule
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.q_table import QTableAlgorithm, explain_update

NEGLIGIBLE = 1e-10
"""A trace below this is forgotten: it would move a value by less than 1e-10 of a TD error."""


class TraceSettings(TemporalDifferenceSettings, frozen=True, kw_only=True):
    """The settings of methods with eligibility traces."""

    trace_decay: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="λ: how much of the credit for what happens now goes one step further "
            "back; 0 learns from single steps, 1 credits all of the episode",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.9
    traces: Annotated[
        Literal["replacing", "accumulating"],
        Meta(
            description="a pair that comes up again has its trace set to 1 (replacing), or raised "
            "by 1 (accumulating)"
        ),
    ] = "replacing"


class TraceTables(NamedTuple):
    """The learned values, and the traces."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64
    traces: Array  # [N,O,A] float64
    listed: Array  # [N,O*A] int64: the pairs with a trace, as o * A + a, in the first ones
    n_listed: Array  # [N] int64


class TraceHyperparameters(NamedTuple):
    """The settings a kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    decay: float
    replacing: bool


@kernel
def fade(traces: Array, listed: Array, count: int, factor: float) -> int:
    """Multiply the traces [O,A] of the listed pairs; returns how many are still worth listing."""
    n_actions = traces.shape[1]
    kept = 0
    for j in range(count):
        o, a = listed[j] // n_actions, listed[j] % n_actions
        traces[o, a] *= factor
        if traces[o, a] < NEGLIGIBLE:
            traces[o, a] = 0.0
        else:
            listed[kept] = listed[j]
            kept += 1
    return kept


@kernel
def mark(traces: Array, listed: Array, count: int, o: int, a: int, replacing: bool) -> int:
    """Set or raise the trace of a pair just met; returns how many pairs are listed now."""
    if traces[o, a] == 0.0:
        listed[count] = o * traces.shape[1] + a
        count += 1
    traces[o, a] = 1.0 if replacing else traces[o, a] + 1.0
    return count


class TraceAlgorithm(QTableAlgorithm):
    """Control with eligibility traces."""

    def make_tables(self, settings: TemporalDifferenceSettings, size: Size) -> Any:
        return TraceTables(
            q=np.full(size.table, float(settings.initial_value)),
            visits=np.zeros(size.table, np.int64),
            traces=np.zeros(size.table),
            listed=np.zeros((size.agents, size.observations * size.actions), np.int64),
            n_listed=np.zeros(size.agents, np.int64),
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return TraceHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
            decay=settings.trace_decay,
            replacing=settings.traces == "replacing",
        )

    def layers(self, tables: Any, agent: int) -> dict[str, Array]:
        return {"traces": tables.traces[agent].copy()}


def explain_traced(
    formula: str, step: Step, follow: str, more: str, actions: Sequence[str] = ACTION_NAMES
) -> Explanation:
    """The update of the pair just met; `more` says what happens to the ones before it.

    The step size shown is α times the pair's own trace: 1, or more where traces accumulate.
    """
    told = explain_update(formula, step, follow, actions)
    numbers = f"{told.numbers}\n(the step size is α·e(s,a); all other pairs move by α·e·δ too)"
    return Explanation(told.formula, numbers, f"{told.words} {more}")
