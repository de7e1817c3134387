"""What the screens ask of the app that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.presets import Preset


class Host(Protocol):
    """The app, as its screens see it."""

    def start_run(self, preset: Preset, name: str) -> object:
        """Start a run of a preset and show it; mistakes are shown as notifications."""

    def open_run(self, path: Path) -> object:
        """Show the run in this folder."""
