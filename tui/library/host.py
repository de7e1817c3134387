"""What the screens ask of the app that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from tui.library.lab_shelf import LabCard


class Host(Protocol):
    """The app, as its screens see it."""

    def start_run(self, preset: Preset, name: str) -> object:
        """Start a run of a preset and show it; mistakes are shown as notifications."""

    def open_run(self, path: Path) -> object:
        """Show the run in this folder."""

    def start_lab(self, card: LabCard) -> object:
        """Start the runs of a challenge or page together, and show them with its lesson."""

    def compare_runs(self, runs: Sequence[Path], card: LabCard | None) -> object:
        """Show runs side by side, with the lesson of a challenge or page if there is one."""
