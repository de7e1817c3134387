"""Runs of a language model that is asked for a move in every cell."""

from __future__ import annotations

from tui.kinds.llm import LlmKind


class CellsKind(LlmKind):
    """Action policies: π(·|s) is the model's distribution over the action words."""

    writes = "asked for a move in every cell"
    asks_every_cell = True
