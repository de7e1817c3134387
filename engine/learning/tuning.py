"""Changing a setting while the run goes on: which may change, and what a new value must be."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.config.algorithm import TUNABLE, AlgorithmSettings
from engine.core.errors import UserError, nearest


def tunable(settings: type[AlgorithmSettings]) -> list[str]:
    """The names of the `[algorithm]` settings that may change while running."""
    properties = msgspec.json.schema(settings)["$defs"][settings.__name__]["properties"]
    return [name for name, node in properties.items() if TUNABLE.items() <= node.items()]


def tuned_settings(
    settings: AlgorithmSettings, key: str, value: Any
) -> tuple[AlgorithmSettings, Any]:
    """The settings with `algorithm.<name>` (or `algorithm.<name>.<field>`) changed to `value`.

    Returns them with the value of the changed setting as plain data. Raises UserError.
    """
    table, _, path = key.partition(".")
    name, _, field = path.partition(".")
    names = tunable(type(settings))
    if table != "algorithm" or name not in names:
        valid = [f"algorithm.{name}" for name in names]
        raise UserError(f"{key} cannot change while the run goes on.{nearest(key, valid)}")
    data = msgspec.to_builtins(settings)
    if field:
        if not isinstance(data[name], dict):
            raise UserError(f"{key}: {name} is a single value; tune algorithm.{name} itself.")
        data[name][field] = value
    else:
        data[name] = value
    try:
        changed = msgspec.convert(data, type(settings), strict=True)
    except msgspec.ValidationError as error:
        raise UserError(f"{key}: found {value!r}; {error}.") from error
    return changed, msgspec.to_builtins(changed)[name]
