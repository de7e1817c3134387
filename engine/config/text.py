"""What a preset says when a language model writes free text: the `[text]` table.

It stands in the place of `[maze]`: there is no maze, no move and no success, only completions and
somebody's opinion of them. Plain data, read by the screens too: nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.core.errors import UserError
from engine.env.settings import MazeSettings

Rule = Literal["shorter", "longer", "word"]
Prompt = Annotated[str, Meta(min_length=1, max_length=2000)]


class TextTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Free text that is paid for by preferences (RLHF)."""

    prompts: Annotated[
        list[Prompt],
        Meta(
            min_length=1,
            max_length=64,
            description="what the model is asked; several take turns, update by update",
        ),
    ]
    judge: Annotated[
        Literal["you", "rule"],
        Meta(
            description="who prefers: you, in the app (the run waits for your answers), or a rule "
            "that answers by itself"
        ),
    ] = "you"
    rule: Annotated[
        Rule,
        Meta(
            description="what a scripted judge prefers: the completion with fewer words, with "
            "more, or the one that has the word"
        ),
    ] = "shorter"
    word: Annotated[
        str, Meta(min_length=1, max_length=40, description='the word of rule = "word"')
    ] = "ice"
    pairs: Annotated[
        int, Meta(ge=1, le=64, description="pairs of completions shown each time you are asked")
    ] = 8
    every: Annotated[
        int, Meta(ge=1, description="updates between two times you are asked; 1 asks after each")
    ] = 6
    prior: Annotated[
        float,
        Meta(
            gt=0.0,
            le=100.0,
            description="how far apart two completions may be expected to be, in the reward "
            "model's units (1 is a preference of 73 %): the standard deviation of its L2 prior",
        ),
    ] = 2.0


NO_MAZE: dict[str, Any] = {"map": "SG", "max_steps": 1}
"""What stands for the maze inside a run of free text. It is in no file and on no screen."""


def without_maze(data: dict[str, Any]) -> dict[str, Any]:
    """A preset's data with `[text]` in the shape of those with a maze. Raises UserError for both
    tables."""
    maze = data.get("maze", NO_MAZE)
    defaults = msgspec.to_builtins(msgspec.convert(NO_MAZE, MazeSettings))
    fits = isinstance(maze, dict) and all(
        value is None or value == defaults.get(key) for key, value in maze.items()
    )
    if not fits:
        raise UserError(
            "maze: a preset has [maze] or [text], not both: free text is written in no maze; "
            "remove one of them."
        )
    return {**data, "maze": NO_MAZE}
