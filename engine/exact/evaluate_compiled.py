"""Exact figures of many agents' policies, compiled: as `engine.exact.evaluate`, but faster.

Curves need these figures at hundreds of recording points of runs that last a second, so the worker
follows each policy's state distribution step by step in machine code, over the states it can be in
at that step. Agents whose policy did not change since the last time are not followed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.core.compiling import compiled, kernel
from engine.env.mdp import MDP

FIGURES = ("success_rate", "expected_return", "expected_score", "expected_length")
NEGLIGIBLE = 1e-18  # probability of still being in the game that no figure can show
TINY = 1e-30  # flows below this are dropped, before they become denormal and slow: even 1e9 of
# them in an episode (steps x states x actions) cannot move a figure by 1e-20


class Chain(NamedTuple):
    """The Markov chain a policy makes of the MDP; E edges at most leave a state."""

    target: Array  # [S,E] int64
    weight: Array  # [S,E] float64: probability of going on there
    edges: Array  # [S] int64: how many of the E are used
    reward: Array  # [S] float64: expected reward of the next step
    success: Array  # [S] float64: probability that the next step ends in success


class Space(NamedTuple):
    """Working space of `follow`."""

    here: Array  # [S] float64
    there: Array  # [S] float64
    states: Array  # [S] int64
    coming: Array  # [S] int64


@kernel
def make_chain(
    next_state: Array,
    probability: Array,
    reward: Array,
    terminal: Array,
    success: Array,
    observation: Array,
    policy: Array,
    chain: Chain,
) -> None:
    """The Markov chain of one policy [O,A]: edges between states merged, ends summed up."""
    actions, branches = probability.shape[1], probability.shape[2]
    for s in range(observation.size):
        n = 0
        earned = won = 0.0
        for a in range(actions):
            chosen = policy[observation[s], a]
            if chosen == 0.0:
                continue
            for k in range(branches):
                flow = chosen * probability[s, a, k]
                if flow == 0.0:
                    continue
                earned += flow * reward[s, a, k]
                if terminal[s, a, k]:
                    won += flow if success[s, a, k] else 0.0
                    continue
                edge = 0
                while edge < n and chain.target[s, edge] != next_state[s, a, k]:
                    edge += 1
                if edge == n:
                    chain.target[s, edge] = next_state[s, a, k]
                    chain.weight[s, edge] = 0.0
                    n += 1
                chain.weight[s, edge] += flow
        chain.edges[s], chain.reward[s], chain.success[s] = n, earned, won


@kernel
def follow(
    chain: Chain,
    start: Array,
    gamma: float,
    horizon: int,
    here: Array,
    there: Array,
    states: Array,
    coming: Array,
    figures: Array,
) -> None:
    """The figures [4] of a chain within `horizon` steps from the start distribution [S].

    `here`, `there` [S] float64 (zero on entry and exit) and `states`, `coming` [S] int64 are
    working space: the distribution over states, and which of them are in it.
    """
    n = 0
    for s in range(start.size):
        if start[s] > 0.0:
            here[s] = start[s]
            states[n] = s
            n += 1
    won = earned = score = length = 0.0
    discount = 1.0
    for _ in range(horizon):
        alive = now = 0.0
        found = 0
        for j in range(n):
            s = states[j]
            mass = here[s]
            here[s] = 0.0
            if mass < TINY:
                continue
            alive += mass
            won += mass * chain.success[s]
            now += mass * chain.reward[s]
            for edge in range(chain.edges[s]):
                s2 = chain.target[s, edge]
                if there[s2] == 0.0:
                    coming[found] = s2
                    found += 1
                there[s2] += mass * chain.weight[s, edge]
        length += alive
        score += now
        earned += discount * now
        discount *= gamma
        here, there = there, here
        states, coming = coming, states
        n = found
        if alive < NEGLIGIBLE:
            break
    for j in range(n):
        here[states[j]] = 0.0
    figures[0], figures[1], figures[2], figures[3] = won, earned, score, length


@kernel
def exact_figures(
    next_state: Array,
    probability: Array,
    reward: Array,
    terminal: Array,
    success: Array,
    start: Array,
    observation: Array,
    policies: Array,
    changed: Array,
    gamma: float,
    horizon: int,
    chain: Chain,
    space: Space,
    figures: Array,
) -> None:
    """The figures [N,4] of the changed ones of N policies [N,O,A]."""
    for i in range(policies.shape[0]):
        if changed[i]:
            make_chain(
                next_state, probability, reward, terminal, success, observation, policies[i], chain
            )
            follow(
                chain, start, gamma, horizon,
                space.here, space.there, space.states, space.coming, figures[i],
            )  # fmt: skip


class ExactFigures:
    """The figures of N policies in one world, kept until a policy changes."""

    def __init__(
        self,
        mdp: MDP,
        gamma: float,
        code: Callable[[Callable[..., Any]], Callable[..., Any]] = compiled,
    ) -> None:
        """`code` makes of the kernel what is called."""
        self.mdp = mdp
        self.gamma = gamma
        self._code = code
        size, edges = mdp.n_states, mdp.n_actions * mdp.n_branches
        self._chain = Chain(
            target=np.zeros((size, edges), np.int64),
            weight=np.zeros((size, edges)),
            edges=np.zeros(size, np.int64),
            reward=np.zeros(size),
            success=np.zeros(size),
        )
        self._space = Space(
            np.zeros(size), np.zeros(size), np.zeros(size, np.int64), np.zeros(size, np.int64)
        )
        self._policy: Array | None = None
        self._figures = np.zeros((0, len(FIGURES)))

    def of(self, policy: Array) -> dict[str, Array]:
        """Each figure [N] of policies [N,O,A]."""
        if self._policy is None or self._policy.shape != policy.shape:
            changed = np.ones(len(policy), np.bool_)
            self._figures = np.zeros((len(policy), len(FIGURES)))
        else:
            changed = (policy != self._policy).any(axis=(1, 2))
        mdp = self.mdp
        self._code(exact_figures)(
            mdp.next_state, mdp.probability, mdp.reward, mdp.terminal, mdp.success, mdp.start,
            mdp.observation, policy, changed, self.gamma, mdp.max_steps,
            self._chain, self._space, self._figures,
        )  # fmt: skip
        self._policy = policy.copy()
        return {name: self._figures[:, j].copy() for j, name in enumerate(FIGURES)}
