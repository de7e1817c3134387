"""The least and the most that a figure of an agent can be: what intervals have to allow for.

A return, score or success rate lies between what the worst and the best policy come to, by backward
induction. What is counted is at least zero. Of other figures nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from engine.config.preset import Preset
from engine.core.arrays import Floats
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.exact.evaluate import horizon_optimum
from engine.experiments.intervals import FROM_ZERO, OPEN, SHARE, Ends
from engine.learning.worlds import initial_records

COUNTED = frozenset(
    {
        *("first_optimal_step", "first_optimal_episode", "recovery_steps", "steps_to_optimum"),
        *("falls_total", "falls_per_1000_steps", "value_reach"),
        *("env_steps", "episodes", "updates", "td_error"),
        *("value_rmse", "rmse", "bias2", "variance"),
    }
)
"""Figures that cannot be below zero, and of which nothing else is known."""
EXACT = ("success_rate", "expected_return", "expected_score", "expected_length")
"""Expectations: they lie between what policies can expect."""
ONLINE = ("online_success_rate", "online_return", "online_score", "online_length")
"""Means over episodes: they lie between what can happen, with all luck there is."""
SPLITS = {"held_out_": "test", "deployed_": "deploy"}
"""Where a figure was measured, by the beginning of its name; else in the mazes of training."""


class World(Protocol):
    """A maze of a run."""

    @property
    def split(self) -> str: ...
    @property
    def maze(self) -> Maze: ...


class FigureEnds:
    """The ends of the figures of one run's agents, by their names; each is found when asked for."""

    def __init__(self, worlds: Iterable[World], gamma: float) -> None:
        self._worlds, self._gamma = tuple(worlds), gamma
        self._mdps: dict[str, Sequence[MDP]] = {}
        self._found: dict[tuple[str, str], Ends] = {}

    @classmethod
    def of_preset(cls, preset: Preset) -> FigureEnds:
        """Those of a preset's agents. Raises UserError for mazes that are none."""
        return cls(initial_records(preset.maze, preset.deploy), preset.algorithm.gamma)

    def __getitem__(self, name: str) -> Ends:
        """The ends of a figure; unknown ones for figures nothing is known of."""
        if name in COUNTED:
            return FROM_ZERO
        if name == "exploring_share":
            return SHARE
        prefix = next((each for each in SPLITS if name.startswith(each)), "")
        name = name.removeprefix(prefix)
        if name.removeprefix("greedy_").startswith("success_rate"):
            name = "success_rate"
        if name not in (*EXACT, *ONLINE):
            return OPEN
        key = SPLITS.get(prefix, "train"), name
        if key not in self._found:
            self._found[key] = self._exact(*key)
        return self._found[key]

    def _exact(self, split: str, name: str) -> Ends:
        """The least and the most in any maze of a split: figures are of one, or means over all."""
        if split not in self._mdps:
            mazes = [world.maze for world in self._worlds if world.split == split]
            self._mdps[split] = build_mdps(mazes) if mazes else []
        found = [self._in_maze(mdp, name) for mdp in self._mdps[split]]
        if not found:
            return SHARE if name.endswith("success_rate") else OPEN
        return Ends(min(low for low, _ in found), max(high for _, high in found))

    def _in_maze(self, mdp: MDP, name: str) -> Ends:
        if name.endswith("length"):
            return Ends(1.0, float(mdp.max_steps))
        paid = mdp.success.astype(np.float64) if name.endswith("success_rate") else mdp.reward
        gamma = self._gamma if name.endswith("return") else 1.0
        return (happening if name in ONLINE else expected)(mdp, paid, gamma)


def expected(mdp: MDP, reward: Floats, gamma: float) -> Ends:
    """The least and the most that policies can expect within `max_steps` of `reward` [S, A, K]."""
    worst = 0.0 - horizon_optimum(replace(mdp, reward=-reward), gamma)
    return Ends(worst, horizon_optimum(replace(mdp, reward=reward), gamma))


def happening(mdp: MDP, reward: Floats, gamma: float) -> Ends:
    """The least and the most that an episode can bring within `max_steps` of `reward` [S, A, K],
    wherever it starts."""
    return Ends(0.0 - _luckiest(mdp, -reward, gamma), _luckiest(mdp, reward, gamma))


def _luckiest(mdp: MDP, reward: Floats, gamma: float) -> float:
    """Backward induction over the best that can follow, instead of what is to be expected."""
    paid = np.where(mdp.probability > 0, reward, -np.inf)
    values = np.zeros(mdp.n_states)
    for _ in range(mdp.max_steps):
        onward = np.where(mdp.terminal, 0.0, gamma * values[mdp.next_state])
        before, values = values, (paid + onward).max(axis=(1, 2))
        if np.array_equal(before, values):
            break
    return float(values.max())
