"""What the methods that learn a model of the world, and plan with it, have in common.

The model is Sutton & Barto's (section 8.2): of every pair it keeps the last transition seen and
takes the world to be deterministic. On slippery ice each memory is one sample of what may happen.

An update from the model is a TD step like any other: `agents.updates` counts it, and so do budgets
of updates, to the exact one. `visits` counts real moves, `planned` updates from the model; the step
size "1/n" averages over both.

N agents, O observations, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, TemporalDifferenceSettings
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.q_table import QTableAlgorithm, explain_update
from engine.tabular.kernels.rng import uniform

UNKNOWN = -1


class PlanningSettings(TemporalDifferenceSettings, frozen=True, kw_only=True):
    """What methods that plan with a learned model have in common."""

    planning_steps: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="updates from the learned model after every real step (Sutton & Barto's n)",
            extra_json_schema=TUNABLE,
        ),
    ] = 10


def empty_model(settings: TemporalDifferenceSettings, size: Size) -> dict[str, Array]:
    """The tables every such method has: values, counts, and a model that knows nothing yet."""
    return {
        "q": np.full(size.table, float(settings.initial_value)),
        "visits": np.zeros(size.table, np.int64),
        "planned": np.zeros(size.table, np.int64),
        "next_observation": np.full(size.table, UNKNOWN, np.int32),
        "reward": np.zeros(size.table),
        "ends": np.zeros(size.table, np.bool_),
    }


def empty_memory(size: Size) -> dict[str, Array]:
    """The list of observations met, for methods that replay at random."""
    return {
        "observed": np.zeros((size.agents, size.observations), np.int32),
        "n_observed": np.zeros(size.agents, np.int64),
    }


@kernel
def remember(tables: Any, i: int, s: int, a: int, r: float, s2: int, ends: bool) -> None:
    """Model(S,A) ← R, S′, and S is one of the observations met."""
    met = False
    for b in range(tables.q.shape[2]):
        met = met or tables.next_observation[i, s, b] != UNKNOWN
    if not met:
        tables.observed[i, tables.n_observed[i]] = s
        tables.n_observed[i] += 1
    tables.next_observation[i, s, a] = s2
    tables.reward[i, s, a] = r
    tables.ends[i, s, a] = ends


@kernel
def draw_observation(tables: Any, i: int, random: Array) -> int:
    """A random observation met before."""
    return int(tables.observed[i, int(uniform(random) * tables.n_observed[i])])


@kernel
def draw_tried_action(tables: Any, i: int, s: int, random: Array) -> int:
    """A random action taken before in an observation met before."""
    tried = 0
    for a in range(tables.q.shape[2]):
        tried += tables.next_observation[i, s, a] != UNKNOWN
    chosen = int(uniform(random) * tried)
    a = 0
    while tables.next_observation[i, s, a] == UNKNOWN or chosen > 0:
        chosen -= tables.next_observation[i, s, a] != UNKNOWN
        a += 1
    return a


class ModelLearner(QTableAlgorithm):
    """Control on a table of action values with a learned model beside it."""

    model_based = True
    policy_type = "off-policy"
    target_policy = "greedy on Q"

    def layers(self, tables: Any, agent: int) -> dict[str, Array]:
        return {"planned": tables.planned[agent].copy()}

    def metrics(self, tables: Any) -> dict[str, Array]:
        return {"planning_updates": tables.planned.sum(axis=(1, 2)).astype(float)}


def explain_with_planning(
    formula: str, step: Step, replayed: str, actions: Sequence[str] = ACTION_NAMES
) -> Explanation:
    """A Q-learning update, and what was planned after it; `replayed` says which memories."""
    told = explain_update(
        formula,
        step,
        follow="if it plays its best move from there, whatever it will really do",
        actions=actions,
    )
    if not step.planned:
        words = f"{told.words} No update from the learned model followed."
    else:
        count = "One update" if step.planned == 1 else f"{step.planned} updates"
        words = f"{told.words} {count} from the learned model followed, without moving: {replayed}."
    return replace(told, words=words)
