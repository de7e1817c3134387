"""Settings that decide which other settings there are: the algorithm, and how it explores.

Changing one gives another preset, so a form that offers them starts over with that one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine import presets
from engine.algorithms.registry import algorithm_of
from engine.config.algorithm import EpsilonGreedy, Softmax, UpperConfidenceBound
from engine.config.preset import Preset, algorithm_name
from tui import kinds
from tui.forms.setting_spec import Setting, without_none

ALGORITHM, EXPLORATION = "algorithm.name", "algorithm.exploration.kind"
KEYS = (ALGORITHM, EXPLORATION)
KINDS: dict[str, dict[str, Any]] = {
    "epsilon-greedy": {"start": 1.0, "end": 0.05},
    "softmax": {"start": 1.0, "end": 0.02},
    "ucb": {"c": 1.0},
}
"""Every kind of exploration, with values that try everything first and settle down later."""
EXPLORERS = (EpsilonGreedy, Softmax, UpperConfidenceBound)


def switches(preset: Preset) -> list[Setting]:
    """What can be switched in this preset: nothing in one with the user's own algorithm."""
    found = []
    if algorithm_of(preset).custom_file is None:
        found.append(
            Setting(
                key=ALGORITHM,
                meaning="another method on the same maze; what both have in common is kept",
                limits="",
                value=algorithm_name(preset),
                choices=kinds.of(preset).other_algorithms(),
                name="algorithm",
            )
        )
    exploration = getattr(preset.algorithm, "exploration", None)
    if isinstance(exploration, EXPLORERS):
        found.append(
            Setting(
                key=EXPLORATION,
                meaning="how it tries what does not look best: at random, better-looking actions "
                "more often, or what it knows least about",
                limits="",
                value=str(exploration.__struct_config__.tag),
                choices=tuple(KINDS),
                name="exploration",
            )
        )
    return found


def switched(preset: Preset, key: str, value: str) -> Preset:
    """The preset with another algorithm or another kind of exploration. Raises UserError."""
    if key == ALGORITHM:
        return with_algorithm(preset, value)
    return with_exploration(preset, value)


def with_algorithm(preset: Preset, name: str) -> Preset:
    """The same maze and budget for another algorithm of the shelf. Raises UserError.

    Settings that both have keep their values; what the preset claims about the outcome goes.
    """
    algorithm = kinds.of(preset).registry.get(name)
    data = msgspec.to_builtins(preset)
    fields = algorithm.settings.__struct_fields__
    kept = {
        key: value
        for key, value in data["algorithm"].items()
        if key in fields and value is not None
    }
    if "features" in fields and (preset.maze.gymnasium is not None or preset.maze.memory > 1):
        kept.setdefault("features", "cell")  # no others can be told from what the agent sees
    before = f" ({algorithm_of(preset).title})"
    data["title"] = f"{preset.title.removesuffix(before)} ({algorithm.title})"
    data["algorithm"] = {**kept, "name": name}
    data["expect"] = []
    return presets.convert(without_none(data), "form")


def with_exploration(preset: Preset, kind: str) -> Preset:
    """The preset with another kind of exploration, which takes as many steps. Raises UserError."""
    data = msgspec.to_builtins(preset)
    values = dict(KINDS[kind])
    if "start" in values:
        before = getattr(preset.algorithm, "exploration", None)
        known = getattr(before, "steps", 1)
        values["steps"] = known if known > 1 else max((preset.budget.env_steps or 2000) // 2, 1)
    data["algorithm"]["exploration"] = {"kind": kind, **values}
    data["expect"] = []
    return presets.convert(without_none(data), "form", like=preset)
