"""Runs whose agents learn action values and move by them."""

from __future__ import annotations

from tui.kinds.tabular import TabularKind


class ValueKind(TabularKind):
    """Q-learning, SARSA and their relatives: all as tables do, where no kind says otherwise."""
