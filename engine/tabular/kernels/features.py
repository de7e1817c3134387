"""Features: an observation as a few facts that other observations share.

A linear method gives every feature a weight and adds up the weights of those that are on:
q̂(s,a,w) = wₐᵀx(s) (Sutton & Barto, equations 9.8 and 10.1). What is learned in one cell then counts
wherever the same features are on; that is the promise, and the danger.

All features here come in groups of which exactly one is on, as blocks of a tiling do (Sutton &
Barto, sections 9.5.3 and 9.5.4). So M features are on in every observation, and each of them is
worth 1/√M: then ‖x‖ = 1, and a step size means what it means in a table, the part of the way to the
target that one update goes (section 9.6). With the features `cell` the method *is* a table, number
for number.

Shapes: `O` observations, `F` features, `M` of them on at a time, `N` agents, `A` actions, `S`
states of a maze, `C` its cells, `W` mazes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.core.errors import UserError
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze
from engine.env.mdp import MDP, reachable
from engine.learning.worlds import initial_records

if TYPE_CHECKING:
    from engine.config.preset import Preset

Kind = Literal["cell", "row+column", "tiles", "distance", "surroundings"]

FARTHEST = 8
"""Offsets to the prize are told apart up to so many cells."""
LARGEST = 1e12
"""An error beyond this changes nothing: the values have diverged, and are kept as finite numbers so
that one can look at them."""

FeatureKind = Annotated[
    Kind,
    Meta(
        description="what a value is a sum over: 'cell' one weight for each observation (a table); "
        "'row+column'; 'tiles' overlapping blocks of cells (coarse coding); 'distance' the offset "
        "to the prize and the four neighbours; 'surroundings' only its direction and the neighbours"
    ),
]
TileSize = Annotated[
    int, Meta(ge=1, le=64, description="features 'tiles': cells along each side of a block")
]
Tilings = Annotated[
    int,
    Meta(
        ge=1,
        le=64,
        description="features 'tiles': how many layers of blocks there are, each shifted against "
        "the others; at most tile_size² differ",
    ),
]


class Features(NamedTuple):
    """Which features are on in each observation."""

    active: Array  # [O,M] int32: one of each group, below `n_features`
    n_features: int  # F

    @property
    def scale(self) -> float:
        """The worth of a feature that is on: 1/√M."""
        return 1.0 / math.sqrt(self.active.shape[1])

    def matrix(self) -> Array:
        """X [O,F]: the features as numbers, one row of length 1 for each observation."""
        x = np.zeros((self.active.shape[0], self.n_features))
        np.put_along_axis(x, self.active.astype(np.int64), self.scale, axis=1)
        return x


@kernel
def linear_values(on: Array, weights: Array, values: Array) -> None:
    """wₐᵀx for every action [A]: `on` [M] are the features that are on, `weights` [F,A]."""
    scale = 1.0 / math.sqrt(on.size)
    for a in range(values.size):
        total = 0.0
        for m in range(on.size):
            total += weights[on[m], a]
        values[a] = scale * total


@kernel
def linear_value(on: Array, weights: Array) -> float:
    """wᵀx: `on` [M] are the features that are on, `weights` [F]."""
    total = 0.0
    for m in range(on.size):
        total += weights[on[m]]
    return total / math.sqrt(on.size)


def linear_table(active: Array, weights: Array) -> Array:
    """wᵀx of every observation: [N,O] from weights [N,F], or [N,O,A] from [N,F,A].

    Added up in the kernels' order, so that the numbers are theirs to the last bit.
    """
    total = np.zeros((weights.shape[0], active.shape[0], *weights.shape[2:]))
    for m in range(active.shape[1]):
        total += weights[:, active[:, m]]
    if weights.ndim == 2:
        return total / math.sqrt(active.shape[1])
    scaled: Array = (1.0 / math.sqrt(active.shape[1])) * total
    return scaled


def even_weight(value: float, features: Features) -> float:
    """The weight that makes every value `value` when all weights are the same."""
    return value / math.sqrt(features.active.shape[1])


# ---------------------------------------------------------------- from the maze


def describe(settings: Any, mazes: Sequence[Maze], observations: int) -> Features:
    """The features of every observation of a run that meets these mazes, in the order of their ids.

    `settings` has `features`, `tile_size` and `tilings`. Raises UserError where a feature cannot be
    told from the observation: for the agent it would not exist.
    """
    kind: Kind = settings.features
    if kind == "cell":
        return Features(np.arange(observations, dtype=np.int32)[:, None], observations)
    for maze in mazes:
        if not maze.rows or maze.gymnasium is not None or maze.memory > 1:
            what = "maze.memory above 1" if maze.memory > 1 else "a maze without a map of its own"
            raise UserError(
                f"algorithm.features is {kind!r}, and there is {what}: only 'cell' (one weight for "
                "each observation) works there."
            )
    if kind == "tiles" and settings.tilings > settings.tile_size**2:
        raise UserError(
            f"algorithm.tilings is {settings.tilings}: blocks of {settings.tile_size}×"
            f"{settings.tile_size} cells can be shifted in only {settings.tile_size**2} ways; give "
            "fewer tilings or a larger algorithm.tile_size."
        )
    groups = [_groups(settings, maze) for maze in mazes]  # [S,M] each
    mdps = build_mdps(mazes)
    own = [_own_states(mdp, len(group)) for mdp, group in zip(mdps, groups, strict=True)]
    of_states = _numbered(np.concatenate(groups))
    return _of_observations(of_states, mdps[0].n_observations, own, mazes[0], kind)


def _own_states(mdp: MDP, count: int) -> tuple[Array, Array]:
    """The observations of a maze's own states [S], and which of them an episode can be in.

    The room it has for the states of a map with more keys is left out: nothing is ever there.
    """
    return mdp.observation[:count], reachable(mdp)[:count]


def _numbered(groups: Array) -> Features:
    """Groups [X,M] (which one of each group is on) as features that are numbered through."""
    active = np.empty(groups.shape, np.int32)
    count = 0
    for m in range(groups.shape[1]):
        values, place = np.unique(groups[:, m], return_inverse=True)
        active[:, m] = count + place.reshape(-1)
        count += values.size
    return Features(active, count)


def _of_observations(
    of_states: Features,
    observations: int,
    own: Sequence[tuple[Array, Array]],
    maze: Maze,
    kind: Kind,
) -> Features:
    """From the features of the states of all worlds to those of observations; `own` see above.

    States that are never met do not count where one with the same observation is.
    """
    observation = np.concatenate([seen for seen, _ in own])
    met = np.concatenate([met for _, met in own])
    active = np.zeros((observations, of_states.active.shape[1]), np.int32)
    for some in (~met, met):
        active[observation[some]] = of_states.active[some]
    if (active[observation[met]] != of_states.active[met]).any():
        if maze.observation == "cell":
            raise UserError(
                f"algorithm.features is {kind!r}, which describes the map around a cell, and the "
                "maps of this run differ: one cell would have two descriptions. Use 'tiles', "
                "'row+column' or 'cell', or maze.observation = 'neighbourhood+prize'."
            )
        raise UserError(
            f"algorithm.features is {kind!r}, which an agent that sees only its "
            f"{maze.observation} cannot know. Use 'cell' (one weight for each observation), "
            "'surroundings' with maze.observation = 'neighbourhood+prize', or maze.observation = "
            "'cell'."
        )
    return Features(active, of_states.n_features)


def _groups(settings: Any, maze: Maze) -> Array:
    """Which one of each group is on in every state of a maze [S,M]: numbers within the group."""
    height, width = maze.shape
    row, column = (axis.ravel() for axis in np.indices((height, width)))
    found = []
    for held in range(1 << len(maze.key_cells)):
        if settings.features == "row+column":
            columns = [row, column]
        elif settings.features == "tiles":
            shifts = [_shift(t, settings.tile_size) for t in range(settings.tilings)]
            columns = [
                (row + down) // settings.tile_size * (width + 1)
                + (column + right) // settings.tile_size
                for down, right in shifts
            ]
        else:
            columns = _surroundings(maze, held, settings.features == "distance")
            found.append(np.stack(columns, axis=1))
            continue
        cells = (height + 1) * (width + 1)
        found.append(np.stack(columns, axis=1) + held * cells)  # nothing shared between key sets
    return np.concatenate(found)


def _shift(tiling: int, size: int) -> tuple[int, int]:
    """How far (rows, columns) a tiling is shifted; the first size² of them all differ.

    Columns go in steps of 3 or 2 where rows go in steps of 1: shifted evenly, along the diagonal,
    the blocks would generalise mostly along it (Sutton & Barto, section 9.5.4, figure 9.11).
    """
    stride = 3 if size % 3 else 2
    return tiling % size, (stride * tiling + tiling // size) % size


def _surroundings(maze: Maze, held: int, how_far: bool) -> list[Array]:
    """The four neighbours' tiles and the offset [S] of what is to be fetched next, by rows and by
    columns: up to `FARTHEST` cells, or only its sign.

    That is the nearest prize, or the nearest key while one is missing. What was taken is ice, a
    door that is shut is a wall.
    """
    height, width = maze.shape
    tiles = maze.tiles_with(held).reshape(height, width)
    sight = np.select(
        [np.isin(tiles, [tile]) for tile in ("H", "G", "#", "D", "B", "k", "g")],
        [1, 2, 3, 3, 4, 5, 6],
        default=0,
    )
    around = np.pad(sight, 1, constant_values=3)
    neighbours = [around[1:-1, :-2], around[2:, 1:-1], around[1:-1, 2:], around[:-2, 1:-1]]
    wanted = np.argwhere(tiles == "k")
    wanted = wanted if wanted.size else np.argwhere(tiles == "G")
    cell = np.stack([*np.indices((height, width))], axis=-1).reshape(-1, 1, 2)
    offsets = wanted[None] - cell  # [C,G,2]
    nearest = np.abs(offsets).sum(-1).argmin(1)
    offset = offsets[np.arange(len(cell)), nearest]
    offset = np.clip(offset, -FARTHEST, FARTHEST) if how_far else np.sign(offset)
    return [*(n.ravel() for n in neighbours), offset[:, 0], offset[:, 1]]


# ---------------------------------------------------------------- how much they can say


def approximation_error(features: Features, values: Array) -> float:
    """The RMS error of values [O,A] or [O] that remains when weights fit them as well as any can.

    The value error min over w of ‖v − Xw‖, every observation counting alike: what no amount of
    learning takes away (Sutton & Barto, section 11.4).
    """
    table = values.reshape(len(values), -1)
    x = features.matrix()
    best = np.linalg.lstsq(x, table, rcond=None)[0]
    return float(np.sqrt(np.mean((x @ best - table) ** 2)))


# ---------------------------------------------------------------- what a run may do with them


def check(preset: Preset) -> None:
    """Raise UserError where the features cannot be told from what the agent sees."""
    settings: Any = preset.algorithm
    if abs(getattr(settings, "initial_value", 0.0)) > LARGEST / 1000:
        raise UserError(
            f"algorithm.initial_value is {settings.initial_value:g}, and errors above {LARGEST:g} "
            f"are not learned from here; expected a number of at most {LARGEST / 1000:g}."
        )
    if settings.features == "cell":
        return  # which is what it sees, whatever that is
    mazes = [record.maze for record in initial_records(preset.maze, preset.deploy)]
    describe(settings, mazes, build_mdps(mazes)[0].n_observations)


def check_edit(settings: Any) -> None:
    """Raise UserError where another map would change what the features say of a cell."""
    if settings.features in ("distance", "surroundings"):
        raise UserError(
            "This maze cannot be edited while it runs: the agent's features describe the map "
            f"around each cell (algorithm.features = {settings.features!r}), and a new map would "
            "give them another meaning; 'tiles', 'row+column' and 'cell' can be edited."
        )
