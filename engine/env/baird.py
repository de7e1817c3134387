"""Baird's counterexample as a Gymnasium environment: ``BairdCounterexample-v0``.

Baird 1995; Sutton & Barto, section 11.2, figure 11.1. Seven states, and two actions that do the
same everywhere: `dashed` leads to one of the six upper states, each as likely, `solid` to the lower
one. Nothing is ever paid, so every policy is worth exactly 0. No move ends an episode
(`continuing`); time limits cut it, and the next one begins in any state, each as likely.

The environment brings the example's `features`: with eight weights the value of upper state i is
2wᵢ + w₈ and that of the lower state w₇ + 2w₈. Any values at all can be written so, the true ones
too. `initial_weights` are those of the book's figure 11.2.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

N_STATES, N_ACTIONS, N_WEIGHTS = 7, 2, 8
UPPER, LOWER = range(6), 6
DASHED, SOLID = range(N_ACTIONS)

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]


class BairdEnv(gymnasium.Env[Any, Any]):
    """Six upper states and a lower one. `P` and `initial_state_distrib` are as FrozenLake's."""

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  (as Gymnasium has it)
    continuing = True

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(N_STATES)
        self.action_space = spaces.Discrete(N_ACTIONS)
        up = [(1.0 / len(UPPER), state, 0.0, False) for state in UPPER]
        down = [(1.0, LOWER, 0.0, False)]
        self.P: Table = {state: {DASHED: up, SOLID: down} for state in range(N_STATES)}
        self.initial_state_distrib = np.full(N_STATES, 1.0 / N_STATES)
        self.features = np.zeros((N_STATES, N_WEIGHTS))
        self.features[UPPER, UPPER] = 2.0
        self.features[UPPER, N_WEIGHTS - 1] = 1.0
        self.features[LOWER, [LOWER, N_WEIGHTS - 1]] = [1.0, 2.0]
        self.initial_weights = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 10.0, 1.0])
        self.state = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Start in any state."""
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(N_STATES))
        return self.state, {"prob": 1.0 / N_STATES}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """One move. `info["prob"]` is the probability of what came of it."""
        branches = self.P[self.state][int(action)]
        chance, self.state, reward, terminated = branches[
            int(self.np_random.integers(len(branches)))
        ]
        return self.state, reward, terminated, False, {"prob": chance}

    def render(self) -> str | None:
        """The states with the agent in brackets (mode "ansi"); None in any other mode."""
        if self.render_mode != "ansi":
            return None
        names = [f"{s + 1}" for s in range(N_STATES)]
        return " ".join(f"[{n}]" if s == self.state else n for s, n in enumerate(names)) + "\n"
