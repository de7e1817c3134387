"""Runs of a language model that writes a whole route at once."""

from __future__ import annotations

from typing import ClassVar

from tui.kinds.columns import (
    ACTION,
    ADVANTAGE,
    ARROW,
    CHANCE,
    REWARD,
    STATE,
    TO_GO,
    Layouts,
    T,
)
from tui.kinds.llm import LlmKind


class RoutesKind(LlmKind):
    """Route policies: one completion is all moves of an episode."""

    writes = "writes the whole route"
    columns: ClassVar[Layouts] = (
        (T, STATE, ACTION, CHANCE, REWARD, TO_GO, ADVANTAGE),
        (T, STATE, ARROW, CHANCE, REWARD, ADVANTAGE),
    )
    writes_routes = True
