"""From the `[maze]` table to mazes: maps are read, checked and generated here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from engine.core.errors import UserError, nearest
from engine.env.build_mdp import build_mdp
from engine.env.generate_maze import generate_rows, most_keys
from engine.env.gymnasium_table import read_table
from engine.env.maze import DEFAULT_MAX_STEPS, MAX_SIDE, TILES, Maze, starts_without_a_way
from engine.env.maze_checks import check_together, checked_size, is_solvable, rules_of
from engine.env.random_sets import train_mazes
from engine.env.settings import MAX_KEYS, MAX_OBSERVATIONS, MAX_STATES, MazeSettings


def build_mazes(settings: MazeSettings) -> list[tuple[int, Maze]]:
    """The mazes of a run as (from_step, maze): the first from step 0, then every change; or with
    `randomize` several from step 0.

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
    for key in ("hole_density", "walls", "keys", "seed"):
        if settings.size is None and getattr(settings, key) is not None:
            raise UserError(
                f"maze.{key} is for generated mazes: give maze.size too, or remove maze.{key}."
            )
    check_together(settings)
    if settings.gymnasium is not None:
        return [(0, _from_gymnasium(settings))]
    for key in ("kwargs", "success"):
        if getattr(settings, key) not in ({}, None):
            raise UserError(f"maze.{key} is for maze.gymnasium only: remove it.")
    if settings.train is not None:
        if settings.changes:
            raise UserError("maze.changes is for one maze: remove it, or maze.train.")
        return [(0, train_mazes(settings)[0])]
    first = _first_maze(settings)
    if settings.randomize is not None:
        slips = settings.randomize.slips
        return [(0, msgspec.structs.replace(first, slip=slip)) for slip in slips]
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

    density = 0.2 if settings.hole_density is None else settings.hole_density
    keys = settings.keys or 0
    if keys > (most := most_keys((height, width))):
        raise UserError(
            f"maze.keys is {keys}; a maze of {height}x{width} has room for {max(most, 0)}: make "
            "maze.size larger, or maze.keys smaller."
        )
    rows = generate_rows(
        (height, width), density, settings.seed or 0, partial(is_solvable, rules),
        walls=settings.walls or 0.0, keys=keys,
    )  # fmt: skip
    return _checked(msgspec.structs.replace(rules, rows=rows), "maze.size")


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
        raise UserError(f"{key} is empty; expected rows of S F . H G g # B k D.")
    for r, row in enumerate(rows, 1):
        for c, tile in enumerate(row, 1):
            if tile not in TILES:
                raise UserError(
                    f"{key}: row {r}, column {c} holds {tile!r}; expected S start, F or . ice, "
                    "H hole, G goal, g lesser prize, # wall, B bonus, k key or D door."
                    f"{_meant(tile)}"
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
    tile = {"O": "H", "0": "H", "_": ".", "-": ".", "X": "#", "K": "k"}.get(
        tile.upper(), tile.upper()
    )
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
    if "D" in tiles and not maze.n_keys:
        raise UserError(f"{key} has a door and no key: put at least one k on it, or take D away.")
    if maze.n_keys > MAX_KEYS:
        raise UserError(f"{key} has {maze.n_keys} keys; expected at most {MAX_KEYS}.")
    n_starts = int((tiles == "S").sum())
    if maze.fall == "restart" and "H" in tiles and n_starts > MAX_SIDE:
        raise UserError(
            f"{key} has {n_starts} starts; with maze.fall = 'restart' at most {MAX_SIDE}."
        )
    stuck = starts_without_a_way(maze)
    if stuck.size:
        r, c = maze.cell(int(stuck[0]))
        wind = " (the wind counts)" if any(maze.wind) else ""
        open_up = "open a path of ice for it"
        if "D" in tiles:
            open_up += " to every key, and to the goal (doors open when all keys are held)"
        raise UserError(
            f"{key}: no way from a start to the goal{wind}; the start at row {r + 1}, column "
            f"{c + 1} is cut off, so {open_up}."
        )
    return _sized(maze, key)


def _sized(maze: Maze, key: str) -> Maze:
    """`maze`, if its states and observations are not too many for tables."""
    if maze.n_states > MAX_STATES or (
        maze.observation == "cell" and maze.n_states > MAX_OBSERVATIONS
    ):
        most = MAX_OBSERVATIONS if maze.observation == "cell" else MAX_STATES
        raise UserError(
            f"{key}: {maze.n_cells:,} cells with {maze.n_keys} keys make {maze.n_states:,} states "
            f"(each key doubles them); expected at most {most:,}, so take fewer keys or a smaller "
            "map."
        )
    if maze.memory > 1:
        build_mdp(maze)  # refuses too many
    return maze


def _from_gymnasium(settings: MazeSettings) -> Maze:
    """The world of a Gymnasium env: its dynamics stay there, its map and limits come along."""
    assert settings.gymnasium is not None
    for key in ("slip", "wind", "fall", "rewards", "changes"):
        if getattr(settings, key) not in (None, []):
            raise UserError(
                f"maze.{key} cannot be set with maze.gymnasium: {settings.gymnasium} brings its "
                f"own rules; remove maze.{key} (its options go in maze.kwargs)."
            )
    if settings.observation != "cell":
        raise UserError(
            f"maze.observation = {settings.observation!r} needs a map of our own; with "
            "maze.gymnasium only 'cell' works."
        )
    if settings.memory != 1:
        raise UserError(
            f"maze.memory = {settings.memory} needs a map of our own; with maze.gymnasium remove "
            "it."
        )
    success = tuple(settings.success) if isinstance(settings.success, list) else settings.success
    table = read_table(settings.gymnasium, settings.kwargs, success)
    return Maze(
        rows=table.rows,
        max_steps=settings.max_steps or table.max_steps or DEFAULT_MAX_STEPS,
        gymnasium=settings.gymnasium,
        kwargs=table.kwargs,
        success=table.rule,
        shaping=settings.shaping,
        shield=settings.shield,
        actions=table.actions,
        states=table.start.size,
        lattice=table.lattice,
    )
