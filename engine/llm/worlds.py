"""The mazes of a language model's run, and the exact figures of its policy in them.

One maze, which may change as the run goes on, or a training set and a held-out one. Shapes: `W`
worlds, `S` states, `O` observations, `A` actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import msgspec
import numpy as np

from engine.core.arrays import Array, Floats
from engine.core.errors import UserError
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.settings import MazeSettings
from engine.exact.evaluate import OptimalFigures, evaluate, greedy
from engine.learning.events import Evaluation, Metric
from engine.learning.summary import summarise
from engine.learning.worlds import (
    WorldRecord,
    WorldSchedule,
    from_bytes,
    initial_records,
    make_evaluation,
    to_bytes,
)

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

FIGURES = (
    "success_rate",
    "greedy_success_rate",
    "expected_return",
    "expected_score",
    "expected_length",
)


class WorldSet(WorldSchedule):
    """The mazes of one split with their MDPs; world ids count on from `first`.

    Either all of them are there at any time, or one follows on the other, each from its step of
    `from_steps` [W] on (counted in updates).
    """

    def __init__(
        self,
        split: Split,
        first: int,
        mazes: Sequence[Maze],
        mdps: Sequence[MDP],
        gamma: float,
        from_steps: Sequence[int] = (),
    ) -> None:
        self.split: Split = split
        self.first = first
        steps = from_steps or [0] * len(mazes)
        timed = enumerate(zip(steps, mazes, strict=True), start=first)
        records = [WorldRecord(id_, split, step, maze) for id_, (step, maze) in timed]
        super().__init__(records, mdps, gamma, drawn=not from_steps)

    @property
    def from_steps(self) -> tuple[int, ...]:
        """[W] the updates from which they hold; empty where all are there at any time."""
        return () if self.drawn else super().from_steps

    # ------------------------------------------------------------ one after the other

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
        mazes = (*self.mazes, self.edited_maze(rows, step))
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
        return to_bytes([[record.from_step, record.maze] for record in self.records])

    def loaded(self, data: Array) -> WorldSet:
        """The set that `save` wrote down: a random map of Gymnasium's is the one that was drawn."""
        timed = from_bytes(data)
        mazes = tuple(msgspec.convert(maze, Maze) for _, maze in timed)
        steps = tuple(step for step, _ in timed)
        mdps = tuple(build_mdps(mazes))
        return WorldSet(self.split, self.first, mazes, mdps, self.gamma, steps)

    # ------------------------------------------------------------ figures

    @cached_property
    def optima(self) -> tuple[OptimalFigures, ...]:
        """[W] what the best policies reach."""
        return tuple(self.optimum(w) for w in range(len(self)))

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
        more = {**self.baselines, **(more or {})}
        return make_evaluation(step, self.records[0], figures, self.optima, more, kind, stderr)


def make_sets(settings: MazeSettings, gamma: float) -> tuple[WorldSet, WorldSet | None]:
    """The training mazes, and the held-out ones if there are any. They agree in shape."""
    records = initial_records(settings)
    mdps = build_mdps([record.maze for record in records])
    n = sum(record.split == "train" for record in records)
    mazes = [record.maze for record in records]
    steps = [record.from_step for record in records[:n]] if settings.train is None else []
    train = WorldSet("train", 0, mazes[:n], mdps[:n], gamma, steps)
    if len(records) == n:
        return train, None
    return train, WorldSet("test", n, mazes[n:], mdps[n:], gamma)


def mean_of(figures: dict[str, Array], name: str) -> float:
    """The mean over the mazes of one figure."""
    return float(np.mean(figures[name]))


def uniform_rows(table: Floats) -> Floats:
    """Rows of zeros become uniform: nothing is decided in those observations; [..., O, A]."""
    total = table.sum(axis=-1, keepdims=True)
    filled: Floats = np.where(total > 0, table, 1.0 / table.shape[-1])
    return filled
