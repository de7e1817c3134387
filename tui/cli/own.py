"""Saying that code of the user's own was loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.cli.output import complain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.config.preset import Preset


def say_loaded(presets: Iterable[Preset]) -> None:
    """One line on stderr for each file of the user's own that these presets were loaded with."""
    # start-up time
    from engine.algorithms.registry import algorithm_of

    files = [file for preset in presets if (file := algorithm_of(preset).custom_file)]
    for path in dict.fromkeys(file.path for file in files):
        complain(f"Loaded your own algorithm from {path} (trusted code).")
