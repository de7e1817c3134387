"""The values of a Markov chain with rewards, solved directly.

V = r + W·V is one linear system. Numbered row by row, the cells of a maze only lead to cells about
a row away, so that the matrix is banded and block elimination costs n·band² instead of n³; the few
columns entered from everywhere (starts, when a fall leads back to them) are kept apart and put back
at the end (Woodbury).
"""

from __future__ import annotations

import numpy as np

from engine.core.arrays import Floats, Index
from engine.core.errors import UserError

MAX_APART = 64  # columns kept apart at most
SMALL = 96  # up to this many states the matrix is one block
MOST_ENTRIES = 2**28  # of the matrix: 2 GiB, and as much again while it is solved


def chain_values(follow: Index, weight: Floats, reward: Floats) -> Floats:
    """V [n] of the chain that earns `reward` [n] and goes to `follow` [n, B] by `weight` [n, B].

    Weights of a row sum to at most 1 (times a discount), and the rest of the mass leaves the chain.
    From every state some of it must, or the values are infinite: then the result is inf or NaN, or
    so large that it has no correct digit. Raises UserError where it takes too much memory.
    """
    n = reward.size
    row, branch = np.nonzero(weight)
    column, amount = follow[row, branch], weight[row, branch]
    distance = np.abs(row - column)
    spread = np.zeros(n, dtype=np.int64)
    np.maximum.at(spread, column, distance)
    band, apart = _layout(spread)
    far = distance > band
    place = np.zeros(n, dtype=np.int64)
    place[apart] = np.arange(apart.size)
    jumps = np.zeros((n, apart.size))
    np.add.at(jumps, (row[far], place[column[far]]), amount[far])
    try:
        solved = _banded(
            row[~far], column[~far], amount[~far], np.column_stack([reward, jumps]), band
        )
        near, by_jump = solved[:, 0], solved[:, 1:]
        at_apart = np.linalg.solve(np.eye(apart.size) - by_jump[apart], near[apart])
    except np.linalg.LinAlgError:
        return np.full(n, np.inf)
    values: Floats = near + by_jump @ at_apart
    return values


def _layout(spread: Index) -> tuple[int, Index]:
    """The band to eliminate in, and the columns kept apart, from each column's farthest row."""
    n = spread.size
    if n <= SMALL:
        return n, np.zeros(0, dtype=np.int64)
    ordered = np.sort(spread)
    widest, kept = int(ordered[-1]), int(ordered[-1 - min(MAX_APART, n - 1)])
    band = max(kept if 2 * kept < widest else widest, 1)
    if 3 * band >= n:
        return n, np.zeros(0, dtype=np.int64)
    return band, np.flatnonzero(spread > band)


def _banded(row: Index, column: Index, amount: Floats, right: Floats, band: int) -> Floats:
    """X [n, R] of (I − W)·X = `right` [n, R], W with no entry farther than `band` off its diagonal.

    Elimination by blocks of `band` rows, as in the Thomas algorithm. I − W is diagonally dominant,
    so no pivoting between blocks is needed.
    """
    n, width = right.shape
    blocks = -(-n // band)
    if 3 * blocks * band * band > MOST_ENTRIES:
        raise UserError(
            f"maze: its {n:,} states (cells, keys held and what is remembered) lead to others so "
            f"far apart that exact values would take {24 * blocks * band * band / 1e9:,.0f} GB of "
            "memory; take a smaller maze, fewer keys, or less maze.memory."
        )
    where = (column // band - row // band + 1, row // band, row % band, column % band)
    shape = (3, blocks, band, band)
    flat = np.ravel_multi_index(where, shape)
    # Of no entries at all NumPy counts whole numbers.
    matrix = np.bincount(flat, amount, 3 * blocks * band * band).astype(np.float64, copy=False)
    matrix = np.negative(matrix, out=matrix).reshape(shape)
    matrix[1] += np.eye(band)
    below, middle, above = matrix
    given = np.zeros((blocks * band, width))
    given[:n] = right
    solved = given.reshape(blocks, band, width)
    for i in range(blocks):
        if i:
            middle[i] -= below[i] @ above[i - 1]
            solved[i] -= below[i] @ solved[i - 1]
        both = np.linalg.solve(middle[i], np.concatenate([above[i], solved[i]], axis=1))
        above[i], solved[i] = both[:, :band], both[:, band:]
    for i in range(blocks - 2, -1, -1):
        solved[i] -= above[i] @ solved[i + 1]
    return solved.reshape(-1, width)[:n]
