"""The panels of the trainer, in their order. A new panel is a widget in its own file, and a row."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from textual.widget import Widget

from tui.features.trainer.loop_figure import LoopFigure
from tui.features.trainer.run_glossary import RunGlossary
from tui.log.trajectory_log import TrajectoryLog
from tui.maze.maze_grid import MazeGrid
from tui.maze.oracle_map import Mazes
from tui.model.snapshot import Snapshot
from tui.watching.curves import CurvesPanel


@runtime_checkable
class ShowsMoments(Protocol):
    """A widget that can draw a moment of a run."""

    def show(self, snapshot: Snapshot) -> None:
        """Draw this moment."""


class Panel(NamedTuple):
    """One panel of the trainer."""

    name: str
    """The id on the screen."""
    title: str
    """The word on its border, and before the colon of a glossary entry's `where`."""
    parts: tuple[type[Widget], ...]
    """Widgets from top to bottom. Each `ShowsMoments`."""
    focus: type[Widget]
    """The widget that takes the focus."""


PANELS = (
    Panel("maze", "Ice Maze", (LoopFigure, Mazes), MazeGrid),
    Panel("log", "Trajectory log", (TrajectoryLog,), TrajectoryLog),
    Panel("curves", "Curves", (CurvesPanel,), CurvesPanel),
    Panel("glossary", "Glossary", (RunGlossary,), RunGlossary),
)
BY_NAME = {panel.name: panel for panel in PANELS}
NAMES = tuple(BY_NAME)
