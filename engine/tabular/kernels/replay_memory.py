"""The memory of experience replay: the last moves of each agent, oldest replaced first (Lin 1992).

Tables of a method that remembers have `kept` [N] int64 (moves remembered so far), `moves` [N,R,4]
int32 (s, a, s′, whether the episode ended there) and `rewards` [N,R] float64. N agents, R moves.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.config.preset import Preset
from engine.core.compiling import kernel
from engine.core.errors import UserError

MOST_REMEMBERED = 4_000_000
"""Moves that all agents together may remember: about 100 MB, saved with every checkpoint."""


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Experience replay: remembered moves are learned from again."""

    size: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="how many of its last moves each agent remembers"),
    ] = 10_000
    batch: Annotated[
        int,
        Meta(ge=1, le=1000, description="remembered moves learned from after every real one"),
    ] = 8


def check_memory(replay: Replay, preset: Preset) -> None:
    """Raise UserError if all agents together would remember more than is sane."""
    remembered = replay.size * preset.run.agents
    if remembered > MOST_REMEMBERED:
        raise UserError(
            f"algorithm.replay.size × run.agents is {remembered:,}; all agents together "
            f"can remember {MOST_REMEMBERED:,} moves, so lower one of the two."
        )


@kernel
def keep(tables: Any, i: int, s: int, a: int, r: float, s2: int, ends: bool) -> None:
    """Remember a move in place of the oldest."""
    k = tables.kept[i] % tables.rewards.shape[1]
    move_ = tables.moves[i, k]
    move_[0], move_[1], move_[2], move_[3] = s, a, s2, ends
    tables.rewards[i, k] = r
    tables.kept[i] += 1
