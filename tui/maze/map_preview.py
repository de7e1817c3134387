"""A still picture of a maze for previews: its tiles and what they mean, nothing learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from tui.ui import glyphs as glyph_sets
from tui.ui.canvas import Canvas, Look
from tui.ui.text import fit

if TYPE_CHECKING:
    from engine.env.maze import Maze

PREFIX = "map-preview--"
NAMES = {"S": "start", "H": "hole", "G": "prize", "#": "wall", "B": "bonus"} | {
    "g": "lesser prize",
    "k": "key",
    "D": "door",
}
PART_OF = {**NAMES, "G": "goal", "g": "lesser"}
PARTS = ("ice", *PART_OF.values(), "edge", "muted")


class Cell(NamedTuple):
    """The size of a cell in characters."""

    width: int
    height: int


CELLS = (Cell(7, 3), Cell(5, 3), Cell(3, 1), Cell(2, 1), Cell(1, 1))
"""From the largest to the smallest."""
TALL_SHARE = 0.45
"""How much of the height a map may take for its beauty: cells of several lines."""


class MapPreview(Widget):
    """Draws the map of one maze as large as its room allows, and a legend under it.

    A map that is too large even with one character a cell is cut, and the legend says so.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {PREFIX + part for part in PARTS}
    DEFAULT_CSS = """
    MapPreview {
        width: auto;
        height: auto;
        & > .map-preview--ice { color: $foreground 45%; background: $panel; }
        & > .map-preview--start { color: $foreground; background: $panel; }
        & > .map-preview--hole { color: $foreground 60%; background: $background; }
        & > .map-preview--goal { color: $success; background: $success 25%; }
        & > .map-preview--wall { color: $foreground 30%; background: $foreground 30%; }
        & > .map-preview--bonus { color: $accent; background: $accent 20%; }
        & > .map-preview--lesser { color: $success; background: $success 10%; }
        & > .map-preview--key { color: $warning; background: $warning 15%; }
        & > .map-preview--door { color: $warning; background: $foreground 25%; }
        & > .map-preview--edge { color: $surface; background: $surface; }
        & > .map-preview--muted { color: $foreground 60%; background: $surface; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._maze: Maze | None = None
        self._room = Size(40, 12)
        self._strips: list[Strip] = []

    def show(self, maze: Maze | None, room: Size) -> None:
        """Draw this maze in at most `room` characters, legend included; None empties it."""
        if (maze, room) == (self._maze, self._room):
            return
        self._maze, self._room = maze, room
        self._strips = []
        self.refresh(layout=True)

    def notify_style_update(self) -> None:
        """The theme changed: paint again."""
        super().notify_style_update()
        self._strips = []

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return max((strip.cell_length for strip in self._painted()), default=0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._painted())

    def render_line(self, y: int) -> Strip:
        strips, width = self._painted(), self.size.width
        blank = self.rich_style
        if y >= len(strips):
            return Strip.blank(width, blank)
        return strips[y].adjust_cell_length(width, blank)

    # ------------------------------------------------------------ painting

    def _painted(self) -> list[Strip]:
        if not self._strips and self._maze is not None:
            self._strips = self._paint(self._maze)
        return self._strips

    def _paint(self, maze: Maze) -> list[Strip]:
        if not maze.rows:
            return [self._words(f"{maze.gymnasium}: {maze.n_states} states, no map")]
        rows, columns = maze.shape
        cell, shown_rows, shown_columns = self._fit(rows, columns, bool(any(maze.wind)))
        palette = {part: self._colours(part) for part in PARTS}
        canvas = Canvas(shown_columns * cell.width, shown_rows * cell.height, *palette["ice"])
        for row in range(shown_rows):
            for column in range(shown_columns):
                self._cell(canvas, cell, row, column, maze.rows[row][column], palette)
        styles: dict[Look, Style] = {}
        strips = [Strip(line) for line in canvas.lines(styles)]
        if any(maze.wind):
            strips.append(self._wind(maze.wind[:shown_columns], cell))
        strips.append(self._legend(maze))
        if (shown_rows, shown_columns) != (rows, columns):
            strips.append(
                self._words(f"the upper left {shown_rows}x{shown_columns} of {rows}x{columns}")
            )
        return strips

    def _fit(self, rows: int, columns: int, wind: bool) -> tuple[Cell, int, int]:
        """The cell size, and how many rows and columns of the map it can show."""
        width, height = self._room.width, max(self._room.height - 1 - wind, 1)
        for cell in CELLS:
            most = height if cell.height == 1 else round(height * TALL_SHARE)
            if columns * cell.width <= width and rows * cell.height <= most:
                return cell, rows, columns
        return CELLS[-1], min(rows, max(height - 1, 1)), min(columns, width)

    def _cell(
        self,
        canvas: Canvas,
        cell: Cell,
        row: int,
        column: int,
        tile: str,
        palette: dict[str, tuple[Color, Color]],
    ) -> None:
        x, y = column * cell.width, row * cell.height
        colour, ground = palette[PART_OF.get(tile, "ice")]
        canvas.fill(x, y, cell.width, cell.height, ground)
        symbol = glyph_sets.current().tiles[tile]
        if tile == "#":
            for line in range(cell.height):
                canvas.put(x, y + line, symbol * cell.width, colour)
            return
        if cell.height > 1:
            edge = palette["edge"][0]
            canvas.put(x, y, glyph_sets.current().top_edge * cell.width, edge)
            for line in range(cell.height):
                canvas.put(x, y + line, glyph_sets.current().left_edge, edge)
        centre = (x + cell.width // 2, y + cell.height // 2)
        canvas.put(*centre, symbol, colour, bold=tile in NAMES)

    def _wind(self, wind: tuple[int, ...], cell: Cell) -> Strip:
        """Under each column, how many cells upward its wind pushes."""
        symbol = glyph_sets.current().wind
        labels = [str(n) if cell.width < 3 else f"{symbol}{n}" for n in wind]
        cells = [label if n else "" for n, label in zip(wind, labels, strict=True)]
        return self._words("".join(text[: cell.width].center(cell.width) for text in cells))

    def _legend(self, maze: Maze) -> Strip:
        """What the symbols on this map stand for."""
        tiles = [tile for tile in NAMES if tile in "".join(maze.rows)]
        segments: list[Segment] = []
        for tile in tiles:
            if segments:
                segments.append(Segment("  ", self._style("muted")))
            colour = self._style(PART_OF[tile])
            segments.append(Segment(glyph_sets.current().tiles[tile], colour))
            segments.append(Segment(f" {NAMES[tile]}", self._style("muted")))
        if any(maze.wind):
            segments.append(Segment(f"  {glyph_sets.current().wind} wind", self._style("muted")))
        return Strip(segments).crop(0, self._room.width)

    def _words(self, text: str) -> Strip:
        text = glyph_sets.plain(text, glyph_sets.current().ascii)
        if len(text) > self._room.width:
            text = fit(text, self._room.width, glyph_sets.current().ellipsis)
        return Strip([Segment(text, self._style("muted"))])

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(PREFIX + part)

    def _colours(self, part: str) -> tuple[Color, Color]:
        style = self._style(part)
        assert style.color is not None and style.bgcolor is not None
        return Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
