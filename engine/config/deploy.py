"""Where a policy is used after training: the `[deploy]` table of a preset.

The rules there may differ from those it was trained under. How much that costs, the sim-to-real
gap, is computed exactly beside the figures of training.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.core.errors import UserError
from engine.env.build_maze import edit_map
from engine.env.maze import Maze
from engine.env.maze_checks import check_rewards
from engine.env.settings import Rewards, Rule, Shield


class Deploy(Rule, frozen=True, kw_only=True):
    """The rules the policy meets when it is used; what is not given is as in `[maze]`."""

    map: Annotated[
        str | None, Meta(description="the map there, of the same size as in training")
    ] = None
    slip: (
        Annotated[
            float,
            Meta(ge=0.0, le=1.0, description="probability that the ice takes you sideways"),
        ]
        | None
    ) = None
    wind: Annotated[
        list[int] | None,
        Meta(description="cells pushed upward when leaving each column, one number a column"),
    ] = None
    fall: Annotated[
        Literal["end", "restart"] | None,
        Meta(description="a hole ends the episode, or sends you back to a start cell"),
    ] = None
    rewards: Annotated[
        Rewards | None,
        Meta(description="what is paid there, all of it: what is not given has its default"),
    ] = None
    max_steps: (
        Annotated[int, Meta(ge=1, le=100_000, description="the time limit of an episode there")]
        | None
    ) = None
    shield: Annotated[
        Shield | Literal["off"] | None,
        Meta(description="the shield there; 'off' takes away the one there was in training"),
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """The rules that are set, by name."""
        return {
            key: value for key, value in msgspec.structs.asdict(self).items() if value is not None
        }


def deployed_maze(maze: Maze, deploy: Deploy) -> Maze:
    """The maze a policy trained on `maze` is used in. Raises UserError, naming the key."""
    given = deploy.given
    rows = given.pop("map", None)
    if maze.gymnasium is not None:
        for key in ("map", "slip", "wind", "fall", "rewards"):
            if (key == "map" and rows is not None) or key in given:
                raise UserError(
                    f"deploy.{key} cannot be set with maze.gymnasium: {maze.gymnasium} brings its "
                    f"own rules; remove deploy.{key}."
                )
    if given.get("shield") == "off":
        given["shield"] = None
    if deploy.rewards is not None:
        check_rewards(deploy.rewards, "deploy.rewards")
    if "wind" in given:
        given["wind"] = tuple(given["wind"])
        if given["wind"] and len(given["wind"]) != maze.shape[1]:
            raise UserError(
                f"deploy.wind has {len(given['wind'])} numbers; the map has {maze.shape[1]} "
                "columns, and each needs one."
            )
    changed = msgspec.structs.replace(maze, shaping=None, **given)
    if maze.gymnasium is not None:
        return changed
    try:
        return edit_map(changed, maze.rows if rows is None else rows.strip().splitlines())
    except UserError as error:
        raise UserError(str(error).replace("maze.map", "deploy.map", 1)) from error
