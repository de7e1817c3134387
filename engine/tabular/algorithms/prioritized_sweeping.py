"""Prioritized sweeping (Moore and Atkeson, 1993): plan where the values are most wrong.

Sutton & Barto, section 8.4, the box for a deterministic environment. As there, a real step changes
no value by itself: it puts its pair in the queue if its error is above θ, and all updates are made
from the queue, the most urgent first. They are what `agents.updates` and `planned` count. A step
that was updated among the n that followed it is shown with that update's arithmetic, any other one
with step size 0: nothing was learned from it yet.

N agents, O observations, A actions, P = O·A pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.core.errors import UserError
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation, pay_of
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
    empty_model,
)
from engine.tabular.kernels.priority_queue import empty_queue, put, take_first
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_planned, note_update

NONE = -1
"""The end of a list of predecessors."""


class PrioritizedSweepingSettings(
    PlanningSettings, frozen=True, kw_only=True, tag="prioritized-sweeping"
):
    """Prioritized sweeping: updates first what has changed most, and works backwards from there."""

    planning_steps: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="updates from the queue after every real step; there are no others",
            extra_json_schema=TUNABLE,
        ),
    ] = 10
    threshold: Annotated[
        float,
        Meta(
            ge=0.0,
            description="threshold θ: a pair is queued when its error is larger than this",
            extra_json_schema=TUNABLE,
        ),
    ] = 1e-4


class SweepingTables(NamedTuple):
    """The learned values, a model, who leads where in it, and what is urgent."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: real moves
    planned: Array  # [N,O,A] int64: updates from the queue
    next_observation: Array  # [N,O,A] int32: where the last try led, or -1
    reward: Array  # [N,O,A] float64: what it paid
    ends: Array  # [N,O,A] bool: whether the episode ended there
    heap: Array  # [N,P] int32, these four see priority_queue
    slot: Array  # [N,P] int32
    priority: Array  # [N,P] float64
    queued: Array  # [N] int64
    first_before: Array  # [N,O] int32: a pair the model says leads here, or -1
    next_before: Array  # [N,P] int32: the next pair that leads to the same place
    last_before: Array  # [N,P] int32: the one before in that list


class SweepingHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    planning_steps: int
    threshold: float


@kernel
def remember(tables: SweepingTables, i: int, s: int, a: int, r: float, s2: int, ends: bool) -> None:
    """Model(S,A) ← R, S′, and (S,A) becomes one of the pairs that lead to S′."""
    first, following = tables.first_before[i], tables.next_before[i]
    before = tables.last_before[i]
    pair = s * tables.q.shape[2] + a
    old = tables.next_observation[i, s, a]
    listed = old != UNKNOWN and not tables.ends[i, s, a]
    if listed and (old != s2 or ends):
        if before[pair] == NONE:
            first[old] = following[pair]
        else:
            following[before[pair]] = following[pair]
        if following[pair] != NONE:
            before[following[pair]] = before[pair]
        listed = False
    if not listed and not ends:
        before[pair] = NONE
        following[pair] = first[s2]
        if first[s2] != NONE:
            before[first[s2]] = pair
        first[s2] = pair
    tables.next_observation[i, s, a] = s2
    tables.reward[i, s, a] = r
    tables.ends[i, s, a] = ends


@kernel
def prioritized_sweeping(
    env: StackedMDPs,
    agents: Agents,
    tables: SweepingTables,
    hyperparameters: SweepingHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` real steps of every agent, each followed by its planning."""
    gamma, n_actions = hyperparameters.gamma, tables.q.shape[2]
    for i in range(agents.state.size):
        q, visits, planned = tables.q[i], tables.visits[i], tables.planned[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            clock = agents.steps[i]
            s = env.observation[agents.state[i]]
            a, explored, level = choose(
                q[s], visits[s], hyperparameters.exploration, clock, agents.random[i]
            )
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            ends = (flags & TERMINAL) != 0
            visits[s, a] += 1
            remember(tables, i, s, a, r, s2, ends)  # Model(S,A) ← R, S'  (d)

            future = 0.0 if ends else highest(q[s2])
            target = r + gamma * future
            error = target - q[s, a]  # P ← |R + γ max_a Q(S',a) − Q(S,A)|  (e)
            shown = i == WATCHED and left <= trace.ints.shape[0]
            if shown:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], target, 0.0, level, future, q[s], q[s2],
                )  # fmt: skip
            if abs(error) > hyperparameters.threshold:
                put(tables, i, s * n_actions + a, abs(error))  # (f)

            n = 0
            while n < hyperparameters.planning_steps and tables.queued[i] > 0:  # (g)
                if agents.updates[i] >= limits.updates:
                    break
                first = take_first(tables, i)
                p, b = first // n_actions, first % n_actions
                planned[p, b] += 1
                alpha = step_size(hyperparameters.alpha, clock, planned[p, b])
                to = tables.next_observation[i, p, b]
                future = 0.0 if tables.ends[i, p, b] else highest(q[to])
                target = tables.reward[i, p, b] + gamma * future
                if shown and p == s and b == a:
                    note_update(trace, clock + 1, q[p, b], target, alpha, future, math.nan)
                    shown = False  # a step is shown with its first update
                q[p, b] += alpha * (target - q[p, b])  # Q(S,A) ← Q(S,A) + α [R + γ max Q − Q(S,A)]
                agents.updates[i] += 1
                n += 1

                value = highest(q[p])
                before = tables.first_before[i, p]
                while before != NONE:  # all pairs predicted to lead to S
                    o, c = before // n_actions, before % n_actions
                    urgency = abs(tables.reward[i, o, c] + gamma * value - q[o, c])
                    if urgency > hyperparameters.threshold:
                        put(tables, i, before, urgency)
                    before = tables.next_before[i, before]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note_planned(trace, clock + 1, n)

            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class PrioritizedSweeping(ModelLearner):
    name = "prioritized-sweeping"
    title = "Prioritized sweeping"
    settings = PrioritizedSweepingSettings
    source = "Sutton & Barto, section 8.4, the box of Prioritized sweeping"
    update_name = "planning update"
    formula = "P = |r + γ max Q(s′,·) − Q(s,a)| > θ: into the queue;   Q(s,a) ← Q(s,a) + α [ … ]"
    idea = "Works backwards from what has just changed, the largest error first."
    needs = "A model it can learn: moves that lead to the same place every time."
    chosen_when = "Real steps and computing both cost, and changes are rare or local."
    with_llms = (
        "Not for text alone: it works back to all that leads to a state, and to a text leads only "
        "one, the same without its last token. A return says as much at once."
    )
    kernel = staticmethod(prioritized_sweeping)

    def check(self, preset: Preset) -> None:
        budget = preset.budget
        if not any((budget.env_steps, budget.episodes, budget.seconds)):
            raise UserError(
                "budget: found only updates, and prioritized sweeping makes none once nothing "
                "surprises it any more, so the run might never end; add env_steps, episodes or "
                "seconds."
            )

    def make_tables(self, settings: Any, size: Size) -> SweepingTables:
        pairs = size.observations * size.actions
        return SweepingTables(
            **empty_model(settings, size),
            **empty_queue(size.agents, pairs),
            first_before=np.full((size.agents, size.observations), NONE, np.int32),
            next_before=np.full((size.agents, pairs), NONE, np.int32),
            last_before=np.full((size.agents, pairs), NONE, np.int32),
        )

    def make_hyperparameters(self, settings: Any) -> SweepingHyperparameters:
        return SweepingHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
            planning_steps=settings.planning_steps,
            threshold=settings.threshold,
        )

    def metrics(self, tables: Any) -> dict[str, Array]:
        return {**super().metrics(tables), "queue_length": tables.queued.astype(float)}

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        future = "" if step.terminated else f" + {step.gamma:g} × {step.bootstrap:.4g}"
        numbers = (
            f"target = {step.paid:.4g}{future} = {step.target:.4g}\n"
            f"P = |target − Q(s,a)| = |{step.target:.4g} − {step.before:.4g}| = "
            f"{abs(step.error):.4g}"
        )
        if step.step_size:
            numbers += (
                f"\nQ(s,a) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
                f"= {step.after:.4g}"
            )
        chosen = "explored" if step.explored else "took the action that looks best"
        paid = f"It was paid {pay_of(step)}"
        end = ", and the episode ended." if step.terminated else "."
        if step.truncated:
            end = ". The time limit cut the episode here, but the target still looks ahead."
        return Explanation(
            formula=self.formula,
            numbers=numbers,
            words=(
                f"The agent {chosen}: {actions[step.action]}. {paid}{end} That surprised it by "
                f"{abs(step.error):.4g}. {_what_followed(step)}"
            ),
        )


def _what_followed(step: Step) -> str:
    if not step.planned:
        return "No planning update followed: nothing in the queue was more surprising than θ."
    count = "One planning update" if step.planned == 1 else f"{step.planned} planning updates"
    mine = (
        f"this move's own was among them: its value is now {step.after:.4g}."
        if step.step_size
        else "this move's own was not among them: others were more urgent, or its surprise is not "
        "above θ."
    )
    return f"{count} followed, the most urgent first; {mine}"


ALGORITHM = PrioritizedSweeping()
