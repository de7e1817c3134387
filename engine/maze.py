"""Maps and the rules of the ice.

A map is rows of characters: ``S`` start, ``F`` or ``.`` ice, ``H`` hole, ``G`` goal (the prize),
``#`` wall, ``B`` bonus tile. Cells are numbered row-major; actions are 0 left, 1 down, 2 right,
3 up (the order of Gymnasium's FrozenLake).

`MazeSettings` is the ``[maze]`` table of a preset, as written. `Maze` is one concrete maze: a map
and the rules that hold on it. `build_mazes` turns the first into a list of the second.

Shapes: `S` cells, `D` the four directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engine.errors import UserError, nearest

LEFT, DOWN, RIGHT, UP = range(4)
ACTION_NAMES = ("left", "down", "right", "up")
ACTION_ARROWS = ("←", "↓", "→", "↑")
DIRECTIONS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # (row, column) displacement of each action
TILES = "SF.HG#B"
MAX_SIDE = 64
DEFAULT_MAX_STEPS = 100

Probability = Annotated[float, Meta(ge=0.0, le=1.0)]


class Rewards(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the environment pays. `step` is paid on every move, the others on top of it."""

    goal: Annotated[float, Meta(description="reached the prize")] = 1.0
    hole: Annotated[float, Meta(description="fell into a hole")] = 0.0
    step: Annotated[float, Meta(description="every move, whatever happens")] = 0.0
    bump: Annotated[float, Meta(description="the move was stopped by a wall or the edge")] = 0.0
    bonus: Annotated[float, Meta(description="landed on a bonus tile, on every visit")] = 0.0


class MapChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The map switches: from `step` on, at the next episode's end, `map` holds."""

    step: Annotated[int, Meta(ge=1, description="environment step (per agent) of the change")]
    map: Annotated[str, Meta(description="the new map, of the same size")]


class MazeSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of random mazes, see `engine.maze_sets`; the rules stand in `[maze]`."""

    count: Annotated[int, Meta(ge=1, le=4096, description="how many mazes")]
    size: Annotated[
        int | tuple[int, int],
        Meta(description="N, or [rows, columns], 2 to 64"),
    ] = 4
    hole_density: Annotated[
        float, Meta(ge=0.0, le=0.9, description="share of holes among the other cells")
    ] = 0.2
    random_ends: Annotated[
        bool, Meta(description="start and prize anywhere, not in opposite corners")
    ] = True
    seed: Annotated[int, Meta(ge=0, description="seed of the set")] = 0
    per_update: (
        Annotated[
            int,
            Meta(ge=1, description="training: how many of the mazes an update plays (default all)"),
        ]
        | None
    ) = None


class MazeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[maze]` table: one of `map`, `size` (a generated maze), `gymnasium` or `train` (a set of
    random mazes), and the rules."""

    map: Annotated[
        str | None,
        Meta(description="rows of S start, F or . ice, H hole, G goal, # wall, B bonus tile"),
    ] = None
    size: Annotated[
        int | tuple[int, int] | None,
        Meta(description="generate a solvable maze of this size: N, or [rows, columns], 2 to 64"),
    ] = None
    hole_density: (
        Annotated[
            float,
            Meta(ge=0.0, le=0.9, description="share of holes in a generated maze (default 0.2)"),
        ]
        | None
    ) = None
    seed: (
        Annotated[int, Meta(ge=0, description="seed of the generated maze (default 0)")] | None
    ) = None
    gymnasium: Annotated[
        str | None, Meta(description="a Gymnasium environment with a .P table: 'CliffWalking-v1'")
    ] = None
    kwargs: Annotated[dict[str, Any], Meta(description="arguments for the Gymnasium env")] = {}
    success: Annotated[
        float | list[int] | None,
        Meta(
            description="Gymnasium only. What counts as success: a terminating transition that "
            "pays at least this, or one that lands in one of these states. Default: the largest "
            "terminal reward."
        ),
    ] = None
    slip: (
        Annotated[
            float,
            Meta(
                ge=0.0,
                le=1.0,
                description="probability that the ice takes you sideways, half to each side "
                "(FrozenLake's slippery ice: 0.6666666666666666)",
            ),
        ]
        | None
    ) = None
    wind: Annotated[
        list[int],
        Meta(description="cells pushed upward when leaving each column, one number a column"),
    ] = []
    fall: Annotated[
        Literal["end", "restart"] | None,
        Meta(description="a hole ends the episode, or sends you back to a start cell"),
    ] = None
    rewards: Annotated[Rewards | None, Meta(description="what the environment pays")] = None
    max_steps: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=100_000,
                description="an episode is truncated (not terminated) after this many steps "
                "(default 100, or the Gymnasium env's own limit)",
            ),
        ]
        | None
    ) = None
    observation: Annotated[
        Literal["cell", "neighbourhood"],
        Meta(description="what the agent sees: its cell, or only its four neighbours"),
    ] = "cell"
    changes: Annotated[
        list[MapChange], Meta(description="maps that replace the first one as the run goes on")
    ] = []
    train: Annotated[
        MazeSet | None,
        Meta(description="language models: train on a set of random mazes instead of one"),
    ] = None
    test: Annotated[
        MazeSet | None,
        Meta(description="held-out mazes to be evaluated on, none of which is trained on"),
    ] = None


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
    observation: Literal["cell", "neighbourhood"] = "cell"
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
    def n_states(self) -> int:
        return len(self.rows) * len(self.rows[0]) if self.rows else self.states

    @property
    def arrows(self) -> tuple[str, ...]:
        """One glyph an action: an arrow for a direction, else the first letter of its name."""
        arrow = dict(zip(ACTION_NAMES, ACTION_ARROWS, strict=True))
        arrow |= {"west": "←", "south": "↓", "east": "→", "north": "↑"}
        return tuple(arrow.get(name, name[:1].upper()) for name in self.actions)

    @property
    def tiles(self) -> NDArray[np.str_]:
        """[S] the character of each cell (empty without a map)."""
        return np.array(list("".join(self.rows)), dtype="U1")

    def cell(self, state: int) -> tuple[int, int]:
        """(row, column) of a state, from 0."""
        return divmod(state, self.shape[1])


def landings(maze: Maze) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where a move in each direction ends: cell [S, D], and whether something stopped it [S, D].

    Direction and the departing column's wind make one net displacement. The path goes sideways
    first, then up or down, cell by cell; walls and edges stop it. Without walls that is clipping to
    the grid, as in Sutton & Barto's example 6.5.
    """
    height, width = maze.shape
    wall = np.pad((maze.tiles == "#").reshape(height, width), 1, constant_values=True)
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


def starts_without_a_way(maze: Maze) -> NDArray[np.int64]:
    """The start cells from which no sequence of moves can reach a goal under the maze's rules.

    With four actions, slip changes which action brings a direction, never which directions can
    come about: so the question is one of directions, whatever the slip.
    """
    landing, _ = landings(maze)
    tiles = maze.tiles
    start, hole, way = tiles == "S", tiles == "H", tiles == "G"
    dead = hole | (tiles == "#")
    while True:
        wider = way | (~dead & way[landing].any(axis=1))
        if maze.fall == "restart" and wider[start].any():
            wider |= hole
        if (wider == way).all():
            return np.flatnonzero(start & ~way)
        way = wider


def build_mazes(settings: MazeSettings) -> list[tuple[int, Maze]]:
    """The mazes of a run as (from_step, maze): the first from step 0, then every change.

    Raises UserError, naming the key, for anything that is not a maze one can solve.
    """
    sources = ("map", "size", "gymnasium", "train")
    given = [key for key in sources if getattr(settings, key) is not None]
    if len(given) != 1:
        found = " and ".join(f"maze.{key}" for key in given) or "none of them"
        raise UserError(
            f"maze: found {found}; give exactly one of maze.map (rows of characters), maze.size "
            "(a generated maze), maze.gymnasium (an environment's id) or maze.train (a set of "
            "random mazes)."
        )
    for key in ("hole_density", "seed"):
        if settings.size is None and getattr(settings, key) is not None:
            raise UserError(
                f"maze.{key} is for generated mazes: give maze.size too, or remove maze.{key}."
            )
    if settings.gymnasium is not None:
        return [(0, _from_gymnasium(settings))]
    for key in ("kwargs", "success"):
        if getattr(settings, key) not in ({}, None):
            raise UserError(f"maze.{key} is for maze.gymnasium only: remove it.")
    if settings.train is not None:
        from engine.maze_sets import train_mazes

        if settings.changes:
            raise UserError("maze.changes is for one maze: remove it, or maze.train.")
        return [(0, train_mazes(settings)[0])]
    first = _first_maze(settings)
    mazes = [(0, first)]
    for i, change in enumerate(settings.changes):
        if change.step <= mazes[-1][0]:
            raise UserError(
                f"maze.changes[{i}].step is {change.step}; steps must ascend, so it must be above "
                f"{mazes[-1][0]}."
            )
        rows = _parse(change.map, f"maze.changes[{i}].map")
        mazes.append((change.step, _with_map(first, rows, f"maze.changes[{i}].map")))
    return mazes


def edit_map(maze: Maze, rows: Sequence[str]) -> Maze:
    """The same rules on another map of the same size. Raises UserError like `build_mazes`."""
    if maze.gymnasium is not None:
        raise UserError(f"maze.map: the map belongs to {maze.gymnasium} and cannot be edited.")
    return _with_map(maze, _parse("\n".join(rows), "maze.map"), "maze.map")


def _first_maze(settings: MazeSettings) -> Maze:
    """The maze of `map` or `size`, checked."""
    rules = rules_of(settings)
    if settings.map is not None:
        rows = _parse(settings.map, "maze.map")
        _check_wind(rules, len(rows[0]))
        return _checked(msgspec.structs.replace(rules, rows=rows), "maze.map")
    height, width = checked_size(settings.size, "maze.size")
    _check_wind(rules, width)

    from engine.generate import generate_rows

    density = 0.2 if settings.hole_density is None else settings.hole_density
    rows = generate_rows((height, width), density, settings.seed or 0, partial(is_solvable, rules))
    return _checked(msgspec.structs.replace(rules, rows=rows), "maze.size")


def is_solvable(rules: Maze, rows: tuple[str, ...]) -> bool:
    """Whether every start on the map has a way to a goal under the rules."""
    return not starts_without_a_way(msgspec.structs.replace(rules, rows=rows)).size


def rules_of(settings: MazeSettings) -> Maze:
    """The rules, without a map yet. Raises UserError for rewards that are no numbers."""
    rules = Maze(
        slip=settings.slip or 0.0,
        wind=tuple(settings.wind),
        fall=settings.fall or "end",
        rewards=settings.rewards or Rewards(),
        max_steps=settings.max_steps or DEFAULT_MAX_STEPS,
        observation=settings.observation,
    )
    for key, reward in msgspec.structs.asdict(rules.rewards).items():
        if not math.isfinite(reward):
            raise UserError(f"maze.rewards.{key} is {reward}; expected a finite number.")
    return rules


def checked_size(size: int | tuple[int, int] | None, key: str) -> tuple[int, int]:
    """(rows, columns). Raises UserError, naming the key, for sizes no map may have."""
    height, width = size if isinstance(size, tuple) else (size or 0, size or 0)
    if not (2 <= height <= MAX_SIDE and 2 <= width <= MAX_SIDE):
        found = list(size) if isinstance(size, tuple) else size
        raise UserError(f"{key} is {found}; expected 2 to {MAX_SIDE} rows and columns.")
    return height, width


def _check_wind(rules: Maze, width: int) -> None:
    if rules.wind and len(rules.wind) != width:
        raise UserError(
            f"maze.wind has {len(rules.wind)} numbers; the map has {width} columns, and each needs "
            "one."
        )


def _parse(text: str, key: str) -> tuple[str, ...]:
    """Rows of a map as written: `.` becomes `F`; surrounding blank lines and indents go."""
    rows = tuple(line.strip().replace(".", "F") for line in text.strip().splitlines())
    if not rows:
        raise UserError(f"{key} is empty; expected rows of S F . H G # B.")
    for r, row in enumerate(rows, 1):
        for c, tile in enumerate(row, 1):
            if tile not in TILES:
                raise UserError(
                    f"{key}: row {r}, column {c} holds {tile!r}; expected S start, F or . ice, "
                    f"H hole, G goal, # wall or B bonus.{_meant(tile)}"
                )
        if len(row) != len(rows[0]):
            raise UserError(
                f"{key}: row {r} has {len(row)} cells and row 1 has {len(rows[0])}; make all rows "
                "equally long."
            )
    if max(len(rows), len(rows[0])) > MAX_SIDE:
        raise UserError(
            f"{key} is {len(rows)}x{len(rows[0])}; the largest map is {MAX_SIDE}x{MAX_SIDE}."
        )
    return rows


def _meant(tile: str) -> str:
    tile = {"O": "H", "0": "H", "_": ".", "-": ".", "X": "#"}.get(tile.upper(), tile.upper())
    return nearest(tile, [tile]) if tile in TILES + "." else ""


def _with_map(maze: Maze, rows: tuple[str, ...], key: str) -> Maze:
    changed = msgspec.structs.replace(maze, rows=rows)
    if changed.shape != maze.shape:
        (h, w), (height, width) = changed.shape, maze.shape
        raise UserError(
            f"{key} is {h}x{w}; it must have the size of the first map, {height}x{width}."
        )
    return _checked(changed, key)


def _checked(maze: Maze, key: str) -> Maze:
    """`maze`, if it has a start and a goal and every start has a way to a goal."""
    tiles = maze.tiles
    for tile, name in (("S", "start"), ("G", "goal")):
        if tile not in tiles:
            raise UserError(f"{key} has no {name}: put at least one {tile} on it.")
    n_starts = int((tiles == "S").sum())
    if maze.fall == "restart" and "H" in tiles and n_starts > MAX_SIDE:
        raise UserError(
            f"{key} has {n_starts} starts; with maze.fall = 'restart' at most {MAX_SIDE}."
        )
    stuck = starts_without_a_way(maze)
    if stuck.size:
        r, c = maze.cell(int(stuck[0]))
        wind = " (the wind counts)" if any(maze.wind) else ""
        raise UserError(
            f"{key}: no way from a start to the goal{wind}; the start at row {r + 1}, column "
            f"{c + 1} is cut off, so open a path of ice for it."
        )
    return maze


def _from_gymnasium(settings: MazeSettings) -> Maze:
    """The world of a Gymnasium env: its dynamics stay there, its map and limits come along."""
    from engine.gymnasium_table import read_table

    assert settings.gymnasium is not None
    for key in ("slip", "wind", "fall", "rewards", "changes"):
        if getattr(settings, key) not in (None, []):
            raise UserError(
                f"maze.{key} cannot be set with maze.gymnasium: {settings.gymnasium} brings its "
                f"own rules; remove maze.{key} (its options go in maze.kwargs)."
            )
    if settings.observation != "cell":
        raise UserError(
            "maze.observation = 'neighbourhood' needs a map of our own; with maze.gymnasium only "
            "'cell' works."
        )
    success = tuple(settings.success) if isinstance(settings.success, list) else settings.success
    table = read_table(settings.gymnasium, settings.kwargs, success)
    return Maze(
        rows=table.rows,
        max_steps=settings.max_steps or table.max_steps or DEFAULT_MAX_STEPS,
        gymnasium=settings.gymnasium,
        kwargs=table.kwargs,
        success=success,
        actions=table.actions,
        states=table.start.size,
        lattice=table.lattice,
    )
