"""An episode that somebody walks move by move: a policy, a person, or both in turn.

The dynamics are the MDP's; randomness comes from the walk's own generator, so that a seed repeats
the ice as long as the moves are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.arrays import Floats
from engine.env.mdp import MDP


@dataclass(frozen=True, slots=True)
class WalkedStep:
    """One move and what came of it."""

    state: int
    action: int
    reward: float
    next_state: int
    chance: float
    """How probable it was to land there, given the move: below 1 where the ice is slippery."""
    by_policy: bool


class Walk:
    """An episode under way in `mdp`, discounted with `gamma`."""

    def __init__(self, mdp: MDP, gamma: float, seed: int | None = None) -> None:
        self.mdp, self.gamma = mdp, gamma
        self.rng = np.random.default_rng(seed)
        self.restart()

    def restart(self) -> None:
        """Begin another episode."""
        self.state = int(self.rng.choice(self.mdp.n_states, p=self.mdp.start))
        self.steps: list[WalkedStep] = []
        self.terminated = self.success = False

    @property
    def truncated(self) -> bool:
        """Whether the time is up; that is not termination."""
        return not self.terminated and len(self.steps) >= self.mdp.max_steps

    @property
    def over(self) -> bool:
        """Whether no move is possible any more."""
        return self.terminated or self.truncated

    @property
    def total_return(self) -> float:
        """Σ γ^t r_t so far."""
        return float(sum(self.gamma**t * step.reward for t, step in enumerate(self.steps)))

    @property
    def score(self) -> float:
        """Σ r_t so far."""
        return float(sum(step.reward for step in self.steps))

    def move(self, action: int, *, by_policy: bool = False) -> WalkedStep:
        """Make a move. Raises ValueError when the episode is over."""
        if self.over:
            raise ValueError("the episode is over")
        here = self.state
        chances = self.mdp.probability[here, action]
        branch = int(self.rng.choice(chances.size, p=chances))
        landed = int(self.mdp.next_state[here, action, branch])
        same = self.mdp.next_state[here, action] == landed  # branches may lead to the same cell
        step = WalkedStep(
            state=here,
            action=action,
            reward=self._paid(float(self.mdp.reward[here, action, branch])),
            next_state=landed,
            chance=float(chances[same].sum()),
            by_policy=by_policy,
        )
        self.steps.append(step)
        self.state = landed
        self.terminated = bool(self.mdp.terminal[here, action, branch])
        self.success = bool(self.mdp.success[here, action, branch])
        return step

    def _paid(self, expected: float) -> float:
        """A reward drawn around what is expected."""
        noise = self.mdp.noise
        return expected + float(self.rng.normal(0.0, noise)) if noise else expected

    def choose(self, policy: Floats, *, greedy: bool = False) -> int:
        """A move drawn from `policy` [O, A] where one stands, or its likeliest."""
        chances = policy[self.mdp.observation[self.state]]
        if greedy:
            return int(chances.argmax())
        return int(self.rng.choice(chances.size, p=chances / chances.sum()))
