"""The agent-environment loop inside a kernel: episodes begin, moves happen, episodes end.

Everything a kernel needs to know about the worlds is in `Env`, everything about where each agent
stands in `Agents`; both are NamedTuples of arrays, which Numba takes as they are. W worlds,
S states, A actions, K outcomes, N agents. Kernels number the states of all worlds through: state s
of world w is w·S + s, X = W·S of them, so that a step never asks which world it is in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.mdp import MDP
from engine.solve import reachable
from engine.tabular.compiling import kernel
from engine.tabular.rng import seed_streams, uniform

Array = np.ndarray[Any, np.dtype[Any]]

TERMINAL, SUCCESS, FALL = 1, 2, 4
# what the agents earned and did since the last recording point, one column each
EPISODES, RETURN, SCORE, LENGTH, WINS, STEPS, EXPLORED, FALLS, ABS_ERROR = range(9)
N_STATS = 9


class Env(NamedTuple):
    """The worlds of a run, one after the other in the order of their ids."""

    next_state: Array  # [X,A,K] int32
    cumulative: Array  # [X,A,K] float64: P(outcome <= k)
    reward: Array  # [X,A,K] float64
    flags: Array  # [X,A,K] uint8: TERMINAL | SUCCESS | FALL
    start: Array  # [W,S] float64: cumulative start distribution
    anywhere: Array  # [W,S] float64: the same, for an episode that begins in a random state
    random_starts: float  # share of episodes that do
    observation: Array  # [X] int32
    from_step: Array  # [W] int64: the newest world from then or before holds
    max_steps: Array  # [W] int64


class Agents(NamedTuple):
    """Where each agent stands, and its random state."""

    state: Array  # [N] int64: below X
    action: Array  # [N] int64: already chosen for the coming step, or -1
    explored: Array  # [N] bool: whether that choice was an exploring one
    level: Array  # [N] float64: ε, τ or c when it was made
    time: Array  # [N] int64: t within the episode; -1 before the episode has begun
    episode: Array  # [N] int64: episodes finished
    steps: Array  # [N] int64: environment steps taken
    world: Array  # [N] int64
    discount: Array  # [N] float64: gamma ** t
    earned: Array  # [N,2] float64: return and score of the episode so far
    random: Array  # [N,4] uint64
    updates: Array  # [N] int64: TD steps or optimizer batches done
    stats: Array  # [N,N_STATS] float64


class Limits(NamedTuple):
    """How far a kernel call may take each agent."""

    steps: int  # in this call
    episodes: int  # in the whole run
    updates: int  # in the whole run


def make_env(mdps: list[MDP], from_steps: list[int], random_starts: float = 0.0) -> Env:
    """Stack the worlds' arrays; each world holds from its step count on."""

    def stack(name: str) -> Array:
        return np.concatenate([getattr(mdp, name) for mdp in mdps])

    flags = (
        TERMINAL * stack("terminal").astype(np.uint8)
        | SUCCESS * stack("success").astype(np.uint8)
        | FALL * stack("fall").astype(np.uint8)
    ).astype(np.uint8)
    following = [mdp.next_state + w * mdp.n_states for w, mdp in enumerate(mdps)]
    return Env(
        next_state=np.concatenate(following).astype(np.int32),
        cumulative=_cumulative(stack("probability")),
        reward=stack("reward"),
        flags=flags,
        start=_cumulative(np.stack([mdp.start for mdp in mdps])),
        anywhere=_cumulative(np.stack([reachable(mdp).astype(float) for mdp in mdps])),
        random_starts=random_starts,
        observation=stack("observation").astype(np.int32),
        from_step=np.array(from_steps, dtype=np.int64),
        max_steps=np.array([mdp.max_steps for mdp in mdps], dtype=np.int64),
    )


def _cumulative(weights: Array) -> Array:
    """Cumulative distributions along the last axis, reaching 1 at the last possible outcome.

    Without that, rounding could lead into an outcome that has no probability.
    """
    total: Array = np.cumsum(weights, axis=-1)
    total /= total[..., -1:]
    total[total > 1.0 - 1e-12] = 1.0
    return total


def make_agents(n: int, seed: int) -> Agents:
    """N agents before their first episode."""
    return Agents(
        state=np.zeros(n, np.int64),
        action=np.full(n, -1, np.int64),
        explored=np.zeros(n, np.bool_),
        level=np.zeros(n),
        time=np.full(n, -1, np.int64),
        episode=np.zeros(n, np.int64),
        steps=np.zeros(n, np.int64),
        world=np.zeros(n, np.int64),
        discount=np.ones(n),
        earned=np.zeros((n, 2)),
        random=seed_streams(seed, n),
        updates=np.zeros(n, np.int64),
        stats=np.zeros((n, N_STATS)),
    )


@kernel
def draw(cumulative: Array, random: Array) -> int:
    """An index drawn from a cumulative distribution [K]; certain outcomes cost no random number."""
    last = cumulative.size - 1
    if last == 0 or cumulative[0] >= 1.0:
        return 0
    u = uniform(random)
    k = 0
    for j in range(last):  # no early end: a branch that is often guessed wrong costs more
        k += u >= cumulative[j]
    return k


@kernel
def begin_episode(env: Env, agents: Agents, i: int) -> None:
    """Put agent i on a start cell of the world that holds now."""
    w = 0
    for v in range(1, env.from_step.size):
        if env.from_step[w] <= env.from_step[v] <= agents.steps[i]:
            w = v
    agents.world[i] = w
    if env.random_starts > 0.0 and uniform(agents.random[i]) < env.random_starts:
        s = draw(env.anywhere[w], agents.random[i])
    else:
        s = draw(env.start[w], agents.random[i])
    agents.state[i] = w * env.start.shape[1] + s
    agents.time[i] = 0
    agents.action[i] = -1
    agents.discount[i] = 1.0
    agents.earned[i, 0] = 0.0
    agents.earned[i, 1] = 0.0


@kernel
def is_done(agents: Agents, i: int, limits: Limits) -> bool:
    """Whether agent i has used up its episodes or updates."""
    return bool(agents.episode[i] >= limits.episodes or agents.updates[i] >= limits.updates)


@kernel
def move(env: Env, agents: Agents, i: int, action: int) -> tuple[int, float, int]:
    """The environment's answer to an action: next state, reward, flags."""
    s = agents.state[i]
    k = draw(env.cumulative[s, action], agents.random[i])
    return env.next_state[s, action, k], env.reward[s, action, k], env.flags[s, action, k]


@kernel
def is_truncated(env: Env, agents: Agents, i: int, flags: int) -> bool:
    """Whether the coming step is the last the time limit allows. Never true when terminated."""
    return (flags & TERMINAL) == 0 and agents.time[i] + 1 >= env.max_steps[agents.world[i]]


@kernel
def finish_step(
    env: Env,
    agents: Agents,
    i: int,
    next_state: int,
    reward: float,
    flags: int,
    explored: bool,
    error: float,
    gamma: float,
) -> bool:
    """Book what was earned and move on; true when the episode is over."""
    stats = agents.stats[i]
    over = (flags & TERMINAL) != 0 or is_truncated(env, agents, i, flags)
    agents.earned[i, 0] += agents.discount[i] * reward
    agents.earned[i, 1] += reward
    agents.discount[i] *= gamma
    agents.steps[i] += 1
    agents.time[i] += 1
    agents.state[i] = next_state
    stats[STEPS] += 1.0
    stats[ABS_ERROR] += abs(error)
    if explored:
        stats[EXPLORED] += 1.0
    if flags & FALL:
        stats[FALLS] += 1.0
    if over:
        stats[EPISODES] += 1.0
        stats[RETURN] += agents.earned[i, 0]
        stats[SCORE] += agents.earned[i, 1]
        stats[LENGTH] += agents.time[i]
        if flags & SUCCESS:
            stats[WINS] += 1.0
        agents.episode[i] += 1
        agents.time[i] = -1
    return over
