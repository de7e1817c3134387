"""Dyna-Q (Sutton, 1990): learning, model learning and planning in one loop.

Sutton & Barto, section 8.2, the box "Tabular Dyna-Q".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
    ModelLearner,
    PlanningSettings,
    draw_observation,
    draw_tried_action,
    empty_memory,
    empty_model,
    explain_with_planning,
    remember,
)
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_planned


class DynaQSettings(PlanningSettings, frozen=True, kw_only=True, tag="dyna-q"):
    """Dyna-Q: Q-learning that also replays remembered moves between real ones."""


class DynaTables(NamedTuple):
    """The learned values, and a model."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: real moves
    planned: Array  # [N,O,A] int64: updates from the model
    next_observation: Array  # [N,O,A] int32: where the last try led, or -1
    reward: Array  # [N,O,A] float64: what it paid
    ends: Array  # [N,O,A] bool: whether the episode ended there
    observed: Array  # [N,O] int32: the observations met so far
    n_observed: Array  # [N] int64: how many those are


class DynaHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    planning_steps: int


@kernel
def dyna_q(
    env: StackedMDPs,
    agents: Agents,
    tables: DynaTables,
    hyperparameters: DynaHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` real steps of every agent, each followed by its planning."""
    gamma = hyperparameters.gamma
    for i in range(agents.state.size):
        q, visits, planned = tables.q[i], tables.visits[i], tables.planned[i]
        random = agents.random[i]
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
            q[s, a] += alpha * error  # Q(S,A) ← Q(S,A) + α [R + γ max_a Q(S',a) − Q(S,A)]  (d)
            agents.updates[i] += 1

            remember(tables, i, s, a, r, s2, ends)  # Model(S,A) ← R, S'  (e)
            n = 0
            while n < hyperparameters.planning_steps and agents.updates[i] < limits.updates:  # (f)
                p = draw_observation(tables, i, random)
                b = draw_tried_action(tables, i, p, random)
                planned[p, b] += 1
                alpha = step_size(hyperparameters.alpha, clock, visits[p, b] + planned[p, b])
                to = tables.next_observation[i, p, b]
                future = 0.0 if tables.ends[i, p, b] else highest(q[to])
                target = tables.reward[i, p, b] + gamma * future
                q[p, b] += alpha * (target - q[p, b])  # the same as (d), with R, S' ← Model(S,A)
                agents.updates[i] += 1
                n += 1
            if shown:
                note_planned(trace, clock + 1, n)

            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class DynaQ(ModelLearner):
    name = "dyna-q"
    title = "Dyna-Q"
    settings = DynaQSettings
    source = "Sutton & Barto, section 8.2, the box of Tabular Dyna-Q"
    formula = (
        "Q(s,a) ← Q(s,a) + α [ r + γ max Q(s′,·) − Q(s,a) ]   "
        "once for the move, then for n remembered ones"
    )
    idea = "Learns a model while it learns values, and replays remembered moves between real ones."
    needs = "A model it can learn: moves that lead to the same place every time."
    chosen_when = "Real steps are dear and computing is cheap."
    with_llms = (
        "Not for text alone: where a token leads is known, it stands behind the text. What is "
        "unknown is the reward, and a reward model is the model worth learning."
    )
    kernel = staticmethod(dyna_q)

    def make_tables(self, settings: Any, size: Size) -> DynaTables:
        return DynaTables(**empty_model(settings, size), **empty_memory(size))

    def make_hyperparameters(self, settings: Any) -> DynaHyperparameters:
        return DynaHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
            planning_steps=settings.planning_steps,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        replayed = "moves made before, drawn at random, with what they brought the last time"
        return explain_with_planning(self.formula, step, replayed, actions)


ALGORITHM = DynaQ()
