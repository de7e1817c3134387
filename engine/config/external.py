"""What is known of a run that Ice Maze did not start: the `[external]` table, and `[algorithm]`.

It stands only in the `preset.toml` of such a run's folder, which another trainer has described. A
preset with it can be read, never trained. Plain data: nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from engine.config.llm import GroupSettings

Line = Annotated[str, Meta(max_length=400)]
"""A line of somebody else's text. It may hold anything: who shows it cleans it."""
Setting = int | float | str | bool


class ExternalSettings(GroupSettings, frozen=True, kw_only=True, tag="external"):
    """The algorithm of another trainer. What is inherited are defaults that nobody has told: no
    screen shows them."""

    title: Annotated[str, Meta(min_length=1, max_length=80, description="its name")]


class External(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[external]` table: who trains, and where it is read from."""

    trainer: Line
    """`TRL 1.16.0 GRPOTrainer`."""
    source: Annotated[str, Meta(max_length=4096)] = ""
    """The file that is followed; empty where the trainer writes the run itself."""
    unit: Annotated[str, Meta(min_length=1, max_length=20)] = "update"
    """What a step is, in a word."""
    settings: dict[Annotated[str, Meta(max_length=100)], Setting] = {}
    """The trainer's settings by its own names, as far as it has told them."""
