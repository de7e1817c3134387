"""The optimal policy as a small map of arrows, to stand beside what a language model would do."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult, RenderResult
from textual.containers import Horizontal
from textual.content import Content
from textual.style import Style
from textual.widget import Widget

from engine.env.maze import RESTING
from engine.learning.by_cell import shown_states
from tui import kinds
from tui.maze.maze_grid import MazeGrid
from tui.maze.maze_layers import marks_of
from tui.model.snapshot import Snapshot
from tui.model.steps import arrow
from tui.ui import glyphs
from tui.ui.fact import Term

CELL = 3
"""Columns of a cell."""
LEAST = 13
"""Columns of the words above and below the map."""
ROOM = 8
"""Columns that each cell of the maze beside it must keep."""
TOLERANCE = 1e-9


class OracleMap(Widget):
    """One arrow a cell, with a mark where the model's likeliest move is an optimal one too.

    Shown for language models that are asked in every cell, if the maze beside it keeps its size.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"oracle--alike", "oracle--other", "oracle--muted"}
    DEFAULT_CSS = """
    OracleMap {
        display: none;
        height: 100%;
        padding: 1 0 0 1;
        & > .oracle--alike { color: $text-success; text-style: bold; }
        & > .oracle--other { color: $foreground; }
        & > .oracle--muted { color: $foreground 60%; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[Content] = []
        self._snapshot: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Draw this moment."""
        self._snapshot = snapshot
        self.fit()

    def fit(self) -> None:
        """Take room, or none, and draw."""
        snapshot, parent = self._snapshot, self.parent
        if snapshot is None or not isinstance(parent, Widget) or not parent.content_size.width:
            return
        columns = snapshot.world.maze.shape[1]
        width = max(CELL * columns, LEAST) + 1
        room = parent.content_size.width - width
        self.display = _is_asked(snapshot) and room >= ROOM * columns + 1
        if self.display:
            self.styles.width = width
            self._lines = self._drawn(snapshot)
            self.refresh()

    def terms(self) -> list[Term]:
        """What it shows."""
        return [Term("optimum π*", "optimal-policy")] if self.display else []

    def render(self) -> RenderResult:
        return Content("\n").join(self._lines)

    def _drawn(self, snapshot: Snapshot) -> list[Content]:
        alike_style = self.get_visual_style("oracle--alike")
        other_style = self.get_visual_style("oracle--other")
        muted = self.get_visual_style("oracle--muted")
        shapes, maze = glyphs.current(), snapshot.world.maze
        mark = "=" if shapes.ascii else "✓"
        rows, columns = maze.shape
        marks = marks_of(snapshot.episode_steps, snapshot.mdp, None, ())
        shown = shown_states(snapshot.mdp, snapshot.policy, marks.state)
        tiles = maze.tiles_with(int(snapshot.mdp.held[marks.state]))
        alike = known = 0
        lines = []
        for row in range(rows):
            cells = []
            for cell in range(row * columns, (row + 1) * columns):
                tile, state = str(tiles[cell]), int(shown[cell])
                if tile in RESTING or state < 0 or not snapshot.optimum.reachable[state]:
                    cells.append(Content.styled(f" {shapes.tiles[tile]} ", muted))
                    continue
                known += 1
                agrees = _agrees(snapshot, state)
                alike += agrees
                best = int(snapshot.optimum.policy[state].argmax())
                symbol = arrow(maze, best, shapes.double)
                look = alike_style if agrees else other_style
                cells.append(Content.styled(f" {symbol}{mark if agrees else ' '}", look))
            lines.append(Content("").join(cells))
        title = Style.from_meta({"term": "optimal-policy"})
        return [
            Content.styled(glyphs.plain("optimum π*"), title),
            *lines,
            Content.styled(f"{mark} model alike", muted),
            Content.styled(f"{alike} of {known} cells", muted),
        ]


class Mazes(Horizontal):
    """The maze of a run, and the oracle beside it."""

    DEFAULT_CSS = """
    Mazes { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    def compose(self) -> ComposeResult:
        yield MazeGrid()
        yield OracleMap()

    def show(self, snapshot: Snapshot) -> None:
        """Draw this moment; the first with the layer of what the run learns."""
        if not self._begun:
            self._begun = True
            self.query_one(MazeGrid).layer_number = kinds.of(snapshot.preset).first_layer
        self.query_one(OracleMap).show(snapshot)  # first, because it may take room from the maze
        self.query_one(MazeGrid).show(snapshot)

    def on_resize(self) -> None:
        """More or less room."""
        self.query_one(OracleMap).fit()


def _is_asked(snapshot: Snapshot) -> bool:
    asked = kinds.of(snapshot.preset).asks_every_cell
    return asked and snapshot.policy is not None and bool(snapshot.world.maze.rows)


def _agrees(snapshot: Snapshot, state: int) -> bool:
    """Whether the model's likeliest move in a state is one of the optimal ones."""
    policy = snapshot.policy
    assert policy is not None
    likeliest = int(policy.target[snapshot.mdp.observation[state]].argmax())
    return bool(snapshot.optimum.policy[state, likeliest] > TOLERANCE)
