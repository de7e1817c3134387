"""Settings of a preset that can have an effect: the forms show no others."""

from __future__ import annotations

from engine.algorithms.registry import algorithm_of
from engine.config.preset import Preset
from engine.presets import applicability

FIXED = frozenset({"maze.map", "maze.gymnasium", "maze.success", "maze.size"})
"""Settings that a preset is about: with another value it would be another preset."""
RANDOM_MAPS = frozenset({"maze.hole_density", "maze.seed"})
"""Settings that count only where maps are drawn at random."""


def applies(preset: Preset, key: str) -> bool:
    """Whether changing a setting can have an effect, and is not what the preset is about."""
    return _applies_to_maze(preset, key) and applicability.applies(
        preset, algorithm_of(preset), key
    )


def _applies_to_maze(preset: Preset, key: str) -> bool:
    if not key.startswith("maze."):
        return True
    if key in FIXED:
        return False
    if preset.maze.gymnasium is not None:
        return key == "maze.max_steps"
    return preset.maze.size is not None or key not in RANDOM_MAPS
