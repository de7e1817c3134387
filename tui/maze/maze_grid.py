"""The ice maze on screen: the map, what is known about every cell, and the agent moving over it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.maze.maze_paint import BOXES
from tui.maze.maze_view import MazeView
from tui.ui.bindings import key, move
from tui.ui.terms import post_term

LAYER_TOOLTIPS = (
    "The map and the trail of this episode",
    "State values V(s)",
    "Action values Q(s,a)",
    "The policy π as arrows",
    "How often each cell was updated",
    "Advantages A(s,a) = Q − V",
    *["A further table of this method, if it has one"] * 3,
)
"""What the digits show, from 1."""


class MazeGrid(MazeView, can_focus=True):
    """The maze of a snapshot, one layer at a time, with a cursor that inspects cells.

    Digits choose the layer, `v` and `o` the overlays; arrows or a click inspect a cell.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            move(f"grid.{way}", way, f"cursor({dy}, {dx})", f"Cell {way}",
                 f"Inspect the cell {where}")
            for way, where, dy, dx in (
                ("up", "above", -1, 0), ("down", "below", 1, 0),
                ("left", "on the left", 0, -1), ("right", "on the right", 0, 1),
            )
        ),
        key("grid.release", "escape", "release", "Follow agent",
            "Drop the cell cursor and follow the agent again", show=False),
        *(
            key(f"grid.layer-{digit}", str(digit), f"layer({digit})", f"Layer {digit}",
                tooltip, show=False)
            for digit, tooltip in enumerate(LAYER_TOOLTIPS, start=1)
        ),
        key("grid.optimal-values", "v", "toggle_optimal_values", "V*",
            "Show the optimal values V* beside V, or as the colour to compare with", show=False),
        key("grid.optimal-path", "o", "toggle_optimal_path", "Optimal path",
            "Mark the most likely way of the optimal policy", show=False),
        key("grid.zoom-in", "z", "zoom(1)", "Zoom in", "Larger cells", show=False),
        key("grid.zoom-out", "Z", "zoom(-1)", "Zoom out", "Smaller cells", show=False),
    ]  # fmt: skip

    class CellSelected(Message):
        """The cursor moved to a cell."""

        def __init__(self, grid: MazeGrid, cell: int) -> None:
            self.grid = grid
            self.cell = cell
            super().__init__()

        @property
        def control(self) -> MazeGrid:
            """The grid it happened in."""
            return self.grid

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is only taken while there is a cursor to drop."""
        return not (action == "release" and self.cursor is None)

    def action_cursor(self, down: int, right: int) -> None:
        """Move the cursor; the first press starts from the agent's cell."""
        if self.snapshot is None:
            return
        maze = self.snapshot.world.maze
        rows, columns = maze.shape
        start = self.cursor if self.cursor is not None else max(self.agent, 0)
        row, column = maze.cell(start)
        row = max(0, min(row + down, rows - 1))
        column = max(0, min(column + right, columns - 1))
        self._select(row * columns + column)

    def action_release(self) -> None:
        """Inspect and follow the agent again."""
        self.cursor = None

    def action_layer(self, digit: int) -> None:
        """Show a layer, if there is one of that number."""
        if digit <= len(self.layer_choices):
            self.layer_number = digit

    def action_toggle_optimal_values(self) -> None:
        """Show or hide V*."""
        self.show_optimal_values = not self.show_optimal_values

    def action_toggle_optimal_path(self) -> None:
        """Show or hide the optimal path."""
        self.show_optimal_path = not self.show_optimal_path

    def action_zoom(self, by: int) -> None:
        """Larger or smaller cells."""
        if self.snapshot is not None:
            fitting = BOXES.index(self.fitting_box(0))
            self.zoom = max(fitting - len(BOXES) + 1, min(self.zoom + by, fitting))

    def _select(self, cell: int) -> None:
        if self.snapshot is None or not 0 <= cell < self.snapshot.mdp.n_cells:
            return
        self.cursor = cell
        self.post_message(self.CellSelected(self, cell))

    async def _on_click(self, event: events.Click) -> None:
        if post_term(self, event):
            return
        cell = self._cell_under(event)
        if cell >= 0:
            self._select(cell)

    async def _on_mouse_move(self, event: events.MouseMove) -> None:
        cell = self._cell_under(event)
        text = "\n".join(self.details(cell)) if cell >= 0 else None
        if text != self.tooltip:
            self.tooltip = text

    def _cell_under(self, event: events.MouseEvent) -> int:
        """The cell under the mouse, or -1."""
        offset = event.get_content_offset(self)
        return -1 if offset is None else self.cell_at(offset.x, offset.y)
