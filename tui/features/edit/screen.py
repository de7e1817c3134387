"""The map editor: change the maze of a live run, see V* of the new map, send it to the worker."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar

import numpy as np
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from engine.core.errors import UserError
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.exact.solve import Solution, optimal_path, solve
from engine.learning.events import World
from tui.features.edit.keys import KEYS
from tui.features.edit.map_draft import MapDraft, in_words
from tui.maze.maze_grid import MazeGrid
from tui.maze.maze_layers import Marks
from tui.model.snapshot import Snapshot
from tui.ui import glyphs
from tui.ui.choice_bar import ChoiceBar
from tui.ui.key_bar import KeyBar
from tui.ui.text import clean, number

SMALL = 400
"""Up to so many states V* is there before the key is up again; larger maps solve on a thread."""


class MapGrid(MazeGrid):
    """The maze without an agent: it would stand on the start and hide it."""

    def _marks(self, snapshot: Snapshot) -> Marks:
        return replace(super()._marks(snapshot), agent=-1, state=-1)


class EditScreen(Screen[tuple[str, ...] | None]):
    """A map under a cursor. Gives the rows to be sent, or None; the run goes on meanwhile."""

    DEFAULT_CSS = """
    EditScreen {
        & #told { height: auto; min-height: 2; max-height: 4; padding: 0 1; background: $panel; }
        & #told.-wrong { color: $text-error; }
        & #tiles { padding: 0 1; }
        & MazeGrid { padding: 0 1; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]

    def __init__(self, snapshot: Snapshot, maze: Maze) -> None:
        """`snapshot` is the run as it is; the map to begin with is its own, or one just sent."""
        super().__init__()
        self.base = replace(snapshot, policy=None, steps=(), episodes=(), evaluation=None)
        self.draft = MapDraft(maze)
        self.before = _value_at_start(snapshot.mdp, snapshot.optimum)
        self.now: float | None = None
        """V* at the start of the map as edited; None while it is unknown."""
        self.problem = ""
        """What the rules forbid about the map as it is, in a sentence."""
        self._cell = int(np.argmax(snapshot.mdp.start)) % snapshot.mdp.n_cells

    # ------------------------------------------------------------ drawing

    def compose(self) -> ComposeResult:
        yield Static(id="told", markup=False)
        yield ChoiceBar(*(f"{tile.key} {tile.name}" for tile in self.draft.tiles), id="tiles")
        grid = MapGrid()
        grid.can_focus = False  # the cursor is this screen's
        yield grid
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(KeyBar).with_palette = False
        self.query_one("#tiles", ChoiceBar).chosen = 1  # a hole is what one comes to place
        self._judge()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _judge(self) -> None:
        """Check the map as it is now, and show what is optimal on it."""
        self.workers.cancel_group(self, "solve")
        self.problem, self.now = self.draft.check(), None
        maze = self.draft.maze
        if self.problem:
            self._show(maze)
        elif maze.n_states <= SMALL:
            self._solved(maze, *self._attempt(maze))
        else:
            self._show(maze)
            self._solve(maze)

    @work(group="solve", exclusive=True)
    async def _solve(self, maze: Maze) -> None:
        self._solved(maze, *await asyncio.to_thread(self._attempt, maze))

    def _attempt(self, maze: Maze) -> tuple[MDP | None, Solution | None, str]:
        """The arrays and the solution of a maze, or why it has none."""
        try:
            mdp = build_mdp(maze)
            return mdp, solve(mdp, self.base.preset.algorithm.gamma), ""
        except UserError as error:  # γ = 1 and values without a bound
            return None, None, in_words(error)

    def _solved(self, maze: Maze, mdp: MDP | None, optimum: Solution | None, problem: str) -> None:
        self.problem = problem
        if mdp is None or optimum is None:
            self._show(maze)
            return
        self.now = _value_at_start(mdp, optimum)
        path = tuple(optimal_path(mdp, optimum))
        self.base = replace(self.base, mdp=mdp, optimum=optimum, optimal_path=path)
        self._show(maze)

    def _show(self, maze: Maze) -> None:
        """This map; with V* and the optimal path only if they are this map's."""
        world = World(step=self.base.at, id=-1, split="train", maze=maze)
        path = () if self.now is None else self.base.optimal_path
        self.base = replace(self.base, world=world, optimal_path=path)
        self._draw()

    def _draw(self) -> None:
        grid = self.query_one(MazeGrid)
        grid.show_optimal_values = self.now is not None
        grid.show(self.base)
        grid.cursor = self._cell
        told = self.query_one("#told", Static)
        told.set_class(bool(self.problem), "-wrong")
        told.update(Content(glyphs.plain(self._told())))
        self.refresh_bindings()

    def _told(self) -> str:
        """Two lines on top: what this is, and what the rules or the optimum say of it."""
        title = f"Edit the map of {clean(self.base.preset.title)}"
        if self.problem:
            return f"{title}\n{self.problem}"
        if self.now is None:
            return f"{title}\nSolving the new map …"
        value = f"V* at the start: {number(self.now)}"
        if self.draft.changed:
            was = f"{value}, {number(self.before)} before."
            return f"{title}\n{was} Enter sends the map, Esc drops it."
        return f"{title}\n{value}. Numbers are V*. Letters place the tiles, m the prize."

    # ------------------------------------------------------------ editing

    @property
    def brush(self) -> str:
        """The character of the tile that was chosen last."""
        return self.draft.tiles[self.query_one("#tiles", ChoiceBar).chosen].character

    def action_cursor(self, down: int, right: int) -> None:
        """Another cell."""
        rows, columns = self.draft.original.shape
        row, column = self.draft.original.cell(self._cell)
        row, column = (row + down) % rows, (column + right) % columns
        self._cell = row * columns + column
        self.query_one(MazeGrid).cursor = self._cell

    def action_place(self, character: str) -> None:
        """Put a tile under the cursor, and remember it."""
        names = [tile.character for tile in self.draft.tiles]
        self.query_one("#tiles", ChoiceBar).chosen = names.index(character)
        self._change(self.draft.place(self._cell, character))

    def action_again(self) -> None:
        """Put the tile chosen last under the cursor."""
        self._change(self.draft.place(self._cell, self.brush))

    def action_move_prize(self) -> None:
        """Move the prize here."""
        self._change(self.draft.move_prize(self._cell))

    def action_undo(self) -> None:
        """One change back."""
        self._change(self.draft.undo())

    def action_toggle_optimal_path(self) -> None:
        """Show or hide the optimal path."""
        self.query_one(MazeGrid).action_toggle_optimal_path()

    @on(ChoiceBar.Clicked, "#tiles")
    def _tile_clicked(self, message: ChoiceBar.Clicked) -> None:
        message.bar.chosen = message.index

    @on(MazeGrid.CellSelected)
    def _cell_clicked(self, message: MazeGrid.CellSelected) -> None:
        self._cell = message.cell
        self.action_again()

    def _change(self, changed: bool) -> None:
        if changed:
            self._judge()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not offered."""
        if action == "place":
            return parameters[0] in [tile.character for tile in self.draft.tiles]
        return True

    # ------------------------------------------------------------ the end

    def action_send(self) -> None:
        """Give the map to the run, if the rules allow it."""
        if self.problem:
            self.app.bell()
            self.notify(self.problem, title="Not sent", severity="warning", markup=False)
        elif not self.draft.changed:
            self.notify("The map is as it was: there is nothing to send.", markup=False)
        else:
            self.dismiss(self.draft.rows)

    def action_leave(self) -> None:
        """Leave the map as it was."""
        self.dismiss(None)


def _value_at_start(mdp: MDP, optimum: Solution) -> float:
    """V* of the start, the mean over start states."""
    return float(mdp.start @ optimum.values)
