"""In which settings runs differ, from their frozen presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from engine.config.preset import Preset
from engine.env.maze import DEFAULT_MAX_STEPS
from engine.env.settings import Rewards
from tui.ui.text import clean

LEFT_OUT = ("title", "summary", "group", "expect", "run.pace")
"""Keys that change nothing about what a run does."""


HOLE_DENSITY = 0.2
"""Of a generated maze that does not say, see `engine.env.settings.MazeSettings`."""


class Difference(NamedTuple):
    """A key of the presets and what it is in each run, as JSON has it; None where it is not set."""

    key: str
    values: tuple[Any, ...]

    @property
    def told(self) -> tuple[str, ...]:
        """The values in words, clean; "-" for none."""
        return tuple(_told(value) for value in self.values)

    @property
    def label(self) -> str:
        """The key without the preset's table, for columns that are narrow."""
        table, _, key = self.key.partition(".")
        return table if key == "name" else key or table

    @property
    def name(self) -> str:
        """The key without its table."""
        return self.key.rpartition(".")[2]


def differences(presets: Sequence[Preset]) -> list[Difference]:
    """The keys in which the presets differ, in the order of the preset."""
    flat = [_flat(_effective(msgspec.to_builtins(preset))) for preset in presets]
    keys = dict.fromkeys(key for table in flat for key in table)
    found = []
    for key in keys:
        values = tuple(table.get(key) for table in flat)
        if key not in LEFT_OUT and any(value != values[0] for value in values[1:]):
            found.append(Difference(key, values))
    return found


def _effective(preset: dict[str, Any]) -> dict[str, Any]:
    """The preset with what holds where a key is not set, and without what then has no effect."""
    if "maze" in preset:
        preset["maze"] = _with_rules(preset["maze"])
    algorithm = preset["algorithm"]
    preset["algorithm"] = {key: _settled(value) for key, value in algorithm.items()}
    return preset


def _with_rules(maze: dict[str, Any]) -> dict[str, Any]:
    """The `[maze]` table with its defaults; those of Gymnasium are the environment's own."""
    if maze.get("gymnasium"):
        return maze
    rules: dict[str, Any] = {
        "rewards": msgspec.to_builtins(Rewards()),
        "max_steps": DEFAULT_MAX_STEPS,
        "fall": "end",
    }
    if not maze.get("randomize"):
        rules["slip"] = 0.0
    if maze.get("size"):
        rules |= {"hole_density": HOLE_DENSITY, "walls": 0.0, "seed": 0}
    return maze | {key: value for key, value in rules.items() if maze.get(key) is None}


def _settled(value: Any) -> Any:
    """A schedule that goes nowhere is its start; how long it takes for that says nothing."""
    if not isinstance(value, dict) or "start" not in value or "end" not in value:
        return value
    end = value["start"] if value["end"] is None else value["end"]
    if end != value["start"]:
        return value
    if "kind" not in value:
        return value["start"]
    kept = {key: each for key, each in value.items() if key not in ("steps", "shape")}
    return kept | {"end": end}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The table with dotted keys; a setting that may be a number or a schedule stays one value."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        schedule = isinstance(value, dict) and "start" in value and "kind" not in value
        if isinstance(value, dict) and value and not schedule:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _told(value: Any) -> str:
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, dict):
        return clean(" ".join(_told(part) for part in value.values()))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return clean(" ".join(map(_told, value)))
    return clean(str(value)).strip()
