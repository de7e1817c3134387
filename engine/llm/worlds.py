"""The mazes of a language model's run, and the exact figures of its policy in them.

One maze, which may change as the run goes on, or a training set and a held-out one. Shapes: `W`
worlds, `S` states, `O` observations, `A` actions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np

from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes, edit_map
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.random_sets import held_out_mazes, train_mazes
from engine.env.settings import MazeSettings
from engine.exact.evaluate import OptimalFigures, evaluate, greedy, optimal_figures
from engine.learning.events import Evaluation, Metric, World
from engine.learning.summary import summarise

Array = np.ndarray[Any, np.dtype[Any]]
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

FIGURES = (
    "success_rate",
    "greedy_success_rate",
    "expected_return",
    "expected_score",
    "expected_length",
)


@dataclass(frozen=True, eq=False)
class WorldSet:
    """The mazes of one split with their MDPs; world ids count on from `first`.

    Either all of them are there at any time, or one follows on the other: each holds `from_steps`
    [W] on (counted in updates) until the next one does; of two with the same step the newer.
    """

    split: Split
    first: int
    mazes: tuple[Maze, ...]
    mdps: tuple[MDP, ...]
    gamma: float
    from_steps: tuple[int, ...] = ()
    """Empty where all of them are there at any time."""

    def __len__(self) -> int:
        return len(self.mazes)

    def event(self, world: int) -> World:
        """The world as an event."""
        step = self.from_steps[world] if self.from_steps else 0
        return World(step=step, id=self.first + world, split=self.split, maze=self.mazes[world])

    def events(self) -> list[World]:
        """What is said about them before the first update."""
        return [self.event(w) for w in range(len(self))]

    # ------------------------------------------------------------ one after the other

    def current(self, step: int) -> int:
        """The world that holds at a step count."""
        return max((start, w) for w, start in enumerate(self.from_steps) if start <= step)[1]

    def only(self, world: int) -> WorldSet:
        """One of the worlds as a set of its own."""
        return self._alone[world]

    @cached_property
    def _alone(self) -> tuple[WorldSet, ...]:
        return tuple(
            WorldSet(self.split, self.first + w, (maze,), (mdp,), self.gamma)
            for w, (maze, mdp) in enumerate(zip(self.mazes, self.mdps, strict=True))
        )

    def met(self, step: int) -> list[int]:
        """The different maps that have held for a while, in the order they were met: for each the
        newest world that has it."""
        held = {start: w for w, start in enumerate(self.from_steps) if start <= step}
        newest: dict[bytes, int] = {}
        for _, w in sorted(held.items()):
            newest[msgspec.json.encode(self.mazes[w])] = w
        return list(newest.values())

    def edited(self, rows: Sequence[str], step: int) -> WorldSet:
        """With one world more: the current one with another map, from `step` on. Raises UserError
        for a map that has no way through, another size, or other things to see."""
        maze = edit_map(self.mazes[self.current(step)], rows)
        mazes = (*self.mazes, maze)
        mdps = tuple(build_mdps(mazes))
        known, found = self.mdps[0].n_observations, mdps[0].n_observations
        if found != known:
            raise UserError(
                f"maze.map: the new map has {found} situations to be in, this run knows {known}; "
                "keep the number of keys as it is."
            )
        return WorldSet(self.split, self.first, mazes, mdps, self.gamma, (*self.from_steps, step))

    def save(self) -> Array:
        """Mazes and steps as the bytes of a JSON text [n] uint8."""
        timed = zip(self.from_steps, self.mazes, strict=True)
        data = [[step, msgspec.to_builtins(maze)] for step, maze in timed]
        return np.frombuffer(json.dumps(data).encode(), np.uint8)

    def loaded(self, data: Array) -> WorldSet:
        """The set that `save` wrote down: a random map of Gymnasium's is the one that was drawn."""
        timed = json.loads(data.tobytes())
        mazes = tuple(msgspec.convert(maze, Maze) for _, maze in timed)
        steps = tuple(step for step, _ in timed)
        mdps = tuple(build_mdps(mazes))
        return WorldSet(self.split, self.first, mazes, mdps, self.gamma, steps)

    # ------------------------------------------------------------ figures

    @cached_property
    def optima(self) -> tuple[OptimalFigures, ...]:
        """[W] what the best policies reach."""
        return tuple(optimal_figures(mdp, self.gamma) for mdp in self.mdps)

    @cached_property
    def baselines(self) -> dict[str, Metric]:
        """What a policy that knows nothing reaches: every move at random, and the best direction to
        be repeated for ever, chosen for the whole set."""
        mdp = self.mdps[0]
        shape = (mdp.n_observations, mdp.n_actions)
        random = np.full((1, *shape), 1.0 / mdp.n_actions)
        repeated = np.broadcast_to(np.eye(mdp.n_actions)[:, None, :], (mdp.n_actions, *shape))
        tables = np.concatenate([random, repeated])
        success = np.stack([evaluate(m, tables, self.gamma).success_rate for m in self.mdps])
        best = 1 + int(success[:, 1:].mean(axis=0).argmax())
        return {
            "random_success_rate": summarise(success[:, 0]),
            "one_direction_success_rate": summarise(success[:, best]),
            "optimal_success_rate": summarise(np.array([o.success_rate for o in self.optima])),
        }

    def figures(self, policy: Array) -> dict[str, Array]:
        """The exact figures [W] of the policies [W, O, A], greedy choice beside."""
        found = [
            evaluate(mdp, np.stack([table, greedy(table)]), self.gamma)
            for mdp, table in zip(self.mdps, policy, strict=True)
        ]
        return {
            "success_rate": np.array([figures.success_rate[0] for figures in found]),
            "greedy_success_rate": np.array([figures.success_rate[1] for figures in found]),
            "expected_return": np.array([figures.expected_return[0] for figures in found]),
            "expected_score": np.array([figures.expected_score[0] for figures in found]),
            "expected_length": np.array([figures.expected_length[0] for figures in found]),
        }

    def evaluation(
        self,
        step: int,
        figures: dict[str, Array],
        more: dict[str, Metric] | None = None,
        kind: Literal["exact", "sampled"] = "exact",
        stderr: float = 0.0,
    ) -> Evaluation:
        """The figures [W] as an event: mean and band over the mazes, beside the baselines."""
        summary = {name: summarise(values) for name, values in figures.items()}
        return Evaluation(
            step=step,
            world_id=self.first,
            split=self.split,
            success_kind=kind,
            success_stderr=stderr,
            figures={**summary, **self.baselines, **(more or {})},
            optimal_return=float(np.mean([o.optimal_return for o in self.optima])),
            horizon_optimum=float(np.mean([o.horizon_optimum for o in self.optima])),
        )


def make_sets(settings: MazeSettings, gamma: float) -> tuple[WorldSet, WorldSet | None]:
    """The training mazes, and the held-out ones if there are any. They agree in shape."""
    steps: tuple[int, ...] = ()
    if settings.train is None:
        steps, mazes = zip(*build_mazes(settings), strict=True)
    else:
        mazes = train_mazes(settings)
    held_out = held_out_mazes(settings)
    mdps = build_mdps([*mazes, *held_out])
    n = len(mazes)
    train = WorldSet("train", 0, tuple(mazes), tuple(mdps[:n]), gamma, steps)
    if not held_out:
        return train, None
    return train, WorldSet("test", n, tuple(held_out), tuple(mdps[n:]), gamma)


def mean_of(figures: dict[str, Array], name: str) -> float:
    """The mean over the mazes of one figure."""
    return float(np.mean(figures[name]))


def uniform_rows(table: Floats) -> Floats:
    """Rows of zeros become uniform: nothing is decided in those observations; [..., O, A]."""
    total = table.sum(axis=-1, keepdims=True)
    filled: Floats = np.where(total > 0, table, 1.0 / table.shape[-1])
    return filled
