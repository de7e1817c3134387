"""The 10-armed testbed twice: our kernels on it, and chapter 2 of the book written down in NumPy.

N agents, each at a problem of its own; T pulls; k arms.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from book_tools import go

from engine import factory, presets
from engine.env.bandit import FIRST, BanditEnv
from engine.env.mdp import MDP
from engine.tabular.kernels.environment import stack_mdps

ARMS, PULLS, PROBLEMS = 10, 1000, 1000
Array = np.ndarray[Any, np.dtype[Any]]


class Curves(NamedTuple):
    """What was earned in each pull, and whether the best arm was pulled: means over agents [T];
    and the mean reward over all pulls of each agent [N]."""

    reward: Array
    optimal: Array
    of_agent: Array

    def late(self, name: str) -> float:
        """The mean over the last tenth of the pulls."""
        curve: Array = getattr(self, name)
        return float(curve[-len(curve) // 10 :].mean())


def held(q: Array) -> MDP:
    """A problem a state, in which the agent stays for good and which it cannot see.

    The kernels are those of Bandit-v0; only where an episode would end it goes on, so that agent i
    keeps to problem i, as the agents of the book do.
    """
    n, k = q.shape
    own = np.arange(n, dtype=np.int32)
    shape = (n, k, 1)
    nothing = np.zeros(shape, bool)
    return MDP(
        next_state=np.broadcast_to(own[:, None, None], shape).copy(),
        probability=np.ones(shape),
        reward=q[..., None],
        terminal=nothing,
        success=nothing,
        fall=nothing,
        start=np.full(n, 1 / n),
        observation=np.full(n, FIRST, np.int32),
        n_observations=FIRST + 1,
        max_steps=10**9,
        cell=own,
        held=np.zeros_like(own),
        n_cells=n,
        noise=1.0,
    )


def make(settings: str, agents: int = 1, seed: int = 0, kwargs: str = "") -> Any:
    """A learner on Bandit-v0; `settings` are the lines of [algorithm]."""
    return factory.make_learner(
        presets.parse(f"""
title = "test"
[maze]
gymnasium = "Bandit-v0"
kwargs = {{{kwargs}}}
[algorithm]
{settings}
[budget]
env_steps = {PULLS}
[run]
agents = {agents}
seed = {seed}
""")
    )


@cache
def ours(settings: str, agents: int = PROBLEMS, mean: float = 0.0, every: int = 1) -> Curves:
    """Our kernel on the testbed, looked at after so many pulls: the curves have PULLS / every
    points."""
    learner = make(settings, agents, seed=3)
    q = BanditEnv(problems=agents, seed=11, mean=mean).q
    learner.env = stack_mdps([held(q)], [0])
    learner.agents.state[:], learner.agents.time[:] = np.arange(agents), 0
    rows, best = np.arange(agents), q.argmax(axis=1)
    earned, hits, rewards, optimal = np.zeros(agents), np.zeros(agents), [], []
    for _ in range(PULLS // every):
        go(learner, every)
        score, hit = learner.agents.earned[:, 1], learner.tables.visits[rows, FIRST, best]
        rewards.append((score - earned).mean() / every)
        optimal.append((hit - hits).mean() / every)
        earned, hits = score.copy(), hit.copy()
    return Curves(np.array(rewards), np.array(optimal), earned / PULLS)


@cache
def book(
    *,
    epsilon: float = 0.0,
    alpha: float = 0.0,
    initial: float = 0.0,
    ucb: float = 0.0,
    gradient: float = 0.0,
    baseline: bool = True,
    agents: int = PROBLEMS,
    mean: float = 0.0,
) -> Curves:
    """Chapter 2: sample averages, or the constant step size `alpha`; or a gradient bandit."""
    rng = np.random.default_rng(5)
    q = rng.normal(mean, 1.0, (agents, ARMS))
    rows, best = np.arange(agents), q.argmax(axis=1)
    estimates, counts = np.full((agents, ARMS), initial), np.zeros((agents, ARMS))
    average, rewards, optimal, earned = np.zeros(agents), [], [], np.zeros(agents)
    for t in range(1, PULLS + 1):
        if gradient:
            pi = np.exp(estimates - estimates.max(axis=1, keepdims=True))
            pi /= pi.sum(axis=1, keepdims=True)
            chosen = (pi.cumsum(axis=1) < rng.random((agents, 1))).sum(axis=1).clip(max=ARMS - 1)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                bonus = ucb * np.sqrt(np.log(t) / counts) if ucb else 0.0
            worth = np.where(counts == 0, np.inf, estimates + bonus) if ucb else estimates
            ties = worth == worth.max(axis=1, keepdims=True)
            chosen = (ties * rng.random(ties.shape)).argmax(axis=1)
            random = rng.random(agents) < epsilon
            chosen = np.where(random, rng.integers(ARMS, size=agents), chosen)
        reward = rng.normal(q[rows, chosen])
        counts[rows, chosen] += 1
        if gradient:
            usual = (reward if t == 1 else average) if baseline else 0.0
            estimates += gradient * (reward - usual)[:, None] * (np.eye(ARMS)[chosen] - pi)
        else:
            rate = alpha or 1 / counts[rows, chosen]
            estimates[rows, chosen] += rate * (reward - estimates[rows, chosen])
        average += (reward - average) / t
        earned += reward
        rewards.append(reward.mean())
        optimal.append((chosen == best).mean())
    return Curves(np.array(rewards), np.array(optimal), earned / PULLS)
