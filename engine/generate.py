"""Random mazes that can always be solved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DRAWS = 30  # then a route is carved: at high densities almost no draw is solvable by luck


def generate_rows(
    shape: tuple[int, int],
    hole_density: float,
    seed: int,
    solvable: Callable[[tuple[str, ...]], bool],
) -> tuple[str, ...]:
    """Rows of a random map, the same for the same arguments: S top-left, G bottom-right.

    Every other cell is a hole with probability `hole_density`. Maps are drawn until one is
    `solvable`; failing that, a random route of moves down and right is cleared of holes on the last
    draw, which makes any map solvable where no wind blows.
    """
    height, width = shape
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        grid = np.where(rng.random(shape) < hole_density, "H", "F")
        grid[0, 0], grid[-1, -1] = "S", "G"
        rows = tuple("".join(row) for row in grid)
        if solvable(rows):
            return rows
    moves = rng.permutation([0] * (width - 1) + [1] * (height - 1))
    down, right = np.cumsum(moves), np.cumsum(1 - moves)
    grid[down[:-1], right[:-1]] = "F"
    return tuple("".join(row) for row in grid)
