"""How steps-to-solve grow with the maze: the same preset at several sizes, and a fitted power law.

Sizes are counted, not taken from the settings: a maze of 8×8 with a key has 64 cells, twice as many
states, and a table needs four numbers for each observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from engine.config.preset import Preset
from engine.core.arrays import Floats
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.experiments.intervals import Ends, Exponent, Group, exponent, of_group, slope
from engine.experiments.lab.challenge import Growth


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How large the first maze of a preset is."""

    cells: int
    states: int
    table: int
    """Observations × actions: how many numbers a table of action values holds."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One size of a growth: the varied value, the maze it makes, and its agents' figure."""

    value: float
    size: Size
    group: Group


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A growth as measured: its points, and the exponents of the figure and of the table's size
    against the same axis."""

    points: tuple[Point, ...]
    exponent: Exponent
    table_exponent: float


def measure_size(preset: Preset) -> Size:
    """Count the cells, states and table entries of a preset's first maze."""
    (_, maze), *_ = build_mazes(preset.maze)
    mdp = build_mdp(maze)
    rows, columns = maze.shape
    return Size(cells=rows * columns, states=mdp.n_states, table=mdp.n_observations * mdp.n_actions)


def override(growth: Growth, value: float) -> str:
    """The `--set` that makes one size of a growth."""
    return f"{growth.vary}={value}"


def fit(
    growth: Growth,
    sizes: Sequence[Size],
    figures: Sequence[Mapping[str, Floats]],
    ends: Sequence[Ends],
) -> Curve:
    """Fit what the runs of a growth came to.

    `sizes` and `figures` (of each agent [N], by name) stand in the order of `growth.values`; `ends`
    those of the figure at each size too. Raises KeyError when a run has no such figure.
    """
    groups = [np.asarray(run[growth.metric], float) for run in figures]
    along = [_along(growth, size, value) for size, value in zip(sizes, growth.values, strict=True)]
    points = tuple(
        Point(value=value, size=size, group=of_group(values, growth.measure, own))
        for value, size, values, own in zip(growth.values, sizes, groups, ends, strict=True)
    )
    tables = np.array([float(size.table) for size in sizes])
    return Curve(
        points=points,
        exponent=exponent(along, groups, growth.measure, ends),
        table_exponent=float(slope(along, tables)),
    )


def _along(growth: Growth, size: Size, value: float) -> float:
    known: dict[str, Any] = {"cells": size.cells, "states": size.states, "value": value}
    return float(known[growth.against])
