"""Settings of a preset that can have an effect: the forms show no others."""

from __future__ import annotations

from engine.algorithms.registry import algorithm_of
from engine.config.preset import LlmPreset, Preset

NEVER = frozenset(
    {
        "run.agents",  # there is one model
        "budget.env_steps",  # its clock is the update
        "budget.episodes",
        "maze.wind",
        "maze.observation",
        "maze.test.per_update",  # of the training mazes only
        "model.policy",  # what the preset is about
    }
)
ACTION_ONLY = frozenset(
    {
        "algorithm.uniform",
        "algorithm.random_starts",
        "algorithm.credit",
        "algorithm.kl_reference",  # the map of a route policy never changes
        "maze.revisit",
    }
)
PLAN_ONLY = frozenset({"model.max_tokens", "model.words", "warmup.routes"})


NOT_IN_TEXT = (
    "maze.", "reward.", "warmup.", "model.words", "model.observation_text", "budget.success_rate",
    "algorithm.uniform", "algorithm.random_starts", "algorithm.credit", "algorithm.gamma",
    "algorithm.kl_reference", "algorithm.decay",
)  # fmt: skip
"""Settings that free text has no use for, by how their keys begin."""


FIXED = frozenset({"maze.map", "maze.gymnasium", "maze.success", "maze.size"})
"""Settings that a preset is about: with another value it would be another preset."""
RANDOM_MAPS = frozenset({"maze.hole_density", "maze.seed"})
"""Settings that count only where maps are drawn at random."""
AGENTS_ONLY = frozenset({"run.agents", "budget.env_steps", "budget.episodes"})
"""Settings that count the agents of a run, or what they do: a planner has none."""


def applies(preset: Preset, key: str) -> bool:
    """Whether changing a setting can have an effect, and is not what the preset is about."""
    if isinstance(preset, LlmPreset):
        return _applies_to_llm(preset, key) and _applies_to_maze(preset, key)
    plans = algorithm_of(preset).family == "planning"
    return _applies_to_maze(preset, key) and not (plans and key in AGENTS_ONLY)


def _applies_to_maze(preset: Preset, key: str) -> bool:
    if not key.startswith("maze."):
        return True
    if key in FIXED:
        return False
    if preset.maze.gymnasium is not None:
        return key == "maze.max_steps"
    return preset.maze.size is not None or key not in RANDOM_MAPS


def _applies_to_llm(preset: LlmPreset, key: str) -> bool:
    if key in NEVER:
        return False
    if preset.text is not None:
        return not key.startswith(NOT_IN_TEXT)
    if key == "maze.revisit" and preset.maze.train is not None:
        return False
    if preset.model.policy == "action":
        return key not in PLAN_ONLY and not key.startswith("reward.")
    return key not in ACTION_ONLY and not key.startswith("algorithm.uniform.")
