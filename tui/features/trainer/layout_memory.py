"""The layout of the trainer, kept for the next run of the same kind.

Kept is what a user changed and would have to change again: a panel that stood alone, the layer of
the maze, V* and the optimal path, the figures on the chart. A run opens as such runs were left.
"""

from __future__ import annotations

from engine.config.preset import Preset
from engine.core.user_config import Layout
from tui import kinds
from tui.maze.maze_grid import MazeGrid
from tui.ui.remembered import remember, remembered
from tui.watching.curves import CurvesPanel

TABLE = "layout"


def kind_name(preset: Preset) -> str:
    """The kind of run, as config.toml names it: `value`, `planning`, `cells`, …"""
    return type(kinds.of(preset)).__name__.removesuffix("Kind").lower()


def kept(preset: Preset) -> Layout:
    """How runs like this were left."""
    chosen, _ = remembered()  # what is wrong with the file was said when the app started
    return chosen.layout.get(kind_name(preset), Layout()) if chosen else Layout()


def arrange(grid: MazeGrid, curves: CurvesPanel, layout: Layout) -> None:
    """Show the layers and figures of a layout."""
    if layout.layer is not None:
        grid.layer_number = layout.layer
    grid.show_optimal_values, grid.show_optimal_path = layout.values, layout.path
    curves.charts.log_x = layout.log_x


def arrange_curves(curves: CurvesPanel, title: str) -> bool:
    """Show the figures with this title; False while they have no data yet."""
    titles = [view.title for view in curves.views]
    if title in titles:
        curves.view_index = titles.index(title)
    return title in titles


def layout_of(
    preset: Preset, grid: MazeGrid, curves: CurvesPanel, panel: str, alone: bool
) -> Layout:
    """The layout as it is now."""
    view = curves.view if curves.view_index else None
    first = kinds.of(preset).first_layer
    return Layout(
        panel=panel if alone else "",
        alone=alone,
        layer=None if grid.layer_number == first else grid.layer_number,
        values=grid.show_optimal_values,
        path=grid.show_optimal_path,
        curves=view.title if view is not None else "",
        log_x=curves.charts.log_x,
    )


def keep(preset: Preset, layout: Layout) -> str:
    """Write it down; gives what went wrong, if anything did."""
    default = Layout()
    fields = {
        name: value
        for name in layout.__struct_fields__
        if (value := getattr(layout, name)) != getattr(default, name)
    }
    return remember(TABLE, kind_name(preset), fields or None)
