"""What the screens ask of the app that holds them: above all to open what another feature shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from textual.dom import DOMNode

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.env.maze import Maze
    from engine.runs.past.fork import ForkPoint
    from tui.library.lab_shelf import LabCard
    from tui.model.snapshot import Snapshot
    from tui.model.source import GroupPage, LoadsGroups


class Host(Protocol):
    """The app, as its screens see it. Features know it, and not each other."""

    def start_run(self, preset: Preset, name: str) -> object:
        """Start a run of a preset and show it; mistakes are shown as notifications."""

    def fork_run(self, point: ForkPoint, preset: Preset) -> object:
        """Go on from a checkpoint as a new run of this preset, and show it."""

    def open_run(self, path: Path) -> object:
        """Show the run in this folder."""

    def export_run(self, path: Path) -> object:
        """Ask in which format the run in this folder is written, and where to; then write it."""

    def start_lab(self, card: LabCard) -> object:
        """Start the runs of a challenge or page together, and show them with its lesson."""

    def compare_runs(self, runs: Sequence[Path], card: LabCard | None) -> object:
        """Show runs side by side, with the lesson of a challenge or page if there is one."""

    def edit_map(
        self, snapshot: Snapshot, maze: Maze, then: Callable[[tuple[str, ...] | None], None]
    ) -> object:
        """Open the map editor on a maze of a run; `then` gets the rows to be sent, or None."""

    def show_groups(self, load: LoadsGroups, page: GroupPage, snapshot: Snapshot) -> object:
        """Show the groups that an update compared; `load` reads those of other updates."""


def host_of(node: DOMNode) -> Host:
    """The app that holds a screen or widget."""
    return cast(Host, node.app)
