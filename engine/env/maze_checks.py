"""Checks of a maze's rules, made before the maze is built."""

from __future__ import annotations

import msgspec

from engine.core.errors import UserError
from engine.env.maze import DEFAULT_MAX_STEPS, MAX_SIDE, Maze, starts_without_a_way
from engine.env.settings import MAX_REWARD, MazeSettings, Rewards


def check_together(settings: MazeSettings) -> None:
    """Raise UserError for rules in `[maze]` that exclude each other."""
    randomize = settings.randomize
    if randomize is not None:
        low, high = randomize.slip
        if low >= high:
            raise UserError(
                f"maze.randomize.slip is [{low:g}, {high:g}]; expected the smaller slip first."
            )
        for key in ("slip", "changes", "gymnasium", "train"):
            if getattr(settings, key) not in (None, []):
                why = "it says which slips there are" if key == "slip" else "it is for one map"
                raise UserError(
                    f"maze.{key} cannot be set with maze.randomize ({why}); remove one of them."
                )
    if settings.revisit and (randomize is not None or settings.train is not None):
        key = "maze.train" if randomize is None else "maze.randomize"
        raise UserError(
            f"maze.revisit is for maps that change: with {key} each episode is in a world drawn "
            "from all anyway; remove maze.revisit."
        )


def is_solvable(rules: Maze, rows: tuple[str, ...]) -> bool:
    """Whether every start on the map has a way to a goal under the rules."""
    return not starts_without_a_way(msgspec.structs.replace(rules, rows=rows)).size


def rules_of(settings: MazeSettings) -> Maze:
    """The rules, without a map yet. Raises UserError for rewards that cannot be computed with."""
    rules = Maze(
        slip=settings.slip or 0.0,
        wind=tuple(settings.wind),
        fall=settings.fall or "end",
        rewards=settings.rewards or Rewards(),
        max_steps=settings.max_steps or DEFAULT_MAX_STEPS,
        observation=settings.observation,
        memory=settings.memory,
        shaping=settings.shaping,
        shield=settings.shield,
    )
    check_rewards(rules.rewards, "maze.rewards")
    return rules


def check_rewards(rewards: Rewards, key: str) -> None:
    """Raise UserError for a reward that is no number, or with which figures would overflow."""
    for name, reward in msgspec.structs.asdict(rewards).items():
        if not -MAX_REWARD <= reward <= MAX_REWARD:
            raise UserError(
                f"{key}.{name} is {reward:g}; expected a number from {-MAX_REWARD:g} to "
                f"{MAX_REWARD:g}."
            )


def checked_size(size: int | tuple[int, int] | None, key: str) -> tuple[int, int]:
    """(rows, columns). Raises UserError, naming the key, for sizes no map may have."""
    height, width = size if isinstance(size, tuple) else (size or 0, size or 0)
    if not (2 <= height <= MAX_SIDE and 2 <= width <= MAX_SIDE):
        found = list(size) if isinstance(size, tuple) else size
        raise UserError(f"{key} is {found}; expected 2 to {MAX_SIDE} rows and columns.")
    return height, width
