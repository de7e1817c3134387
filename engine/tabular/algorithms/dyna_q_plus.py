"""Dyna-Q+ (Sutton, 1990): Dyna-Q that grows curious about what it has not tried for long.

Sutton & Barto, section 8.3. In planning, a move not tried for τ real steps is taken to pay κ√τ
more, and actions never tried are planned with too: as if they led back to the same place for
nothing, tried last before the first step (their footnote 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import (
    choose,
    encode_exploration,
    encode_schedule,
    highest,
    step_size,
)
from engine.tabular.kernels.environment import (
    TERMINAL,
    Agents,
    Limits,
    StackedMDPs,
    begin_episode,
    finish_step,
    is_done,
    move,
)
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.learned_model import (
    UNKNOWN,
    ModelLearner,
    PlanningSettings,
    draw_observation,
    empty_memory,
    empty_model,
    explain_with_planning,
    remember,
)
from engine.tabular.kernels.rng import uniform
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_planned


class DynaQPlusSettings(PlanningSettings, frozen=True, kw_only=True, tag="dyna-q-plus"):
    """Dyna-Q+: notices changes, because moves not tried for long look better and better."""

    kappa: Annotated[
        float,
        Meta(
            ge=0.0,
            description="bonus κ: in planning, a move not tried for τ steps pays κ√τ more",
            extra_json_schema=TUNABLE,
        ),
    ] = 3e-4


class DynaPlusTables(NamedTuple):
    """The learned values, a model, and when each pair was tried last."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: real moves
    planned: Array  # [N,O,A] int64: updates from the model
    next_observation: Array  # [N,O,A] int32: where the last try led, or -1
    reward: Array  # [N,O,A] float64: what it paid
    ends: Array  # [N,O,A] bool: whether the episode ended there
    observed: Array  # [N,O] int32: the observations met so far
    n_observed: Array  # [N] int64: how many those are
    tried_at: Array  # [N,O,A] int64: step count of the last real try, 0 before


class DynaPlusHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    planning_steps: int
    kappa: float


@kernel
def dyna_q_plus(
    env: StackedMDPs,
    agents: Agents,
    tables: DynaPlusTables,
    hyperparameters: DynaPlusHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` real steps of every agent, each followed by its planning."""
    gamma = hyperparameters.gamma
    for i in range(agents.state.size):
        q, visits, planned = tables.q[i], tables.visits[i], tables.planned[i]
        tried_at, random = tables.tried_at[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            clock = agents.steps[i]
            s = env.observation[agents.state[i]]
            a, explored, level = choose(q[s], visits[s], hyperparameters.exploration, clock, random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            ends = (flags & TERMINAL) != 0
            visits[s, a] += 1
            alpha = step_size(hyperparameters.alpha, clock, visits[s, a] + planned[s, a])

            future = 0.0 if ends else highest(q[s2])
            target = r + gamma * future
            error = target - q[s, a]
            shown = i == WATCHED and left <= trace.ints.shape[0]
            if shown:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], target, alpha, level, future, q[s], q[s2],
                )  # fmt: skip
            q[s, a] += alpha * error  # Q(S,A) ← Q(S,A) + α [R + γ max_a Q(S',a) − Q(S,A)]
            agents.updates[i] += 1

            remember(tables, i, s, a, r, s2, ends)
            tried_at[s, a] = clock + 1
            n = 0
            while n < hyperparameters.planning_steps and agents.updates[i] < limits.updates:
                p = draw_observation(tables, i, random)
                b = int(uniform(random) * q.shape[1])
                planned[p, b] += 1
                alpha = step_size(hyperparameters.alpha, clock, visits[p, b] + planned[p, b])
                to = tables.next_observation[i, p, b]
                future = 0.0 if tables.ends[i, p, b] else highest(q[p if to == UNKNOWN else to])
                bonus = hyperparameters.kappa * math.sqrt(clock + 1 - tried_at[p, b])  # κ √τ
                target = tables.reward[i, p, b] + bonus + gamma * future
                q[p, b] += alpha * (target - q[p, b])  # the same, with R + κ√τ, S' ← Model(S,A)
                agents.updates[i] += 1
                n += 1
            if shown:
                note_planned(trace, clock + 1, n)

            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class DynaQPlus(ModelLearner):
    name = "dyna-q-plus"
    title = "Dyna-Q+"
    settings = DynaQPlusSettings
    source = "Sutton & Barto, section 8.3"
    formula = (
        "Q(s,a) ← Q(s,a) + α [ r + γ max Q(s′,·) − Q(s,a) ]   "
        "once for the move, then with r + κ√τ for n imagined ones"
    )
    idea = "In planning, a move pays more the longer it was not tried: curiosity that never ends."
    needs = "A model it can learn, and a world worth checking again."
    chosen_when = "The world may change, above all for the better."
    with_llms = (
        "Not for text alone: where a token leads never changes. And its bonus needs a count for "
        "each text and token, of which hardly any comes twice."
    )
    kernel = staticmethod(dyna_q_plus)

    def make_tables(self, settings: Any, size: Size) -> DynaPlusTables:
        return DynaPlusTables(
            **empty_model(settings, size),
            **empty_memory(size),
            tried_at=np.zeros(size.table, np.int64),
        )

    def make_hyperparameters(self, settings: Any) -> DynaPlusHyperparameters:
        return DynaPlusHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
            planning_steps=settings.planning_steps,
            kappa=settings.kappa,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        replayed = (
            "moves drawn at random in places it knows, each paying κ√τ more than remembered if it "
            "was not tried for τ steps, so that what may have changed gets tried again"
        )
        return explain_with_planning(self.formula, step, replayed, actions)


ALGORITHM = DynaQPlus()
