"""The worlds of a run: which one holds when, what the best policy reaches there, and evaluations.

Learners of every kind meet worlds by one schedule; what policies are worth in them each kind
computes in its own way. W worlds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from engine.config.deploy import Deploy, deployed_maze
from engine.core.arrays import Array
from engine.env.build_maze import build_mazes, edit_map
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.random_sets import held_out_mazes, train_mazes
from engine.env.settings import MazeSettings
from engine.exact.evaluate import OptimalFigures, optimal_figures
from engine.learning.events import Evaluation, Metric, World
from engine.learning.summary import summarise

Split = Literal["train", "test", "deploy"]


class WorldRecord(msgspec.Struct, frozen=True):
    """One world: its id, the step from which it holds, and which rules hold there."""

    id: int
    split: Split
    from_step: int
    maze: Maze

    def event(self) -> World:
        """The world as an event."""
        return World(step=self.from_step, id=self.id, split=self.split, maze=self.maze)


def initial_records(settings: MazeSettings, deploy: Deploy | None = None) -> list[WorldRecord]:
    """The worlds a preset speaks of: those to learn in, the held-out ones, the deployed one.

    Raises UserError, naming the key, for anything that is no maze one can solve.
    """
    if settings.train is None:
        timed = build_mazes(settings)
    else:
        timed = [(0, maze) for maze in train_mazes(settings)]
    found: list[tuple[Split, int, Maze]] = [("train", step, maze) for step, maze in timed]
    found += [("test", 0, maze) for maze in held_out_mazes(settings)]
    if deploy is not None:
        found.append(("deploy", 0, deployed_maze(found[0][2], deploy)))
    return [WorldRecord(i, *rest) for i, rest in enumerate(found)]


class WorldSchedule:
    """Worlds that follow on one another, or that are all there at any time.

    Either a world holds from its step on until the next one's (of two with the same step the
    newer), or, if `drawn`, episodes take place in any of them and figures are means over them.
    `records[w]` and `mdps[w]` belong together.
    """

    def __init__(
        self, records: Sequence[WorldRecord], mdps: Sequence[MDP], gamma: float, *, drawn: bool
    ) -> None:
        self.gamma, self.drawn = gamma, drawn
        self._use(records, mdps)

    def _use(self, records: Sequence[WorldRecord], mdps: Sequence[MDP]) -> None:
        """Take over these worlds."""
        self.records, self.mdps = tuple(records), tuple(mdps)
        self._optimum: dict[int, OptimalFigures] = {}

    def __len__(self) -> int:
        return len(self.records)

    @property
    def mazes(self) -> tuple[Maze, ...]:
        """[W] their mazes."""
        return tuple(record.maze for record in self.records)

    @property
    def from_steps(self) -> tuple[int, ...]:
        """[W] the steps from which they hold."""
        return tuple(record.from_step for record in self.records)

    def event(self, world: int) -> World:
        """One world as an event."""
        return self.records[world].event()

    def events(self) -> list[World]:
        """All worlds as events."""
        return [record.event() for record in self.records]

    def current(self, step: int) -> int:
        """The world that holds at a step count; the first one where all are there at any time."""
        if self.drawn:
            return 0
        return max((start, w) for w, start in enumerate(self.from_steps) if start <= step)[1]

    def id_at(self, step: int) -> int:
        """The id of `current`."""
        return self.records[self.current(step)].id

    def evaluated(self, step: int) -> list[int]:
        """The worlds whose mean the figures at a step count are."""
        return list(range(len(self))) if self.drawn else [self.current(step)]

    def changed_at(self, step: int) -> int:
        """The step of the newest change of the map until `step`, 0 if there was none."""
        return 0 if self.drawn else self.from_steps[self.current(step)]

    def edited_maze(self, rows: Sequence[str], step: int) -> Maze:
        """The maze that holds at `step`, with another map. Raises UserError."""
        return edit_map(self.records[self.current(step)].maze, rows)

    def optimum(self, world: int) -> OptimalFigures:
        """The figures of π* and the horizon optimum of a world, solved once."""
        return self._optimal(self.records[world], self.mdps[world])

    def _optimal(self, record: WorldRecord, mdp: MDP) -> OptimalFigures:
        if record.id not in self._optimum:
            self._optimum[record.id] = optimal_figures(mdp, self.gamma)
        return self._optimum[record.id]


def make_evaluation(
    step: int,
    record: WorldRecord,
    figures: Mapping[str, Array],
    optima: Sequence[OptimalFigures],
    more: Mapping[str, Metric] | None = None,
    kind: Literal["exact", "sampled"] = "exact",
    stderr: float = 0.0,
) -> Evaluation:
    """Figures (an array each, summarised) and `more` beside what is best, the mean over worlds.

    `record` is the world they are of, or the first of several.
    """
    return Evaluation(
        step=step,
        world_id=record.id,
        split=record.split,
        success_kind=kind,
        success_stderr=stderr,
        figures={**{k: summarise(values) for k, values in figures.items()}, **(more or {})},
        optimal_return=float(np.mean([best.optimal_return for best in optima])),
        horizon_optimum=float(np.mean([best.horizon_optimum for best in optima])),
    )


def to_bytes(data: Any) -> Array:
    """Plain data or structs as the bytes of a JSON text [n] uint8."""
    return np.frombuffer(json.dumps(msgspec.to_builtins(data)).encode(), np.uint8)


def from_bytes(data: Array) -> Any:
    """The plain data that `to_bytes` wrote."""
    return json.loads(data.tobytes())
