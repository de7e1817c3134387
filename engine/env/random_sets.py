"""Sets of random mazes: many to train on, others to be tested on, none in both.

Every maze of a set has the same size and rules, so a policy for one can be asked about all.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from engine.core.errors import UserError
from engine.env.maze import Maze
from engine.env.maze_checks import checked_size, is_solvable, rules_of
from engine.env.settings import MazeSet, MazeSettings

DRAWS_PER_MAZE = 400
"""Draws after which a set is said to be impossible: too many holes, or too few different mazes."""


def train_mazes(settings: MazeSettings) -> tuple[Maze, ...]:
    """The mazes of `[maze] train`. Raises UserError when there are not so many different ones."""
    return _sets(msgspec.json.encode(settings))[0]


def held_out_mazes(settings: MazeSettings) -> tuple[Maze, ...]:
    """The mazes of `[maze] test`, none of which is a training maze; empty without that table."""
    if settings.test is None:
        return ()
    if settings.train is None:
        raise UserError(
            "maze.test needs maze.train: held-out mazes are tested on after training on others."
        )
    return _sets(msgspec.json.encode(settings))[1]


@lru_cache(maxsize=32)
def _sets(settings: bytes) -> tuple[tuple[Maze, ...], tuple[Maze, ...]]:
    """The two sets of an encoded `MazeSettings`; drawing them anew at every question is slow."""
    given = msgspec.json.decode(settings, type=MazeSettings)
    assert given.train is not None
    rules = rules_of(given)
    train = _drawn(rules, given.train, "maze.train", frozenset())
    if given.test is None:
        return train, ()
    if checked_size(given.test.size, "maze.test.size") != train[0].shape:
        raise UserError(
            f"maze.test.size is {given.test.size}, maze.train.size {given.train.size}; expected "
            "the same size, so that one policy can be asked about both."
        )
    return train, _drawn(rules, given.test, "maze.test", frozenset(maze.rows for maze in train))


def _drawn(
    rules: Maze, wanted: MazeSet, key: str, known: frozenset[tuple[str, ...]]
) -> tuple[Maze, ...]:
    """`wanted.count` different solvable maps, none of them `known`.

    Each cell is a hole with probability `hole_density`; start and prize are drawn among the cells.
    """
    shape = checked_size(wanted.size, f"{key}.size")
    if rules.wind and len(rules.wind) != shape[1]:
        raise UserError(
            f"maze.wind has {len(rules.wind)} numbers; the mazes of {key} have {shape[1]} columns."
        )
    rng = np.random.default_rng(wanted.seed)
    found: dict[tuple[str, ...], Maze] = {}
    for _ in range(DRAWS_PER_MAZE * wanted.count):
        rows = _rows(shape, wanted, rng)
        if rows not in known and rows not in found and is_solvable(rules, rows):
            found[rows] = msgspec.structs.replace(rules, rows=rows)
            if len(found) == wanted.count:
                return tuple(found.values())
    raise UserError(
        f"{key}.count is {wanted.count}, but only {len(found)} different solvable mazes were found "
        f"in {DRAWS_PER_MAZE * wanted.count} draws; ask for fewer, larger ones, or fewer holes."
    )


def _rows(shape: tuple[int, int], wanted: MazeSet, rng: np.random.Generator) -> tuple[str, ...]:
    grid = np.where(rng.random(shape) < wanted.hole_density, "H", "F").ravel()
    start, goal = 0, grid.size - 1
    if wanted.random_ends:
        start, goal = rng.choice(grid.size, 2, replace=False)
    grid[start], grid[goal] = "S", "G"
    return tuple("".join(row) for row in grid.reshape(shape))
