"""The agent-environment loop inside a kernel: episodes begin, moves happen, episodes end.

Everything a kernel needs to know about the worlds is in `StackedMDPs`, everything about where each
agent stands in `Agents`; both are NamedTuples of arrays, which Numba takes as they are. W worlds,
S states, A actions, K outcomes, N agents. Kernels number the states of all worlds through: state s
of world w is w·S + s, X = W·S of them, so that a step never asks which world it is in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.core.compiling import inlined, kernel
from engine.env.mdp import MDP, reachable
from engine.tabular.kernels.rng import normal, seed_streams, uniform

TERMINAL, SUCCESS, FALL = 1, 2, 4
# what the agents earned and did since the last recording point, one column each
EPISODES, RETURN, SCORE, LENGTH, WINS, STEPS, EXPLORED, FALLS, ABS_ERROR = range(9)
N_STATS = 9


class StackedMDPs(NamedTuple):
    """The worlds of a run, one after the other in the order of their ids."""

    next_state: Array  # [X,A,K] int32
    cumulative: Array  # [X,A,K] float64: P(outcome <= k)
    reward: Array  # [X,A,K] float64
    flags: Array  # [X,A,K] uint8: TERMINAL | SUCCESS | FALL
    start: Array  # [W,S] float64: cumulative start distribution
    anywhere: Array  # [W,S] float64: the same, for an episode that begins in a random state
    random_starts: float  # share of episodes that do
    revisit: float  # share of episodes in a world drawn from all those met so far
    observation: Array  # [X] int32
    from_step: Array  # [W] int64: the newest world from then or before holds
    max_steps: Array  # [W] int64
    shaped: bool
    gamma: float  # of the shaping
    potential: Array  # [X] float64: Φ, where `shaped`
    fall_budget: float  # falls a step may cost on average before their price rises
    price_rate: float  # how fast it does; 0: falls have no price
    noise: float  # standard deviation of rewards around `reward`


class Agents(NamedTuple):
    """Where each agent stands, and its random state."""

    state: Array  # [N] int64: below X
    action: Array  # [N] int64: already chosen for the coming step, or -1
    explored: Array  # [N] bool: whether that choice was an exploring one
    level: Array  # [N] float64: ε, τ or c when it was made
    chance: Array  # [N] float64: π of it then, where it is noted; else NaN
    time: Array  # [N] int64: t within the episode; -1 before the episode has begun
    episode: Array  # [N] int64: episodes finished
    steps: Array  # [N] int64: environment steps taken
    world: Array  # [N] int64
    discount: Array  # [N] float64: gamma ** t
    earned: Array  # [N,3] float64: return, score and falls of the episode so far
    price: Array  # [N] float64: λ, what a fall costs the learner besides its reward
    random: Array  # [N,4] uint64
    updates: Array  # [N] int64: TD steps or optimizer batches done
    stats: Array  # [N,N_STATS] float64


class Limits(NamedTuple):
    """How far a kernel call may take each agent."""

    steps: int  # in this call
    episodes: int  # in the whole run
    updates: int  # in the whole run


def stack_mdps(
    mdps: Sequence[MDP],
    from_steps: Sequence[int],
    random_starts: float = 0.0,
    *,
    revisit: float = 0.0,
    potentials: list[Array] | None = None,
    gamma: float = 1.0,
    fall_budget: float = math.inf,
    price_rate: float = 0.0,
) -> StackedMDPs:
    """Stack the worlds' arrays; each world holds from its step count on.

    `potentials` [S] of each world shape what the learner is paid with discount `gamma`;
    `fall_budget` is in falls a step.
    """

    def stack(name: str) -> Array:
        return np.concatenate([getattr(mdp, name) for mdp in mdps])

    flags = (
        TERMINAL * stack("terminal").astype(np.uint8)
        | SUCCESS * stack("success").astype(np.uint8)
        | FALL * stack("fall").astype(np.uint8)
    ).astype(np.uint8)
    following = [mdp.next_state + w * mdp.n_states for w, mdp in enumerate(mdps)]
    return StackedMDPs(
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
        revisit=revisit,
        shaped=potentials is not None,
        gamma=gamma,
        potential=np.concatenate(potentials) if potentials else np.zeros(1),
        fall_budget=fall_budget,
        price_rate=price_rate,
        noise=mdps[0].noise,
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
        chance=np.full(n, math.nan),
        time=np.full(n, -1, np.int64),
        episode=np.zeros(n, np.int64),
        steps=np.zeros(n, np.int64),
        world=np.zeros(n, np.int64),
        discount=np.ones(n),
        earned=np.zeros((n, 3)),
        price=np.zeros(n),
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
def draw_met(from_step: Array, step: int, random: Array) -> int:
    """One of the worlds that hold from `step` or before, each as likely as the others."""
    met = 0
    for v in range(from_step.size):
        met += from_step[v] <= step
    left = int(uniform(random) * met)
    w = -1
    while left >= 0:
        w += 1
        left -= from_step[w] <= step
    return w


@kernel
def begin_episode(env: StackedMDPs, agents: Agents, i: int) -> None:
    """Put agent i on a start cell: of the world that holds now, or of one it revisits."""
    w = 0
    if env.revisit > 0.0 and uniform(agents.random[i]) < env.revisit:
        w = draw_met(env.from_step, agents.steps[i], agents.random[i])
    else:
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
    agents.earned[i, 2] = 0.0


@kernel
def is_done(agents: Agents, i: int, limits: Limits) -> bool:
    """Whether agent i has used up its episodes or updates."""
    return bool(agents.episode[i] >= limits.episodes or agents.updates[i] >= limits.updates)


@kernel
def move(env: StackedMDPs, agents: Agents, i: int, action: int) -> tuple[int, float, int]:
    """The answer to an action: next state, what the learner is paid for it, flags."""
    s = agents.state[i]
    k = draw(env.cumulative[s, action], agents.random[i])
    landing, flags = env.next_state[s, action, k], env.flags[s, action, k]
    reward = env.reward[s, action, k]
    if env.noise > 0.0:
        reward += env.noise * normal(agents.random[i])
    return landing, reward + extra_pay(env, agents, i, landing, flags), flags


@inlined
def extra_pay(env: StackedMDPs, agents: Agents, i: int, next_state: int, flags: int) -> float:
    """The pay of the learner besides the environment's reward.

    Shaping by a potential, γ Φ(s′) − Φ(s) with Φ = 0 where the episode ends (Ng, Harada and
    Russell 1999, theorem 1), less the price of a fall.
    """
    extra = 0.0
    if env.shaped:
        following = 0.0 if flags & TERMINAL else env.gamma * env.potential[next_state]
        extra = following - env.potential[agents.state[i]]
    if flags & FALL:
        extra -= agents.price[i]
    return extra


@kernel
def is_truncated(env: StackedMDPs, agents: Agents, i: int, flags: int) -> bool:
    """Whether the coming step is the last the time limit allows. Never true when terminated."""
    return (flags & TERMINAL) == 0 and agents.time[i] + 1 >= env.max_steps[agents.world[i]]


@kernel
def finish_step(
    env: StackedMDPs,
    agents: Agents,
    i: int,
    next_state: int,
    reward: float,
    flags: int,
    explored: bool,
    error: float,
    gamma: float,
) -> bool:
    """Book what was earned and move on; true when the episode is over.

    `reward` is what `move` gave; what was earned is what the environment paid of it. After an
    episode the price of a fall follows its falls: λ ← max(0, λ + η (falls − budget · length)), the
    dual ascent of a constrained MDP (Tessler, Mankowitz and Mannor 2019, equation 8).
    """
    stats = agents.stats[i]
    paid = reward - extra_pay(env, agents, i, next_state, flags)
    over = (flags & TERMINAL) != 0 or is_truncated(env, agents, i, flags)
    agents.earned[i, 0] += agents.discount[i] * paid
    agents.earned[i, 1] += paid
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
        agents.earned[i, 2] += 1.0
    if over:
        stats[EPISODES] += 1.0
        stats[RETURN] += agents.earned[i, 0]
        stats[SCORE] += agents.earned[i, 1]
        stats[LENGTH] += agents.time[i]
        if flags & SUCCESS:
            stats[WINS] += 1.0
        if env.price_rate > 0.0:
            excess = agents.earned[i, 2] - env.fall_budget * agents.time[i]
            agents.price[i] = max(0.0, agents.price[i] + env.price_rate * excess)
        agents.episode[i] += 1
        agents.time[i] = -1
    return over
