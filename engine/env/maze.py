"""One maze: its map, the rules that hold on it, and where moves end.

A map is rows of characters: ``S`` start, ``F`` or ``.`` ice, ``H`` hole, ``G`` goal (the prize),
``g`` lesser prize (it ends the episode too, but is no success), ``#`` wall, ``B`` bonus tile, ``k``
key, ``D`` door. Cells are numbered row-major; actions are 0 left, 1 down, 2 right, 3 up (the order
of Gymnasium's FrozenLake).

A key is taken by landing on it and then held to the end of the episode, also after a fall that
leads back to the start. A door is a wall until all keys of the map are held. So a state of the maze
is a cell and the keys that are held: its number is ``mask · C + cell``, where bit i of the mask is
the i-th key in row-major order. Without keys that is the cell's number.

Shapes: `C` cells, `M` = 2^keys sets of keys, `S` = `M` · `C` states, `D` the four directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Bools, Index
from engine.env.settings import Observation, Probability, Rewards, Shaping, Shield

LEFT, DOWN, RIGHT, UP = range(4)
ACTION_NAMES = ("left", "down", "right", "up")
ACTION_ARROWS = ("←", "↓", "→", "↑")
DIRECTIONS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # (row, column) displacement of each action
TILES = "SF.HGg#BkD"
RESTING = "HGg#"
"""Tiles where no decision is ever made."""
OPEN_DOOR = "d"
"""How `Maze.tiles_with` shows a door that is no wall any more; on no map."""
MAX_SIDE = 64
DEFAULT_MAX_STEPS = 100


class Maze(msgspec.Struct, frozen=True, kw_only=True):
    """One maze: its map and the rules that hold on it. What a `World` event carries, as JSON.

    A world taken from Gymnasium keeps its dynamics in Gymnasium (`gymnasium`, `kwargs`); its `rows`
    are for display, and empty where the env has no map (Taxi), where `lattice` lays its `S` states
    out in a near-square.
    """

    rows: tuple[str, ...] = ()
    slip: Probability = 0.0
    wind: tuple[int, ...] = ()
    fall: Literal["end", "restart"] = "end"
    rewards: Rewards = Rewards()
    max_steps: int = DEFAULT_MAX_STEPS
    observation: Observation = "cell"
    memory: int = 1
    shaping: Shaping | None = None
    shield: Shield | None = None
    gymnasium: str | None = None
    kwargs: dict[str, Any] = {}
    success: float | tuple[int, ...] | None = None
    actions: tuple[str, ...] = ACTION_NAMES
    states: int = 0
    lattice: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the map, or of the lattice that stands in for one."""
        return (len(self.rows), len(self.rows[0])) if self.rows else self.lattice

    @property
    def n_cells(self) -> int:
        """C: the cells of the map, or the states of an env that has none."""
        return len(self.rows) * len(self.rows[0]) if self.rows else self.states

    @property
    def success_rule(self) -> str:
        """What counts as success where it is not reaching the goal; empty where it is."""
        if self.success is None:
            return ""
        if isinstance(self.success, tuple):
            states = ", ".join(map(str, self.success))
            return f"an episode that ends in state{'' if len(self.success) == 1 else 's'} {states}"
        return f"an episode that ends with a reward of at least {self.success:g}"

    @property
    def n_keys(self) -> int:
        return sum(row.count("k") for row in self.rows)

    @property
    def n_states(self) -> int:
        """S: cells × 2^keys. What an agent remembers (`memory`) is not counted: see `MDP`."""
        return self.n_cells << self.n_keys

    @property
    def arrows(self) -> tuple[str, ...]:
        """One glyph an action: an arrow for a direction, else the first letter of its name."""
        arrow = dict(zip(ACTION_NAMES, ACTION_ARROWS, strict=True))
        arrow |= {"west": "←", "south": "↓", "east": "→", "north": "↑"}
        return tuple(arrow.get(name, name[:1].upper()) for name in self.actions)

    @property
    def tiles(self) -> NDArray[np.str_]:
        """[C] the character of each cell (empty without a map)."""
        return np.array(list("".join(self.rows)), dtype="U1")

    @property
    def key_cells(self) -> tuple[int, ...]:
        """The cells of the keys, in the order of their bits."""
        return tuple(i for i, tile in enumerate("".join(self.rows)) if tile == "k")

    def tiles_with(self, held: int) -> NDArray[np.str_]:
        """[C] the map as it is when the keys of the mask `held` were taken: ice where they lay, and
        `OPEN_DOOR` for the doors once all are held."""
        tiles, keys = self.tiles, self.key_cells
        tiles[[cell for bit, cell in enumerate(keys) if held >> bit & 1]] = "F"
        if held == (1 << len(keys)) - 1:
            tiles[tiles == "D"] = OPEN_DOOR
        return tiles

    def cell(self, state: int) -> tuple[int, int]:
        """(row, column) of a state's cell, from 0: that of the maze, or of its `MDP`."""
        return divmod(state % max(self.n_cells, 1), self.shape[1])


def landings(maze: Maze, *, open_doors: bool = False) -> tuple[Index, Bools]:
    """Where a move in each direction ends: cell [C, D], and whether something stopped it [C, D].

    Direction and the departing column's wind make one net displacement. The path goes sideways
    first, then up or down, cell by cell; walls, doors that are not open and edges stop it. Without
    them that is clipping to the grid, as in Sutton & Barto's example 6.5.
    """
    height, width = maze.shape
    tiles = maze.tiles
    closed = (tiles == "#") | ((tiles == "D") & (not open_doors))
    wall = np.pad(closed.reshape(height, width), 1, constant_values=True)
    row, column = (axis.ravel() for axis in np.indices((height, width)))
    wind = np.asarray(maze.wind or (0,) * width)[column]
    landing = np.empty((height * width, len(DIRECTIONS)), dtype=np.int64)
    bumped = np.empty(landing.shape, dtype=bool)
    for d, (down, right) in enumerate(DIRECTIONS):
        r, c = row, np.where(wall[row + 1, column + right + 1], column, column + right)
        way = np.sign(down - wind)
        left = np.minimum(np.abs(down - wind), height)  # cells still to go; more cannot matter
        while (left > 0).any():
            left = np.where(wall[r + way + 1, c + 1], 0, left)
            r = np.where(left > 0, r + way, r)
            left = left - 1
        landing[:, d] = r * width + c
        bumped[:, d] = (r != row + down - wind) | (c != column + right)
    return landing, bumped


def keyed_landings(maze: Maze) -> tuple[Index, Bools]:
    """`landings` with the keys: state [S, D] where a move ends, and what was stopped [S, D]."""
    keys = maze.key_cells
    full = (1 << len(keys)) - 1
    bit = np.zeros(maze.n_cells, dtype=np.int64)
    bit[list(keys)] = 1 << np.arange(len(keys))
    opened = landings(maze, open_doors=True)
    shut = landings(maze) if full and "D" in maze.tiles else opened
    states, stopped = [], []
    for held in range(full + 1):
        landing, bumped = opened if held == full else shut
        states.append((held | bit[landing]) * maze.n_cells + landing)
        stopped.append(bumped)
    return np.concatenate(states), np.concatenate(stopped)


def starts_without_a_way(maze: Maze) -> Index:
    """The start cells from which no sequence of moves can reach a goal under the maze's rules.

    With four actions, slip changes which action brings a direction, never which directions can
    come about: so the question is one of directions, whatever the slip.
    """
    landing, _ = keyed_landings(maze)
    sets, cells = 1 << maze.n_keys, maze.n_cells
    tiles = maze.tiles
    start, hole = tiles == "S", np.tile(tiles == "H", sets)
    dead = np.tile(np.isin(tiles, list(RESTING)), sets)
    way = np.tile(tiles == "G", sets)
    origins = _grouped(landing, ~dead)
    frontier = np.flatnonzero(way)
    while frontier.size:
        found = np.zeros_like(way)
        found[origins(frontier)] = True
        if maze.fall == "restart":  # a fall leads back to a start, with the keys one has
            found |= hole & np.repeat((way.reshape(sets, cells) & start).any(axis=1), cells)
        frontier = np.flatnonzero(found & ~way)
        way[frontier] = True
    return np.flatnonzero(start & ~way[:cells])


def _grouped(landing: Index, alive: Bools) -> Callable[[Index], Index]:
    """A function that gives the `alive` [S] states from which a move `landing` [S, D] ends in one
    of the states it is asked about."""
    origin = np.repeat(np.flatnonzero(alive), landing.shape[1])
    target = landing[alive].ravel()
    origin = origin[np.argsort(target, kind="stable")]
    end = np.cumsum(np.bincount(target, minlength=alive.size))

    def origins(targets: Index) -> Index:
        last = end[targets]
        count = last - np.where(targets > 0, end[targets - 1], 0)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - last, count)
        found: Index = origin[place]
        return found

    return origins
