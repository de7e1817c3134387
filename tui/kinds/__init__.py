"""Kinds of run: what is counted, drawn, offered and asked for in each.

`of` is the one place that asks what kind of run a preset describes; everybody else reads the
attributes of the `Kind` it gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from tui.kinds.base import Kind


def of(preset: Preset) -> Kind:
    """The kind of run that a preset describes."""
    # Imported here for start-up time: the home screen opens without the engine.
    from tui.kinds.by_preset import kind_of

    return kind_of(preset)
