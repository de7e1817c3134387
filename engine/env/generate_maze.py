"""Random mazes that can always be solved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DRAWS = 30  # then a route is carved: at high densities almost no draw is solvable by luck

Grid = NDArray[np.str_]


def generate_rows(
    shape: tuple[int, int],
    hole_density: float,
    seed: int,
    solvable: Callable[[tuple[str, ...]], bool],
    *,
    walls: float = 0.0,
    keys: int = 0,
) -> tuple[str, ...]:
    """Rows of a random map, the same for the same arguments: S top-left, G bottom-right.

    Every other cell is a hole with probability `hole_density`, else a wall with probability
    `walls`. With `keys` the prize stands behind a door, and so many keys lie about; `keys` must be
    at most `most_keys(shape)`. Maps are drawn until one is `solvable`; failing that, a random route
    of moves down and right is cleared on the last draw (and the keys lie on it), which makes any
    map solvable where no wind blows.
    """
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        grid = np.where(rng.random(shape) < hole_density, "H", "F")
        if walls:
            grid[(rng.random(shape) < walls) & (grid == "F")] = "#"
        grid[0, 0], grid[-1, -1] = "S", "G"
        end = (shape[0] - 1, shape[1] - 1)
        if keys:
            end = _lock(grid, rng)
            free = np.flatnonzero(~np.isin(grid, ["S", "G", "D"]) & ~_guard(grid))
            grid.ravel()[rng.choice(free, keys, replace=False)] = "k"
        if solvable(rows := _rows(grid)):
            return rows
    return _rows(_carved(grid, end, keys, rng))


def most_keys(shape: tuple[int, int]) -> int:
    """How many keys a generated maze has room for."""
    return shape[0] * shape[1] - 4  # start, prize, door, and the wall that guards the prize


def _rows(grid: Grid) -> tuple[str, ...]:
    return tuple("".join(row) for row in grid)


def _lock(grid: Grid, rng: np.random.Generator) -> tuple[int, int]:
    """Put a door on one of the two ways to the prize in its corner and a wall on the other.

    Returns the cell from which the door is entered when one comes down or right.
    """
    height, width = grid.shape
    above = (height - 2, width - 1)
    left = (height - 1, width - 2)
    door, wall = (above, left) if rng.random() < 0.5 else (left, above)
    if wall == (0, 0) or height == width == 2:
        door, wall = above, left
    grid[door], grid[wall] = "D", "#"
    return door


def _guard(grid: Grid) -> NDArray[np.bool_]:
    """The wall beside the prize, which is no place for a key."""
    guard = np.zeros(grid.shape, dtype=bool)
    guard[-1, -2] = grid[-1, -2] == "#"
    guard[-2, -1] = grid[-2, -1] == "#"
    return guard


def _carved(grid: Grid, end: tuple[int, int], keys: int, rng: np.random.Generator) -> Grid:
    """The grid with a route from the start to `end`, the prize or its door, and the keys on it."""
    height, width = end[0] + 1, end[1] + 1
    moves = rng.permutation([0] * (width - 1) + [1] * (height - 1))
    down, right = np.cumsum(moves)[:-1], np.cumsum(1 - moves)[:-1]
    if not keys:
        grid[down, right] = "F"
        return grid
    guard = _guard(grid)
    free = ~np.isin(grid, ["S", "G", "D"]) & ~guard
    grid[grid == "k"] = "F"
    grid[down, right] = "F"
    if len(down) < keys:  # too short for all of them: then nothing is in the way anywhere
        grid[free] = "F"
        places = rng.choice(np.flatnonzero(free), keys, replace=False)
    else:
        places = np.ravel_multi_index((down, right), grid.shape)
        places = rng.choice(places, keys, replace=False)
    grid.ravel()[places] = "k"
    return grid
