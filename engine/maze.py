"""Maps and the rules of the ice.

A map is rows of characters: ``S`` start, ``F`` or ``.`` ice, ``H`` hole, ``G`` goal (the prize),
``#`` wall, ``B`` bonus tile. Cells are numbered row-major; actions are 0 left, 1 down, 2 right,
3 up (the order of Gymnasium's FrozenLake).

`MazeSettings` is the ``[maze]`` table of a preset, as written. `Maze` is one concrete maze: a map
and the rules that hold on it. `build_mazes` turns the first into a list of the second.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

LEFT, DOWN, RIGHT, UP = range(4)
ACTION_NAMES = ("left", "down", "right", "up")
ACTION_ARROWS = ("←", "↓", "→", "↑")

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


class MazeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[maze]` table: one of `map`, `size` (a generated maze) or `gymnasium`, and the rules."""

    map: Annotated[
        str | None,
        Meta(description="rows of S start, F or . ice, H hole, G goal, # wall, B bonus tile"),
    ] = None
    size: Annotated[
        int | tuple[int, int] | None,
        Meta(description="generate a solvable maze of this size: N, or [rows, columns], 2 to 64"),
    ] = None
    hole_density: Annotated[
        float | None,
        Meta(ge=0.0, le=0.9, description="share of holes in a generated maze (default 0.2)"),
    ] = None
    seed: Annotated[
        int | None, Meta(ge=0, description="seed of the generated maze (default 0)")
    ] = None
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
    slip: Annotated[
        float | None,
        Meta(
            ge=0.0,
            le=1.0,
            description="probability that the ice takes you sideways, half to each side "
            "(FrozenLake's slippery ice: 0.6666666666666666)",
        ),
    ] = None
    wind: Annotated[
        list[int],
        Meta(description="cells pushed upward when leaving each column, one number a column"),
    ] = []
    fall: Annotated[
        Literal["end", "restart"] | None,
        Meta(description="a hole ends the episode, or sends you back to a start cell"),
    ] = None
    rewards: Annotated[Rewards | None, Meta(description="what the environment pays")] = None
    max_steps: Annotated[
        int | None,
        Meta(
            ge=1,
            le=100_000,
            description="an episode is truncated (not terminated) after this many steps "
            "(default 100, or the Gymnasium env's own limit)",
        ),
    ] = None
    observation: Annotated[
        Literal["cell", "neighbourhood"],
        Meta(description="what the agent sees: its cell, or only its four neighbours"),
    ] = "cell"
    changes: Annotated[
        list[MapChange], Meta(description="maps that replace the first one as the run goes on")
    ] = []
