"""What a run counts: environment steps, sweeps of a planner, or updates of a language model."""

from __future__ import annotations

from typing import NamedTuple

from engine.algorithms.registry import algorithm_of
from engine.config.preset import LlmPreset, Preset


class Clock(NamedTuple):
    """The unit of every `step` a run records. Several moves may belong to one tick of it."""

    unit: str
    """One of it, in a word."""
    slug: str
    """Its glossary entry."""
    axis: str
    """What a curve's x axis counts."""
    paces: tuple[float, ...]
    """How many a second the keys for the pace go through; the last one is as fast as it goes."""

    @property
    def units(self) -> str:
        """The plural."""
        return self.unit + "s"


FAST = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, float("inf"))
SLOW = (0.1, 0.2, 0.5, 1, 2, 5, float("inf"))
"""An update of a language model takes seconds."""

STEPS = Clock("step", "environment-step", "steps per agent", FAST)
SWEEPS = Clock("sweep", "sweep", "sweeps", FAST)
UPDATES = Clock("update", "update", "updates", SLOW)


def trains_llm(preset: Preset) -> bool:
    """Whether the preset trains a language model."""
    return isinstance(preset, LlmPreset)


def trains_text(preset: Preset) -> bool:
    """Whether the model writes free text: then there is no maze."""
    return isinstance(preset, LlmPreset) and preset.text is not None


def clock_of(preset: Preset) -> Clock:
    """What the runs of a preset count."""
    if trains_llm(preset):
        return UPDATES
    return SWEEPS if algorithm_of(preset).family == "planning" else STEPS
