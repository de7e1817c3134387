"""Training on the maze as an animated GIF: values, policy and the agent's newest episode."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from engine.core.errors import UserError
from engine.exports.grid import Grid, Grids
from engine.exports.tables import Exported
from engine.exports.words import visible

FRAMES = 60
"""Moments shown, at most: this and the side bound the size of the file."""
SIDE = 640
"""Pixels of the longer side of the maze, at most."""
LARGEST_CELL, BELOW, LEAST_WIDTH = 64, 22, 240
MOMENT, LAST = 150, 2500
"""Milliseconds that a frame, and the last one, is shown."""
WHITE, ICE, EDGE, DARK, WALL = (
    (255, 255, 255), (244, 249, 253), (159, 179, 200), (27, 31, 36), (107, 119, 133),
)  # fmt: skip
POSITIVE, NEGATIVE, AGENT = (0, 114, 178), (213, 94, 0), (176, 18, 138)
WAYS = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""(x, y) of each direction."""


def write(run: Exported, path: Path) -> None:
    """Draw it. Raises UserError when the run has no policy on a maze."""
    grids = list(Grids(run).over_time(FRAMES))
    if len({grid.maze.shape for grid in grids}) > 1:
        raise UserError(f"{run.info.id}: its mazes have different sizes; a GIF has one.")
    pictures = [_frame(grid, run.info.preset.title) for grid in grids]
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[*[MOMENT] * (len(pictures) - 1), LAST],
        loop=0,
        optimize=False,
    )


def _frame(grid: Grid, title: str) -> Any:
    from PIL import Image, ImageDraw

    rows, columns = grid.maze.shape
    cell = max(4, min(LARGEST_CELL, SIDE // max(rows, columns)))
    size = (max(columns * cell + 1, LEAST_WIDTH), rows * cell + 1 + BELOW)
    image = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(image)
    for number in range(len(grid.tiles)):
        _cell(draw, grid, number, cell)
    _path(draw, grid, cell)
    # Pillow's own font has Latin letters only.
    words = visible(title).encode("latin-1", "replace").decode("latin-1")
    draw.text((4, rows * cell + 5), f"step {grid.step:,}  {words[:60]}", fill=DARK)
    return image.quantize(64)


def _cell(draw: Any, grid: Grid, number: int, cell: int) -> None:
    row, column = grid.maze.cell(number)
    x, y = column * cell, row * cell
    tile, heat = grid.tiles[number], float(grid.heat[number])
    colour = ICE
    if tile == "#":
        colour = WALL
    elif not math.isnan(heat):
        share = round(abs(heat) * 12) / 12 * 0.6  # few colours: the palette has 64
        to = POSITIVE if heat > 0 else NEGATIVE
        red, green, blue = (round(a + share * (b - a)) for a, b in zip(ICE, to, strict=True))
        colour = (red, green, blue)
    draw.rectangle((x, y, x + cell, y + cell), fill=colour, outline=EDGE)
    inside = (x + cell * 0.18, y + cell * 0.18, x + cell * 0.82, y + cell * 0.82)
    if tile == "H":
        draw.ellipse(inside, fill=DARK)
    elif tile in "Gg":
        draw.ellipse(inside, outline=DARK, width=2)
        if cell >= 16:
            draw.text((x + cell / 2 - 3, y + cell / 2 - 6), tile, fill=DARK)
    elif tile in "SBkD" and cell >= 24:
        draw.text((x + 3, y + 1), tile, fill=DARK)
    for direction, chance in zip(grid.directions, grid.chances[number], strict=True):
        if direction >= 0 and chance >= 0.05:  # not where it is NaN
            _arrow(draw, x + cell / 2, y + cell / 2, WAYS[direction], float(chance) * cell * 0.38)


def _arrow(draw: Any, x: float, y: float, way: tuple[int, int], length: float) -> None:
    right, down = way
    end, head = (x + right * length, y + down * length), max(1.5, length * 0.3)
    draw.line((x, y, *end), fill=DARK, width=2 if length > 8 else 1)
    back = (end[0] - right * head, end[1] - down * head)
    for side in (-head, head):
        draw.line((*end, back[0] + down * side, back[1] + right * side), fill=DARK, width=1)


def _path(draw: Any, grid: Grid, cell: int) -> None:
    if len(grid.path) < 2:
        return
    points = []
    for place in grid.path:
        row, column = grid.maze.cell(place)
        points.append(((column + 0.5) * cell, (row + 0.5) * cell))
    draw.line(points, fill=AGENT, width=2 if cell >= 16 else 1)
    x, y = points[-1]
    r = max(2, cell // 8)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=AGENT)
