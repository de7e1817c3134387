"""Draws the cells of the maze: a `Picture` becomes characters and colours, a row of cells at once.

A cell is a tile with room for a number at each edge, a line with one number, or a dot of two or
three characters. Its first column (and in tiles its first line) carries a thin edge.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from engine.core.arrays import Floats
from engine.env.maze import OPEN_DOOR, RESTING
from tui.maze.maze_layers import Picture
from tui.maze.maze_palette import PART_OF, Palette
from tui.model.steps import arrow, direction
from tui.ui.canvas import Canvas, Look
from tui.ui.glyphs import Glyphs
from tui.ui.text import fit_number


class Box(NamedTuple):
    """The size of a cell in characters, edge included."""

    width: int
    height: int

    @property
    def tile(self) -> bool:
        """Has room at the edges."""
        return self.height >= 3

    @property
    def dot(self) -> bool:
        """Has no room for a number."""
        return self.width <= 3


BOXES = tuple(
    Box(*size)
    for size in (
        *((26, 9), (22, 9), (22, 8), (18, 7), (16, 7), (16, 6), (14, 6), (14, 5), (12, 5)),
        *((12, 4), (10, 4), (10, 3), (8, 5), (8, 4), (8, 3), (6, 3)),
        *((8, 2), (8, 1), (6, 1), (3, 1), (2, 1)),
    )
)
"""From the largest to the smallest."""

DIGITS = 5
"""Characters of a number in the middle of a cell: more would only flicker."""
LEAST_EDGE = 3
"""Characters that a number at an edge needs; in narrower tiles one stands in the middle."""


@cache
def regions(box: Box) -> tuple[tuple[int, ...], ...]:
    """For each character of a tile, the edge it is nearest to: 0 left, 1 down, 2 right, 3 up."""
    x = (np.arange(box.width) - box.width / 2) / (box.width / 2)
    y = (np.arange(box.height) - (box.height - 1) / 2) / (box.height / 2)
    flat = np.abs(x)[None, :] > np.abs(y)[:, None]
    side = np.where(x < 0, 0, 2)[None, :]
    stack = np.where(y < 0, 3, 1)[:, None]
    return tuple(map(tuple, np.where(flat, side, stack).tolist()))


def _one_each(values: Floats, *, worst: bool) -> list[float]:
    """[C] one value for a cell: of several actions the best; of advantages the worst."""
    if values.ndim == 2:
        values = values.min(axis=1) if worst else values.max(axis=1)
    one: list[float] = values.tolist()
    return one


class Painter:
    """Paints rows of cells of one `Picture` at one cell size."""

    def __init__(self, picture: Picture, box: Box, palette: Palette, glyphs: Glyphs) -> None:
        self.picture, self.box, self.palette, self.glyphs = picture, box, palette, glyphs
        maze = picture.maze
        self.ways = [direction(maze, a) for a in range(len(maze.actions))]
        self.square = sorted(self.ways) == [0, 1, 2, 3]
        """Whether each edge of a cell belongs to exactly one action."""
        worst = picture.layer.name == "advantage"
        self.heat = _one_each(picture.heat, worst=worst)
        self.best: list[list[bool]] = [] if picture.best is None else picture.best.tolist()
        self.number = None if picture.numbers is None else _one_each(picture.numbers, worst=worst)
        asked = picture.numbers if picture.target is None else picture.target
        known = np.zeros(len(picture.tiles)) if asked is None else asked
        self.unknown = [bool(np.isnan(each).all()) for each in known]
        """[C] whether the cell has nothing to print, as keys and shut doors have."""

    def row(self, row: int, cursor: int, styles: dict[Look, Style]) -> list[list[Segment]]:
        """The lines of a row of cells, with the edge of the map at the right."""
        columns = self.picture.maze.shape[1]
        width, height = self.box
        edge = not self.box.dot
        canvas = Canvas(columns * width + edge, height, self.palette["muted"], self.palette.ice)
        for column in range(columns):
            state = row * columns + column
            if state < len(self.picture.tiles):
                self._cell(canvas, column * width, state, state == cursor)
        if edge:
            for y in range(height):
                ground = self.palette.styles["edge"][1]
                canvas.put(columns * width, y, self.glyphs.left_edge, self.palette["edge"], ground)
        return canvas.lines(styles)

    @property
    def _room(self) -> int:
        """Characters for a number at the left or right edge, leaving the middle to the agent."""
        inner = self.box.width - 1
        return min((inner - 1) // 2 if inner <= 9 else (inner - 3) // 2, DIGITS + 1)

    # ------------------------------------------------------------ one cell

    def _cell(self, canvas: Canvas, x: int, state: int, selected: bool) -> None:
        tile = self.picture.tiles[state]
        self._ground(canvas, x, state, tile)
        if self.box.dot:
            self._dot(canvas, x, state, tile)
        elif self.box.tile:
            self._tile(canvas, x, state, tile)
        else:
            self._line(canvas, x, state, tile)
        self._marks(canvas, x, state)
        if selected:
            self._cursor(canvas, x)

    def _ground(self, canvas: Canvas, x: int, state: int, tile: str) -> None:
        width, height = self.box
        palette, scale = self.palette, self.picture.layer.scale
        flat = scale == "share" and not self.box.tile  # everywhere the same: its largest is 1
        if tile in RESTING or flat or math.isnan(self.heat[state]) or palette.few:
            canvas.fill(x, 0, width, height, palette.ground(tile))
        elif self.picture.heat.ndim == 2 and self.box.tile and self.square:
            heat = self.picture.heat[state].tolist()
            colours = [palette.colour(heat[self.ways.index(way)], scale) for way in range(4)]
            for y, line in enumerate(regions(self.box)):
                for i, way in enumerate(line):
                    canvas.fill(x + i, y, 1, 1, colours[way])
        else:
            canvas.fill(x, 0, width, height, palette.colour(self.heat[state], scale))
        if tile == "#" or self.box.dot:
            return
        if palette.few and tile not in RESTING and not flat:
            self._bars(canvas, x + 1, state)
        edge = palette["muted" if palette.few else "edge"]
        if self.box.tile:
            canvas.put(x, 0, self.glyphs.top_edge * width, edge)
        for y in range(height):
            canvas.put(x, y, self.glyphs.left_edge, edge)

    def _bars(self, canvas: Canvas, x: int, state: int) -> None:
        """Instead of shades, where there are few colours: the deeper the shade, the longer a bar.

        Of a positive number it grows from the left, of a negative one from the right. With a
        number at each edge the upper and lower bars take a line, those between them half a line.
        """
        heat, (width, height), scale = self.picture.heat[state], self.box, self.picture.layer.scale
        inner, middle = width - 1, height // 2
        if heat.ndim == 0 or not (self.box.tile and self.square):
            lines = [(x, y, inner, self.heat[state]) for y in range(height)]
        else:
            left, down, right, up = (float(heat[self.ways.index(way)]) for way in range(4))
            half = inner // 2
            lines = [(x, 0, inner, up), (x, height - 1, inner, down)]
            lines += [(x, middle, half, left), (x + inner - half, middle, half, right)]
        for start, y, room, value in lines:
            if math.isnan(value):
                continue
            length = round(min(abs(value), 1.0) * room)
            at = start if value >= 0 else start + room - length
            canvas.fill(at, y, length, 1, self.palette.full(value, scale))

    def _tile(self, canvas: Canvas, x: int, state: int, tile: str) -> None:
        """A tile: the glyph, a number in the middle, or one at each edge."""
        kind, (width, height) = self.picture.layer.kind, self.box
        inner, middle = width - 1, height // 2
        decided = tile not in RESTING and not (self.unknown[state] and tile in PART_OF)
        edges = kind in ("actions", "policy") and self.square and decided
        edges = edges and not self.unknown[state] and self._room >= LEAST_EDGE
        numbers = self.picture.numbers
        if edges:
            self._edges(canvas, x + 1, state)
            self._glyph(canvas, x, state, tile, middle)
            return
        printed = decided and numbers is not None
        self._glyph(canvas, x, state, tile, middle - 1 if printed else middle)
        if not printed or numbers is None:
            return
        label = self._number(state, min(inner, DIGITS))
        self._put(canvas, x + 1, middle, label.center(inner), bold=True)
        beside = self.picture.optimal_values
        if beside is not None and not math.isnan(beside[state]):
            label = "*" + fit_number(float(beside[state]), min(inner - 1, DIGITS))
            self._put(canvas, x + 1, middle + 1, label.center(inner))

    def _line(self, canvas: Canvas, x: int, state: int, tile: str) -> None:
        """A line or two: the glyph of a special tile, else a number, before an arrow if any."""
        inner = self.box.width - 1
        if self._glyph(canvas, x, state, tile, 0):
            return
        label = self._number(state, min(inner - 1, DIGITS + 1))
        last, beside = self.box.height - 1, self.picture.optimal_values
        if beside is not None and last and not math.isnan(beside[state]):
            self._put(canvas, x + 1, 0, label.center(inner - 1))
            label = "*" + fit_number(float(beside[state]), min(inner - 2, DIGITS))
        self._put(canvas, x + 1, last, label.center(inner - 1))

    def _dot(self, canvas: Canvas, x: int, state: int, tile: str) -> None:
        """Two or three characters: a glyph, the direction of the policy, or a shade."""
        wide = self.box.width == 3
        if self._glyph(canvas, x, state, tile, 0):
            return
        if self.picture.layer.kind == "policy":
            self._put(canvas, x + wide, 0, self._directions(state, 1), bold=True)
            return
        heat = self.heat[state]
        if math.isnan(heat):
            canvas.put(x + wide, 0, self.glyphs.tiles["F"], self.palette["muted"])
            return
        shade = self.glyphs.shades[math.ceil(min(abs(heat), 1.0) * 4)]
        full = self.palette.full(heat, self.picture.layer.scale)
        canvas.put(x, 0, shade * self.box.width, full)
        if heat < 0:
            self._put(canvas, x + wide, 0, self.glyphs.minus, bold=True)

    def _number(self, state: int, width: int) -> str:
        """What a cell prints in one place."""
        kind = self.picture.layer.kind
        if kind == "policy":
            return self._directions(state, width)
        if self.number is None or math.isnan(self.number[state]):
            return self.glyphs.tiles["F"]
        number = fit_number(self.number[state], width - 1 if kind == "actions" else width)
        # The arrow comes last: before a minus it would look like a longer arrow.
        return number + self._directions(state, 1) if kind == "actions" else number

    def _directions(self, state: int, width: int) -> str:
        """The best actions: one glyph each if there is room, else one glyph for all."""
        actions = [a for a, best in enumerate(self.best[state]) if best] if self.best else []
        arrows = [arrow(self.picture.maze, a, self.glyphs.solid) for a in actions]
        if len(arrows) <= width:
            return "".join(arrows) or self.glyphs.tiles["F"]
        if all(self.ways[a] >= 0 for a in actions):
            return self.glyphs.ties[sum(1 << self.ways[a] for a in actions)]
        return self.glyphs.ellipsis

    def _edges(self, canvas: Canvas, x: int, state: int) -> None:
        """A label at each edge: x is the first column inside the cell."""
        inner, height = self.box.width - 1, self.box.height
        room = self._room
        middle = height // 2
        best = self.picture.best
        for action, way in enumerate(self.ways):
            label, strong = self._edge_label(state, action, room), False
            if best is not None:
                strong = bool(best[state, action])
            at, y = {
                0: (x, middle),
                1: (x + (inner - cell_len(label)) // 2, height - 1),
                2: (x + inner - cell_len(label), middle),
                3: (x + (inner - cell_len(label)) // 2, 0),
            }[way]
            self._put(canvas, at, y, label, bold=strong)

    def _edge_label(self, state: int, action: int, room: int) -> str:
        picture = self.picture
        if picture.layer.kind == "actions":
            numbers = picture.numbers
            return "" if numbers is None else fit_number(float(numbers[state, action]), room)
        if picture.target is None or picture.behaviour is None:
            return ""
        for table, arrows in (
            (picture.target, self.glyphs.solid),
            (picture.behaviour, self.glyphs.dashed),
        ):
            share = float(table[state, action])
            if share >= 0.995:
                return arrow(picture.maze, action, arrows)
            if share > 0.0:
                label = fit_number(share, min(room - 1, 3))
                return arrow(picture.maze, action, arrows) + label
        return ""

    def _put(self, canvas: Canvas, x: int, y: int, text: str, bold: bool = False) -> None:
        """Text in the colour that reads best on what is behind it; spaces leave the edge alone."""
        for i, char in enumerate(text):
            if char != " ":
                ground = canvas.ground(x + i, y)
                canvas.put(x + i, y, char, self.palette.text_on(ground), bold=bold)

    # ------------------------------------------------------------ glyphs and marks

    def _glyph(self, canvas: Canvas, x: int, state: int, tile: str, y: int) -> bool:
        """The agent or the tile's symbol, in the middle. Whether the cell has no other content."""
        width = self.box.width
        centre = x + (width // 2 if not self.box.dot else int(width == 3))
        marks = self.picture.marks
        kind, glyphs, palette = self.picture.layer.kind, self.glyphs, self.palette
        printed = self.picture.numbers is not None
        if state == marks.agent:
            symbol = glyphs.backup if marks.backup else glyphs.agent
            colour, ground = palette.styles["agent"]
            if palette.few and canvas.ground(centre, y) != palette.ice:
                colour = ground = palette.ice  # a hole in the bar it stands on
            if self.box.dot:
                canvas.put(x, 0, " " * width, colour, ground)
            elif self.box.tile:
                slim = kind in ("actions", "policy") and width <= 10
                if not slim:
                    canvas.put(centre - 1, y, "   ", colour, ground)
            elif tile not in RESTING and printed:
                # One line has no room for both: the number stays, the agent marks its end.
                centre = x + width - 1
            canvas.put(centre, y, symbol, colour, ground, bold=True)
            return self.box.dot or tile in RESTING or not printed
        if tile == "#":
            canvas.put(x, y, glyphs.tiles["#"] * width, palette["wall"])
            for line in range(self.box.height):
                canvas.put(x, line, glyphs.tiles["#"] * width, palette["wall"])
            return True
        plain = tile not in PART_OF
        tight = printed and not self.box.tile
        if tight and tile not in RESTING and not (self.unknown[state] and not plain):
            return False
        if plain and tile not in ("S", OPEN_DOOR) and (printed or kind != "map"):
            return False
        canvas.put(
            centre, y, glyphs.tiles[tile], palette[PART_OF.get(tile, "muted")], bold=not plain
        )
        return True

    def _marks(self, canvas: Canvas, x: int, state: int) -> None:
        """The newest move from this cell at the top left, the optimal one at the bottom left."""
        marks, glyphs, palette = self.picture.marks, self.glyphs, self.palette
        maze, (width, height) = self.picture.maze, self.box
        move, route = marks.trail.get(state), marks.route.get(state)
        agent_covers = not self.box.tile and state == marks.agent
        if move and not agent_covers:
            arrows = glyphs.dashed if move.explored else glyphs.solid
            at = x + (1 if self.box.tile or width == 2 else 0)
            ground = canvas.ground(at, 0)
            part = palette.on(ground, "explored" if move.explored else "exploited")
            faded = ground.blend(part, max(0.4, 1.0 - 0.06 * move.age))
            canvas.put(at, 0, arrow(maze, move.action, arrows), faded, bold=move.age == 0)
        if route is not None and not agent_covers and not (width == 2 and move):
            at = x + (1 if self.box.tile else width - 1)
            colour = palette.on(canvas.ground(at, height - 1), "optimal")
            canvas.put(at, height - 1, arrow(maze, route, glyphs.double), colour, bold=True)

    def _cursor(self, canvas: Canvas, x: int) -> None:
        width, height = self.box
        colour, ground = self.palette.styles["cursor"]
        if self.box.dot:
            for i in range(width):
                canvas.recolour(x + i, 0, colour, ground)
            return
        corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
        marks = self.glyphs.corners
        if not self.box.tile:
            corners, marks = corners[2:], "[]"
        for (dx, dy), char in zip(corners, marks, strict=True):
            canvas.put(x + dx, dy, char, ground, bold=True)
