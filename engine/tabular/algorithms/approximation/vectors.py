"""Feature vectors x(s) as kernels read them: the places that are not 0, and what stands there.

The features of the maze (`engine.tabular.kernels.features`) are on or off, M of them on at a time
and each worth 1/√M. An environment may bring its own instead, which are any numbers.

O observations, F features, M of them not 0 (at most), N agents.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.gymnasium_table import read_features
from engine.env.maze import Maze
from engine.tabular.kernels import features as described
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.features import Kind, even_weight

AnyFeatures = Annotated[
    Literal[Kind, "own"],
    Meta(
        description="what a value is a sum over: 'cell' one weight for each observation (a table); "
        "'row+column'; 'tiles' overlapping blocks of cells (coarse coding); 'distance' the offset "
        "to the prize and the four neighbours; 'surroundings' only its direction and the "
        "neighbours; 'own' the features that an environment of Gymnasium's brings itself, as "
        "Baird's counterexample does"
    ),
]


class FeatureVectors(NamedTuple):
    """x(s) of every observation, and the weights that learning starts from."""

    places: Array  # [O,M] int32: the features that are not 0
    worth: Array  # [O,M] float64: what they are
    first: Array  # [F] float64


@kernel
def value_of(places: Array, worth: Array, w: Array) -> float:
    """wᵀx: `places` and `worth` [M] of x, `w` [F]."""
    total = 0.0
    for m in range(places.size):
        total += w[places[m]] * worth[m]
    return total


@kernel
def add(places: Array, worth: Array, w: Array, change: float) -> None:
    """w ← w + change · x."""
    for m in range(places.size):
        w[places[m]] += change * worth[m]


@kernel
def square(worth: Array) -> float:
    """‖x‖² from its `worth` [M]."""
    total = 0.0
    for m in range(worth.size):
        total += worth[m] * worth[m]
    return total


def make_vectors(settings: Any, size: Size) -> FeatureVectors:
    """The vectors of a run's observations; `settings` has `features` and `initial_value`."""
    if settings.features == "own":
        return _own(size.mazes[0])
    found = described.describe(settings, size.mazes, size.observations)
    return FeatureVectors(
        places=found.active,
        worth=np.full(found.active.shape, found.scale),
        first=np.full(found.n_features, even_weight(float(settings.initial_value), found)),
    )


def _own(maze: Maze) -> FeatureVectors:
    """Those an environment brings. Raises UserError where it brings none."""
    if maze.gymnasium is None:
        raise UserError(
            "algorithm.features is 'own', and this maze brings no features itself; use 'cell', "
            "'row+column', 'tiles', 'distance' or 'surroundings', or maze.gymnasium = "
            "'BairdCounterexample-v0'."
        )
    x, first = read_features(maze.gymnasium, maze.kwargs)
    order = np.argsort(x == 0.0, axis=1, kind="stable")  # those that are not 0 come first
    most = max(int((x != 0.0).sum(axis=1).max()), 1)
    places = order[:, :most].astype(np.int32)
    return FeatureVectors(places, np.take_along_axis(x, places.astype(np.int64), axis=1), first)


def check_vectors(preset: Preset) -> None:
    """Raise UserError where the features cannot be told from what the agent sees."""
    settings: Any = preset.algorithm
    if settings.features != "own":
        described.check(preset)
        return
    _own(build_mazes(preset.maze)[0][1])
    if settings.initial_value:
        raise UserError(
            f"algorithm.initial_value is {settings.initial_value:g} beside algorithm.features = "
            "'own', where the environment says which weights to start from; remove it."
        )


def matrix(places: Array, worth: Array, n_features: int) -> Array:
    """X [O,F] of `places` and `worth` [O,M]."""
    x = np.zeros((len(places), n_features))
    np.add.at(x, (np.arange(len(places))[:, None], places), worth)
    return x


def values_of(places: Array, worth: Array, weights: Array) -> Array:
    """wᵀx of every observation [N,O] from weights [N,F], added up in the kernels' order."""
    total = np.zeros((len(weights), len(places)))
    for m in range(places.shape[1]):
        total += weights[:, places[:, m]] * worth[:, m]
    return total
