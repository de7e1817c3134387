"""The exact figures of many agents' policies, compiled: what `engine.evaluate` computes, faster.

Curves need these figures at hundreds of recording points of runs that last a second, so the worker
follows each policy's state distribution step by step in machine code, over the states it can be in
at that step. Agents whose policy did not change since the last time are not followed again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.mdp import MDP
from engine.tabular.compiling import compiled, kernel

Array = np.ndarray[Any, np.dtype[Any]]

FIGURES = ("success_rate", "expected_return", "expected_score", "expected_length")
NEGLIGIBLE = 1e-18  # probability of still being in the game that no figure can show
TINY = 1e-30  # flows below this are dropped, before they become denormal and slow: even 1e9 of
# them in an episode (steps x states x actions) cannot move a figure by 1e-20


@kernel
def follow(
    next_state: Array,
    probability: Array,
    reward: Array,
    terminal: Array,
    success: Array,
    start: Array,
    observation: Array,
    policy: Array,
    gamma: float,
    horizon: int,
    here: Array,
    there: Array,
    states: Array,
    coming: Array,
    figures: Array,
) -> None:
    """The figures [4] of one policy [O,A] within `horizon` steps.

    `here`, `there` [S] float64 (zero on entry and exit) and `states`, `coming` [S] int64 are
    working space.
    """
    actions, branches = probability.shape[1], probability.shape[2]
    figures[:] = 0.0
    n = 0
    for s in range(start.size):
        if start[s] > 0.0:
            here[s] = start[s]
            states[n] = s
            n += 1
    discount = 1.0
    for _ in range(horizon):
        alive = 0.0
        found = 0
        for j in range(n):
            s = states[j]
            mass = here[s]
            here[s] = 0.0
            alive += mass
            for a in range(actions):
                chosen = mass * policy[observation[s], a]
                if chosen == 0.0:
                    continue
                for k in range(branches):
                    flow = chosen * probability[s, a, k]
                    if flow < TINY:
                        continue
                    figures[1] += discount * flow * reward[s, a, k]
                    figures[2] += flow * reward[s, a, k]
                    if terminal[s, a, k]:
                        if success[s, a, k]:
                            figures[0] += flow
                        continue
                    s2 = next_state[s, a, k]
                    if there[s2] == 0.0:
                        coming[found] = s2
                        found += 1
                    there[s2] += flow
        figures[3] += alive
        here, there = there, here
        states, coming = coming, states
        n = found
        discount *= gamma
        if alive < NEGLIGIBLE:
            break
    for j in range(n):
        here[states[j]] = 0.0


class ExactFigures:
    """The figures of N policies in one world, kept until a policy changes."""

    def __init__(self, mdp: MDP, gamma: float) -> None:
        self.mdp = mdp
        self.gamma = gamma
        size = mdp.n_states
        self._space = (
            np.zeros(size), np.zeros(size), np.zeros(size, np.int64), np.zeros(size, np.int64),
        )  # fmt: skip
        self._policy: Array | None = None
        self._figures = np.zeros((0, len(FIGURES)))

    def of(self, policy: Array) -> dict[str, Array]:
        """Each figure [N] of policies [N,O,A]."""
        if self._policy is None or self._policy.shape != policy.shape:
            changed = np.ones(len(policy), bool)
            self._figures = np.zeros((len(policy), len(FIGURES)))
        else:
            changed = (policy != self._policy).any(axis=(1, 2))
        run, mdp = compiled(follow), self.mdp
        for i in np.flatnonzero(changed):
            run(
                mdp.next_state, mdp.probability, mdp.reward, mdp.terminal, mdp.success, mdp.start,
                mdp.observation, policy[i], self.gamma, mdp.max_steps, *self._space,
                self._figures[i],
            )  # fmt: skip
        self._policy = policy.copy()
        return {name: self._figures[:, j].copy() for j, name in enumerate(FIGURES)}
