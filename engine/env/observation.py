"""What an agent sees in each state of a maze, as a code, and codes in words.

A code means the same in every maze. With `observation = "cell"` it is the state's own number. A
neighbourhood is four sights (left, below, right, above), the direction of the nearest prize where
that is seen, and how many keys are held. Codes are large and most never occur:
`engine.env.build_mdp` numbers those that do.

Shapes: `C` cells, `S` states, `k` remembered observations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Ints
from engine.env.maze import OPEN_DOOR, Maze
from engine.env.settings import MAX_KEYS

SIGHTS = ("ice", "hole", "prize", "wall", "bonus", "lesser prize", "key", "door")
SIGHT_OF_TILE = {
    "S": 0, "F": 0, OPEN_DOOR: 0, "H": 1, "G": 2, "#": 3, "B": 4, "g": 5, "k": 6, "D": 7,
}  # fmt: skip
PLACES = ("left", "below", "right", "above")  # in the order of the actions
WAYS = (("above", "", "below"), ("left", "", "right"))  # of the prize: row sign, column sign
RADIX = (MAX_KEYS + 1, 3, 3, *(len(SIGHTS),) * len(PLACES))
"""How many values each part of a neighbourhood's code has: keys held, signs of the prize's row and
column offset (0 before, 1 the same, 2 after), a sight for each place."""
NOTHING = -1
"""The code of what was seen before the episode began."""


def codes(maze: Maze) -> Ints:
    """[S] what is seen in each state of a map. The edge of the map looks like a wall."""
    sets = range(1 << maze.n_keys)
    if maze.observation == "cell":
        return np.arange(maze.n_states, dtype=np.int32)
    signs = _prize_signs(maze) if maze.observation == "neighbourhood+prize" else _no_signs(maze)
    parts = [
        np.ravel_multi_index(
            (np.full(maze.n_cells, held.bit_count()), *signs, *_around(maze, held)), RADIX
        )
        for held in sets
    ]
    return np.concatenate(parts).astype(np.int32)


def _around(maze: Maze, held: int) -> tuple[NDArray[np.int64], ...]:
    """Four times [C]: the sights to the left, below, to the right and above."""
    tiles = maze.tiles_with(held)
    sight = np.array([SIGHT_OF_TILE[tile] for tile in tiles.tolist()]).reshape(maze.shape)
    grid = np.pad(sight, 1, constant_values=SIGHT_OF_TILE["#"])
    around = (grid[1:-1, :-2], grid[2:, 1:-1], grid[1:-1, 2:], grid[:-2, 1:-1])
    return tuple(places.ravel() for places in around)


def _no_signs(maze: Maze) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    same = np.ones(maze.n_cells, dtype=np.int64)
    return same, same


def _prize_signs(maze: Maze) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Twice [C]: 0, 1 or 2, the sign of the row and of the column offset to the nearest prize (in
    moves; among equally near ones the first of the map)."""
    row, column = np.divmod(np.arange(maze.n_cells), maze.shape[1])
    prizes = np.flatnonzero(maze.tiles == "G")
    if not prizes.size:
        return _no_signs(maze)
    down = row[prizes][None] - row[:, None]  # [C, prizes]
    right = column[prizes][None] - column[:, None]
    nearest = (np.abs(down) + np.abs(right)).argmin(axis=1)[:, None]
    signs = [np.sign(np.take_along_axis(gap, nearest, 1)[:, 0]) + 1 for gap in (down, right)]
    return signs[0], signs[1]


def in_words(maze: Maze, pattern: NDArray[np.integer]) -> str:
    """The last k codes [k], the newest last, in words: the newest first, then what came before."""
    newest, *before = (code_in_words(maze, int(code)) for code in reversed(pattern.tolist()))
    return "; before: ".join([newest, *before])


def code_in_words(maze: Maze, code: int) -> str:
    """`row 1, column 3`, or `ice left, hole below, wall right, ice above`; with keys what is held.

    Rows and columns count from 1.
    """
    if code == NOTHING:
        return "nothing"
    if maze.observation == "cell":
        return _cell_in_words(maze, code)
    held, vertical, horizontal, *sights = (int(i) for i in np.unravel_index(code, RADIX))
    words = [f"{SIGHTS[s]} {place}" for s, place in zip(sights, PLACES, strict=True)]
    if maze.observation == "neighbourhood+prize":
        ways = [word for word in (WAYS[0][vertical], WAYS[1][horizontal]) if word]
        words.append(f"the prize is {' '.join(ways) or 'here'}")
    if maze.n_keys:
        words.append(f"{held} of {maze.n_keys} {'key' if maze.n_keys == 1 else 'keys'} held")
    return ", ".join(words)


def _cell_in_words(maze: Maze, state: int) -> str:
    if not maze.rows:
        return f"state {state}"
    row, column = maze.cell(state)
    words = f"row {row + 1}, column {column + 1}"
    if not maze.n_keys:
        return words
    return f"{words}, {held_in_words(maze, state // maze.n_cells)}"


def held_in_words(maze: Maze, held: int) -> str:
    """`no key held`, `both keys held`, or `1 of 2 keys held (that of row 1, column 3)`."""
    keys, n = maze.key_cells, held.bit_count()
    if n == 0:
        return "no key held"
    if n == len(keys):
        return {1: "the key held", 2: "both keys held"}.get(n, f"all {n} keys held")
    places = [maze.cell(cell) for bit, cell in enumerate(keys) if held >> bit & 1]
    named = " and ".join(f"row {row + 1}, column {column + 1}" for row, column in places)
    return f"{n} of {len(keys)} keys held (from {named})"
