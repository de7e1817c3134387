"""The maze with the policy as SVG elements, for a file of its own and for the report.

Nothing rests on colour alone: chances are the arrows' lengths, values are written in the cells, and
each cell says in words (`title`) what is drawn in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from engine.env.maze import Maze
from engine.exports.grid import Grid
from engine.exports.words import escaped, number, percent

CELL = 56
LEAST_CHANCE = 0.01
"""Actions that are taken less often have no arrow."""
STYLE = """\
.ice{fill:#f4f9fd;stroke:#9fb3c8}.wall{fill:#6b7785;stroke:#6b7785}.hole{fill:#2a3038}
.prize{fill:none;stroke:#1b1f24;stroke-width:2}.pos{fill:#0072b2}.neg{fill:#d55e00}
.arrow{stroke:#1b1f24;stroke-width:2.5;fill:none;stroke-linecap:round;stroke-linejoin:round}
.path{fill:none;stroke:#b0128a;stroke-width:2;stroke-dasharray:5 4}
.agent{fill:#b0128a}
svg text{fill:#1b1f24;font:12px system-ui,sans-serif}.v{font-size:10px}
@media (prefers-color-scheme:dark){.ice{fill:#16202b;stroke:#42566b}.wall{fill:#7a8896}
.hole{fill:#000;stroke:#7a8896}.prize{stroke:#f0f4f8}.pos{fill:#56b4e9}.neg{fill:#e69f00}
.arrow{stroke:#f0f4f8}.path{stroke:#f08bd4}.agent{fill:#f08bd4}svg text{fill:#f0f4f8}}
"""
"""Colours in light and dark; those of the values are of the palette of Okabe & Ito (2008)."""
TILES = {
    "S": "start", "H": "hole", "G": "prize", "g": "lesser prize", "#": "wall", "B": "bonus",
    "k": "key", "D": "door",
}  # fmt: skip
TURNS = (180, 90, 0, 270)
"""Degrees by which an arrow that points right is turned, by direction."""


def elements(grid: Grid) -> str:
    """The picture, inside an `<svg>` of `size`."""
    parts = [part for cell in range(len(grid.tiles)) for part in _cell(grid, cell)]
    return "\n".join([*parts, *_path(grid)])


def size(grid: Grid) -> tuple[int, int]:
    """Width and height."""
    rows, columns = grid.maze.shape
    return columns * CELL, rows * CELL


def legend(grid: Grid) -> str:
    """How to read it, in words."""
    path = " The dashed line is the newest recorded episode." if len(grid.path) > 1 else ""
    return (
        "Arrows are the target policy: the longer, the likelier. Colour and number are V, the "
        f"return expected from a cell: blue above zero, orange below.{path}"
    )


def place(maze: Maze, cell: int) -> str:
    """A cell in words, counted from 1."""
    row, column = maze.cell(cell)
    return f"row {row + 1}, column {column + 1}" if maze.rows else f"state {cell}"


def _cell(grid: Grid, cell: int) -> Iterator[str]:
    row, column = grid.maze.cell(cell)
    tile = grid.tiles[cell]
    yield f'<g transform="translate({column * CELL} {row * CELL})">'
    yield f"<title>{escaped(_words(grid, cell))}</title>"
    box = f'width="{CELL}" height="{CELL}"'
    yield f'<rect class="{"wall" if tile == "#" else "ice"}" {box}/>'
    heat = float(grid.heat[cell])
    if heat and not math.isnan(heat):
        sign = "pos" if heat > 0 else "neg"
        yield f'<rect class="{sign}" fill-opacity="{0.5 * abs(heat):.3f}" {box}/>'
    middle = CELL / 2
    if tile == "H":
        yield f'<circle class="hole" cx="{middle}" cy="{middle}" r="{CELL * 0.34:.1f}"/>'
    elif tile in "Gg":
        yield f'<circle class="prize" cx="{middle}" cy="{middle}" r="{CELL * 0.3:.1f}"/>'
    if tile in TILES and tile not in "H#":
        at = (
            f'x="{middle}" y="{middle + 4}" text-anchor="middle"'
            if tile in "Gg"
            else 'x="4" y="14"'
        )
        yield f"<text {at}>{escaped(tile)}</text>"
    yield from _arrows(grid, cell)
    if not math.isnan(grid.values[cell]):
        value = number(float(grid.values[cell]), 2)
        yield f'<text class="v" x="{CELL - 3}" y="11" text-anchor="end">{value}</text>'
    yield "</g>"


def _arrows(grid: Grid, cell: int) -> Iterator[str]:
    for direction, chance in zip(grid.directions, grid.chances[cell], strict=True):
        if math.isnan(chance) or chance < LEAST_CHANCE or direction < 0:
            continue
        end, head = 3 + 13 * chance, 2 + 3 * chance
        yield (
            f'<path class="arrow" transform="translate({CELL / 2} {CELL / 2}) '
            f'rotate({TURNS[direction]})" d="M3 0H{end:.1f}m-{head:.1f} -{head:.1f}l{head:.1f} '
            f'{head:.1f}l-{head:.1f} {head:.1f}"/>'
        )
    if max(grid.directions, default=-1) < 0 and (action := grid.action(cell)) >= 0:
        name = escaped(grid.maze.arrows[action])
        yield f'<text x="{CELL / 2}" y="{CELL / 2 + 4}" text-anchor="middle">{name}</text>'


def _path(grid: Grid) -> Iterator[str]:
    if len(grid.path) < 2:
        return
    points = []
    for cell in grid.path:
        row, column = grid.maze.cell(cell)
        points.append(((column + 0.5) * CELL, (row + 0.5) * CELL))
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    yield f'<polyline class="path" points="{line}"/>'
    yield f'<circle class="agent" cx="{points[-1][0]:g}" cy="{points[-1][1]:g}" r="5"/>'


def _words(grid: Grid, cell: int) -> str:
    words = [place(grid.maze, cell)]
    if grid.tiles[cell] in TILES:
        words.append(TILES[grid.tiles[cell]])
    if not math.isnan(grid.values[cell]):
        words.append(f"V = {number(float(grid.values[cell]))}")
        chances = zip(grid.maze.actions, grid.chances[cell], strict=True)
        words += [f"{name} {percent(float(p))}" for name, p in chances if p >= LEAST_CHANCE]
    return ", ".join(words)
