"""The worlds a tabular run meets, and the exact figures of a policy in them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from engine.evaluate import OptimalFigures, optimal_figures
from engine.events import Evaluation, Metric, World
from engine.maze import Maze, MazeSettings, build_mazes, edit_map
from engine.mdp import MDP, build_mdps
from engine.tabular.exact import ExactFigures

Array = np.ndarray[Any, np.dtype[Any]]


def summarise(values: Array) -> Metric:
    """Mean and the 10th and 90th percentile over agents [N]; agents without one are left out."""
    known = np.sort(values[~np.isnan(values)])
    if known.size == 0:
        return Metric(float("nan"), float("nan"), float("nan"), 0)
    low, high = _quantile(known, 0.1), _quantile(known, 0.9)
    return Metric(float(known.sum()) / known.size, low, high, int(known.size))


def _quantile(ascending: Array, q: float) -> float:
    """The q-quantile of sorted values [N], linear between neighbours (definition 7 of Hyndman and
    Fan, 1996). `np.percentile` takes longer for it than a recording point for the rest."""
    place = q * (ascending.size - 1)
    below = int(place)
    low = float(ascending[below])
    high = float(ascending[min(below + 1, ascending.size - 1)])
    return low if low == high else low + (place - below) * (high - low)


class Worlds:
    """The worlds by id, with one shared numbering of observations.

    A world holds from its step on until the next one's; of two with the same step the newer id.
    """

    def __init__(self, settings: MazeSettings, gamma: float) -> None:
        self.gamma = gamma
        self._optimum: dict[int, OptimalFigures] = {}
        self._exact: dict[tuple[str, int], ExactFigures] = {}
        self._set([(step, maze) for step, maze in build_mazes(settings)])

    def _set(self, timed: list[tuple[int, Maze]]) -> None:
        self.from_steps = [step for step, _ in timed]
        self.mazes = [maze for _, maze in timed]
        self.mdps: list[MDP] = build_mdps(self.mazes)

    def event(self, world: int) -> World:
        """The world as an event."""
        return World(step=self.from_steps[world], id=world, split="train", maze=self.mazes[world])

    def current(self, step: int) -> int:
        """The world that holds at a step count."""
        held = [(start, w) for w, start in enumerate(self.from_steps) if start <= step]
        return max(held)[1]

    def edit(self, rows: list[str], step: int) -> World:
        """Add a world with another map that holds from `step` on; planned changes after it stay."""
        edited = edit_map(self.mazes[self.current(step)], rows)
        timed = zip(self.from_steps, self.mazes, strict=True)
        self._set([*timed, (step, edited)])
        self._optimum.clear()
        self._exact.clear()
        return self.event(len(self.mazes) - 1)

    def save(self) -> Array:
        """All worlds as bytes [B] uint8."""
        timed = zip(self.from_steps, self.mazes, strict=True)
        data = [[step, msgspec.to_builtins(maze)] for step, maze in timed]
        return np.frombuffer(json.dumps(data).encode(), np.uint8)

    def load(self, data: Array) -> None:
        """The inverse of `save`."""
        timed = json.loads(data.tobytes())
        self._set([(step, msgspec.convert(maze, Maze)) for step, maze in timed])
        self._optimum.clear()
        self._exact.clear()

    def optimum(self, world: int) -> OptimalFigures:
        """The figures of π* and the horizon optimum, solved once."""
        if world not in self._optimum:
            self._optimum[world] = optimal_figures(self.mdps[world], self.gamma)
        return self._optimum[world]

    def prepare(self, policy: Array) -> None:
        """Compile the exact figures with a policy [N,O,A]; the result is not kept."""
        ExactFigures(self.mdps[0], self.gamma).of(policy)

    def figures(self, name: str, world: int, policy: Array) -> dict[str, Array]:
        """The exact figures [N] of policies [N,O,A] in a world."""
        if (name, world) not in self._exact:
            self._exact[name, world] = ExactFigures(self.mdps[world], self.gamma)
        return self._exact[name, world].of(policy)

    def evaluation(self, step: int, target: Array, greedy: Array) -> Evaluation:
        """The exact figures of target policies [N,O,A] in the world that holds at `step`."""
        world = self.current(step)
        exact = self.figures("target", world, target)
        # Off-policy methods and planners have a greedy target: its figures are known already.
        alone = exact if np.array_equal(target, greedy) else self.figures("greedy", world, greedy)
        optimum = self.optimum(world)
        return Evaluation(
            step=step,
            world_id=world,
            figures={
                **{name: summarise(values) for name, values in exact.items()},
                "greedy_success_rate": summarise(alone["success_rate"]),
            },
            optimal_return=optimum.optimal_return,
            horizon_optimum=optimum.horizon_optimum,
        )


def next_point(step: int, growth: float) -> int:
    """The recording point after `step`: log-spaced, every step at first."""
    return max(step + 1, int(step * growth))
