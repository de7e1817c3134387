"""From a preset to the learner that carries it out."""

from __future__ import annotations

from engine import presets
from engine.learner import Learner


def make_learner(preset: presets.Preset) -> Learner:
    """The learner of a preset, at step 0, seeded by `run.seed`."""
    return presets.algorithm_of(preset).make_learner(preset)
