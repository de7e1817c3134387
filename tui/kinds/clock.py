"""Clocks of runs: environment steps, sweeps of a planner, or updates of a language model."""

from __future__ import annotations

from typing import NamedTuple


class Clock(NamedTuple):
    """The unit of every `step` a run records. Several moves may belong to one tick of it."""

    unit: str
    """One of it, in a word."""
    slug: str
    """The unit's glossary entry."""
    axis: str
    """The label of a curve's x axis."""
    paces: tuple[float, ...]
    """Units per second that the keys for the pace go through; the last is as fast as it goes."""


FAST = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, float("inf"))
SLOW = (0.1, 0.2, 0.5, 1, 2, 5, float("inf"))
"""Paces of a language model: one of its updates takes seconds."""

STEPS = Clock("step", "environment-step", "steps per agent", FAST)
SWEEPS = Clock("sweep", "sweep", "sweeps", FAST)
UPDATES = Clock("update", "update", "updates", SLOW)
