"""The k-armed bandit as a Gymnasium environment: ``Bandit-v0``.

Sutton & Barto, sections 2.1 and 2.3. There is one state and there are k actions, the arms. One pull
ends the episode and pays a reward from a normal distribution around q*(a), which is itself drawn
from one around `mean` with variance 1: a problem of the book's 10-armed testbed. The agent knows
neither.

With several `problems` there is a state for each, with arms of its own; every episode is one pull
in one of them, drawn with equal chances, and the agent sees which (associative search, section
2.9). What is learned of one says nothing about another, so the figures are means over problems.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

BEST, OTHER, FIRST = range(3)
"""Where an episode ends: after the best arm, or after another one. Then come the problems."""
MOST_ARMS, MOST_PROBLEMS = 1000, 10_000

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]


class BanditEnv(gymnasium.Env[Any, Any]):
    """`problems` bandits of `arms` arms each. `P` and `initial_state_distrib` are as FrozenLake's;
    `P` holds the expected rewards, and `reward_noise` how far those paid are spread around them.

    `q` [problems, arms] is q*(a), drawn with `seed`. Raises ValueError for numbers out of range.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  (as Gymnasium has it)

    def __init__(
        self,
        arms: int = 10,
        problems: int = 1,
        seed: int = 0,
        mean: float = 0.0,
        noise: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        _check("arms", arms, 2, MOST_ARMS)
        _check("problems", problems, 1, MOST_PROBLEMS)
        _check("seed", seed, 0, 2**63 - 1)
        for name, value in (("mean", mean), ("noise", noise)):
            if not -1e6 <= value <= 1e6 or (name == "noise" and value < 0.0):
                least = 0 if name == "noise" else -1_000_000
                raise ValueError(f"{name} is {value}; expected a number from {least} to 1000000")
        self.render_mode = render_mode
        self.reward_noise = float(noise)
        self.q = np.random.default_rng(seed).normal(mean, 1.0, (problems, arms))
        self.observation_space = spaces.Discrete(FIRST + problems)
        self.action_space = spaces.Discrete(arms)
        self.P: Table = {
            end: {a: [(1.0, end, 0.0, True)] for a in range(arms)} for end in (BEST, OTHER)
        }
        for state, expected in enumerate(self.q, FIRST):
            best = int(expected.argmax())
            self.P[state] = {
                a: [(1.0, BEST if a == best else OTHER, float(expected[a]), True)]
                for a in range(arms)
            }
        self.initial_state_distrib = np.zeros(FIRST + problems)
        self.initial_state_distrib[FIRST:] = 1.0 / problems
        self.state = FIRST

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Draw a problem."""
        super().reset(seed=seed)
        self.state = FIRST + int(self.np_random.integers(len(self.q)))
        return self.state, {"prob": float(self.initial_state_distrib[self.state])}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Pull an arm. After the end of an episode nothing is paid any more."""
        ((chance, landing, expected, terminated),) = self.P[self.state][int(action)]
        playing = self.state >= FIRST
        reward = expected + self.reward_noise * float(self.np_random.normal()) if playing else 0.0
        self.state = landing
        return self.state, reward, terminated, False, {"prob": chance}

    def render(self) -> str | None:
        """The problem that is played, or how the episode ended (mode "ansi"); None otherwise."""
        if self.render_mode != "ansi":
            return None
        ends = {BEST: "the best arm was pulled", OTHER: "another arm was pulled"}
        return ends.get(self.state, f"problem {self.state - FIRST + 1}: pull an arm") + "\n"


def _check(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
