"""The bounded trace: what the kernel notes about the watched agent's newest steps.

A ring of the last M steps. A kernel call of n steps notes only its last min(n, M), which costs
nothing in a long call and leaves the ring the same however the steps are cut into calls.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.learning.events import Step
from engine.tabular.kernels.environment import (
    FALL,
    SUCCESS,
    TERMINAL,
    Agents,
    StackedMDPs,
    extra_pay,
    is_truncated,
)

WATCHED = 0
"""The agent whose steps are shown."""
TRUNCATED = 8
EXPLORED = 16


class Trace(NamedTuple):
    """Ring buffers of M steps; row `step % M` holds the step that ended at count `step`."""

    ints: Array  # [M,10] int64
    floats: Array  # [M,10] float64
    values: Array  # [M,2,A] float64: action values here and there, before it; for methods that
    # learn a policy, its probabilities here before and after it


INTS = (
    *("step", "world", "episode", "t", "state", "action", "next_state", "next_action", "flags"),
    "planned",
)
FLOATS = (
    *("reward", "before", "target", "step_size", "exploration", "bootstrap"),
    *("advantage", "policy_step_size", "extra", "chance"),
)


def make_trace(size: int, n_actions: int) -> Trace:
    """An empty trace."""
    return Trace(
        ints=np.full((size, len(INTS)), -1, np.int64),
        floats=np.zeros((size, len(FLOATS))),
        values=np.zeros((size, 2, n_actions)),
    )


@kernel
def note(
    trace: Trace,
    env: StackedMDPs,
    agents: Agents,
    i: int,
    action: int,
    explored: bool,
    reward: float,
    next_state: int,
    flags: int,
    next_action: int,
    before: float,
    target: float,
    alpha: float,
    exploration: float,
    bootstrap: float,
    values: Array,
    next_values: Array,
) -> None:
    """Note one step of agent i, after its update was computed and before it is applied.

    `reward` is what `move` gave.
    """
    step = agents.steps[i] + 1
    row = step % trace.ints.shape[0]
    ints = trace.ints[row]
    floats = trace.floats[row]
    ints[0] = step
    ints[1] = agents.world[i]
    ints[2] = agents.episode[i]
    ints[3] = agents.time[i]
    ints[4] = agents.state[i]
    ints[5] = action
    ints[6] = next_state
    ints[7] = next_action
    truncated = is_truncated(env, agents, i, flags)
    ints[8] = flags | (TRUNCATED if truncated else 0) | (EXPLORED if explored else 0)
    ints[9] = 0
    floats[0] = reward
    floats[1] = before
    floats[2] = target
    floats[3] = alpha
    floats[4] = exploration
    floats[5] = bootstrap
    floats[6] = math.nan
    floats[7] = math.nan
    floats[8] = extra_pay(env, agents, i, next_state, flags)
    floats[9] = agents.chance[i]
    for a in range(values.size):
        trace.values[row, 0, a] = values[a]
        trace.values[row, 1, a] = next_values[a]


@kernel
def note_update(
    trace: Trace,
    step: int,
    before: float,
    target: float,
    alpha: float,
    bootstrap: float,
    advantage: float,
) -> None:
    """Add to a step noted earlier the update it caused later, if the ring still holds it.

    For methods that learn at the end of an episode or a batch; `step` is the agent's step count
    after that step. `advantage` is NaN for methods that use none.
    """
    row = step % trace.ints.shape[0]
    if trace.ints[row, 0] == step:
        floats = trace.floats[row]
        floats[1], floats[2], floats[3], floats[5] = before, target, alpha, bootstrap
        floats[6] = advantage


@kernel
def note_policy(trace: Trace, step: int, logits: Array, step_size: float) -> None:
    """Add to a step noted earlier the policy its update left behind: softmax of `logits` [A].

    `step_size` is that of the logits, NaN where an optimizer makes its own of it.
    """
    row = step % trace.ints.shape[0]
    if trace.ints[row, 0] == step:
        trace.floats[row, 7] = step_size
        top = logits[0]
        for a in range(1, logits.size):
            top = max(top, logits[a])
        total = 0.0
        for a in range(logits.size):
            trace.values[row, 1, a] = math.exp(logits[a] - top)
            total += trace.values[row, 1, a]
        for a in range(logits.size):
            trace.values[row, 1, a] /= total


@kernel
def note_ratio(trace: Trace, step: int, ratio: float) -> None:
    """Add to a step noted earlier the importance ratio its return was weighed by.

    It stands where methods that learn a policy note a step size, for which they note an advantage
    too: no method does both.
    """
    row = step % trace.ints.shape[0]
    if trace.ints[row, 0] == step:
        trace.floats[row, 7] = ratio


@kernel
def note_planned(trace: Trace, step: int, updates: int) -> None:
    """Add to a step noted earlier how many updates from a learned model followed it."""
    row = step % trace.ints.shape[0]
    if trace.ints[row, 0] == step:
        trace.ints[row, 9] = updates


def steps_between(
    trace: Trace, env: StackedMDPs, after: int, until: int, gamma: float
) -> list[Step]:
    """The noted steps with counts in (after, until], oldest first, as far back as the ring goes."""
    size = trace.ints.shape[0]
    first = max(after + 1, until - size + 1, 1)
    steps = []
    for count in range(first, until + 1):
        row = count % size
        if trace.ints[row, 0] == count:
            steps.append(_decode(trace, env, row, gamma))
    return steps


def shown(trace: Trace) -> tuple[Array, Array]:
    """The step counts [M] and numbers [M,10] of the ring now, to be given to `changed_steps`."""
    return trace.ints[:, 0].copy(), trace.floats.copy()


def changed_steps(
    trace: Trace, env: StackedMDPs, before: tuple[Array, Array], until: int, gamma: float
) -> list[Step]:
    """The steps with counts up to `until` whose numbers have changed since `before`, by count."""
    counts, floats = before
    same = (trace.floats == floats) | (np.isnan(trace.floats) & np.isnan(floats))
    changed = (trace.ints[:, 0] == counts) & (counts > 0) & (counts <= until) & ~same.all(axis=1)
    rows = np.flatnonzero(changed)
    return [_decode(trace, env, int(row), gamma) for row in rows[np.argsort(counts[rows])]]


def steps_of_episode(trace: Trace, env: StackedMDPs, episode: int, gamma: float) -> list[Step]:
    """All steps of one episode; empty when the ring no longer holds its beginning."""
    rows = trace.ints[trace.ints[:, INTS.index("episode")] == episode]
    if rows.size == 0:
        return []
    counts = rows[:, INTS.index("step")]
    steps = steps_between(trace, env, int(counts.min()) - 1, int(counts.max()), gamma)
    return steps if steps[0].t == 0 else []


def _decode(trace: Trace, env: StackedMDPs, row: int, gamma: float) -> Step:
    step, world, episode, t, state, action, next_state, next_action, flags, planned = (
        int(value) for value in trace.ints[row]
    )
    paid, before, target, alpha, exploration, bootstrap, advantage, policy_step, extra, chance = (
        float(value) for value in trace.floats[row]
    )
    error = target - before
    first = world * env.start.shape[1]
    return Step(
        step=step,
        agent=WATCHED,
        world_id=world,
        episode=episode,
        t=t,
        state=state - first,
        observation=int(env.observation[state]),
        action=action,
        explored=bool(flags & EXPLORED),
        reward=paid - extra,
        extra=extra,
        next_state=next_state - first,
        next_observation=int(env.observation[next_state]),
        next_action=next_action,
        terminated=bool(flags & TERMINAL),
        truncated=bool(flags & TRUNCATED),
        success=bool(flags & SUCCESS),
        fell=bool(flags & FALL),
        before=before,
        target=target,
        error=error,
        after=before + alpha * error,
        step_size=alpha,
        gamma=gamma,
        exploration=exploration,
        bootstrap=bootstrap,
        planned=planned,
        values=tuple(trace.values[row, 0].tolist()),
        next_values=tuple(trace.values[row, 1].tolist()),
        log_prob=math.log(chance) if chance > 0.0 else math.nan,
        policy_step_size=math.nan if math.isnan(advantage) else policy_step,
        advantage_estimate=advantage,
        importance_ratio=policy_step if math.isnan(advantage) else math.nan,
    )
