"""The maximization-bias example as a Gymnasium environment: ``MaximizationBias-v0``.

Sutton & Barto, example 6.7 and figure 6.5: from A, going right ends the episode for 0, going left
leads to B for 0. In B each of ten actions ends the episode for a reward of mean -0.1, variance 1,
so that left is wrong; but the largest of ten estimates of B looks good for long.

Two things differ from the book. Every state of a table has equally many actions, so in A the even
actions go left and the odd ones right: a random action still goes left half of the time, and the
floor under ε-greedy is ε/2, as in the book. And the rewards of B are -1.1 and +0.9 with equal
chances instead of a normal distribution: a table of transitions can hold that exactly.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

A, B, RIGHT_END, LEFT_END = range(4)
N_STATES, N_ACTIONS = 4, 10
MEAN, DEVIATION = -0.1, 1.0

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]


def goes_left(action: int) -> bool:
    """Whether an action in A leads to B."""
    return action % 2 == 0


class MaximizationBiasEnv(gymnasium.Env[Any, Any]):
    """A, B and the two ends. `P` and `initial_state_distrib` are as FrozenLake's."""

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  (as Gymnasium has it)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(N_STATES)
        self.action_space = spaces.Discrete(N_ACTIONS)
        self.P: Table = {state: {} for state in range(N_STATES)}
        for a in range(N_ACTIONS):
            self.P[A][a] = [(1.0, B, 0.0, False) if goes_left(a) else (1.0, RIGHT_END, 0.0, True)]
            self.P[B][a] = [
                (0.5, LEFT_END, MEAN - DEVIATION, True),
                (0.5, LEFT_END, MEAN + DEVIATION, True),
            ]
            for end in (RIGHT_END, LEFT_END):
                self.P[end][a] = [(1.0, end, 0.0, True)]
        self.initial_state_distrib = np.eye(N_STATES)[A]
        self.state = A

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Start an episode in A."""
        super().reset(seed=seed)
        self.state = A
        return self.state, {"prob": 1.0}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """One move. `info["prob"]` is the probability of what came of it."""
        branches = self.P[self.state][int(action)]
        chance, self.state, reward, terminated = branches[
            int(self.np_random.integers(len(branches)))
        ]
        return self.state, reward, terminated, False, {"prob": chance}

    def render(self) -> str | None:
        """The chain with the agent in brackets (mode "ansi"); None in any other mode."""
        if self.render_mode != "ansi":
            return None
        names = {LEFT_END: "end", B: "B", A: "A", RIGHT_END: "end"}
        return " - ".join(f"[{n}]" if s == self.state else n for s, n in names.items()) + "\n"
