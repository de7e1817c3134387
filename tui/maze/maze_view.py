"""The drawing half of the maze grid: from a snapshot to the strips of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.geometry import Region, Size, Spacing
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import kinds
from tui.maze.maze_layers import Layer, Marks, Picture, layers, marks_of, picture
from tui.maze.maze_legend import (
    Piece,
    describe,
    fitted,
    layer_title,
    legend,
    legend_terms,
    wrapped,
)
from tui.maze.maze_paint import BOXES, Box, Painter
from tui.maze.maze_palette import PARTS, Palette
from tui.ui import glyphs as glyph_sets
from tui.ui.canvas import Look
from tui.ui.fact import Term
from tui.ui.selecting import LinesToCopy
from tui.ui.terms import term_style, unique

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

FOOTER = 2
"""Lines under the grid that do not scroll: the legend and the inspected cell, which takes more
where there are any."""
WITH_GAP = 4
"""Lines that the footer must have before one of them is left blank above it."""
PREFIX = "maze-grid--"


class MazeView(ScrollView, LinesToCopy):
    """Draws the maze of a snapshot, one layer at a time.

    The cell size adapts to the space: tiles with a number at each edge, lines with one number, dots
    with a shade. A map that does not fit scrolls and keeps the agent (or the cursor) in view.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(PREFIX + part for part in PARTS),
        *(PREFIX + part for part in ("legend", "term", "inspect")),
    }

    DEFAULT_CSS = """
    MazeView {
        height: 1fr;
        scrollbar-size: 1 1;
        & > .maze-grid--ice { background: $panel; }
        & > .maze-grid--hole { color: $foreground 50%; background: $background-darken-2; }
        & > .maze-grid--goal { color: $success; background: $success 25%; }
        & > .maze-grid--wall { color: $foreground 25%; background: $foreground 25%; }
        & > .maze-grid--bonus { color: $accent; background: $accent 20%; }
        & > .maze-grid--lesser { color: $success; background: $success 10%; }
        & > .maze-grid--key { color: $warning; background: $warning 15%; }
        & > .maze-grid--door { color: $warning; background: $foreground 25%; }
        & > .maze-grid--agent { color: $background; background: $accent; }
        & > .maze-grid--cursor { color: $background; background: $foreground; }
        & > .maze-grid--exploited { color: $foreground; }
        & > .maze-grid--explored { color: $warning; }
        & > .maze-grid--optimal { color: $success; }
        & > .maze-grid--positive { color: $success; }
        & > .maze-grid--negative { color: $error; }
        & > .maze-grid--count { color: $primary; }
        & > .maze-grid--muted { color: $foreground 55%; }
        & > .maze-grid--legend { color: $foreground; }
        & > .maze-grid--inspect { color: $foreground 80%; }
        & > .maze-grid--term { color: $foreground; text-style: underline; }
    }
    """

    layer_number: reactive[int] = reactive(1, init=False)
    """Which layer is shown: the digit, from 1. One that does not exist shows the map."""
    show_optimal_values: reactive[bool] = reactive(False, init=False)
    """V* beside V where there is room, else V - V* as the colour; on the map layer, V* itself."""
    show_optimal_path: reactive[bool] = reactive(False, init=False)
    """Mark the optimal path."""
    cursor: reactive[int | None] = reactive(None, init=False)
    """The inspected cell; None inspects the agent's."""
    zoom: reactive[int] = reactive(0, init=False)
    """How many sizes larger (or smaller) than fits the cells are drawn."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.snapshot: Snapshot | None = None
        self._layers: list[Layer] = []
        self._picture: Picture | None = None
        self._signatures: list[tuple[object, ...]] = []
        self._painter: Painter | None = None
        self._box = BOXES[-1]
        self._palette: Palette | None = None
        self._styles: dict[Look, Style] = {}
        self._rows: dict[int, tuple[tuple[object, ...], list[Strip]]] = {}
        self._legend: list[Piece] = []
        self._inspected: list[str] = []

    # ------------------------------------------------------------ data in

    def show(self, snapshot: Snapshot) -> None:
        """Draw this moment. Only the rows that changed are repainted."""
        previous = self.snapshot
        self.snapshot = snapshot
        if previous is None or previous.world.maze != snapshot.world.maze:
            self._rows.clear()
            self.cursor = None
        policy = snapshot.policy
        if previous is None or previous.policy is not policy or previous.mdp is not snapshot.mdp:
            self._layers = layers(snapshot.world.maze, snapshot.mdp, policy)
        self._arrange()

    @property
    def layer_choices(self) -> list[tuple[int, str, str]]:
        """What can be shown: digit, title and glossary slug."""
        return [(i, layer_title(x), x.term) for i, x in enumerate(self._layers, start=1)]

    def terms(self) -> list[Term]:
        """The glossary terms of the legend."""
        return unique(legend_terms(self._legend))

    # ------------------------------------------------------------ layout

    def _arrange(self) -> None:
        """Choose the cell size, build the picture, and repaint what differs."""
        snapshot = self.snapshot
        if snapshot is None or not self._layers or not self.size:
            return
        maze, box = snapshot.world.maze, self.fitting_box(self.zoom)
        wanted = self.layer_number if 1 <= self.layer_number <= len(self._layers) else 1
        layer = self._layers[wanted - 1]
        with_values = self.show_optimal_values
        new = picture(
            layer,
            maze,
            snapshot.policy,
            snapshot.mdp,
            snapshot.optimum if with_values else None,
            self._marks(snapshot),
            beside=with_values and box.height > 1,
            compare=with_values and box.height == 1,
        )
        same_geometry = box == self._box and self._picture is not None
        self._picture, self._box, self._signatures = new, box, new.signatures()
        self._painter = None
        rows, columns = maze.shape
        width = columns * box.width + (not box.dot)
        self.virtual_size = Size(width, rows * box.height + bool(maze.wind) + FOOTER)
        self._write_footer(wanted)
        if same_geometry:
            self._refresh_changed()
        else:
            self._rows.clear()
            self.refresh()
        self._keep_in_view()

    def _marks(self, snapshot: Snapshot) -> Marks:
        optimum = snapshot.optimum if self.show_optimal_path else None
        return marks_of(snapshot.episode_steps, snapshot.mdp, optimum, snapshot.optimal_path)

    def fitting_box(self, zoom: int) -> Box:
        """The largest cells with which the whole map fits, changed by `zoom` sizes."""
        assert self.snapshot is not None
        maze = self.snapshot.world.maze
        rows, columns = maze.shape
        height = self.size.height - FOOTER - bool(maze.wind)
        fitting = [
            i
            for i, box in enumerate(BOXES)
            if rows * box.height <= height and columns * box.width + 1 <= self.size.width + box.dot
        ]
        best = fitting[0] if fitting else len(BOXES) - 1
        return BOXES[max(0, min(best - zoom, len(BOXES) - 1))]

    def _keep_in_view(self) -> None:
        shown = self.cursor if self.cursor is not None else self.agent
        if self.snapshot is None or shown < 0:
            return
        row, column = self.snapshot.world.maze.cell(shown)
        width, height = self._box
        cell = Region(column * width, row * height, width, height)
        margin = Spacing(0, 0, FOOTER, 0)
        self.scroll_to_region(cell, spacing=margin, animate=False, force=True, immediate=True)

    @property
    def agent(self) -> int:
        """The cell marked as the agent's, or -1."""
        return self._picture.marks.agent if self._picture else -1

    @property
    def _view(self) -> Size:
        """The visible part of the grid: without scrollbars and footer, which follows closely."""
        size = self.scrollable_content_region.size
        grid = self.virtual_size.height - FOOTER
        gap = size.height - grid >= WITH_GAP
        return Size(size.width, max(min(size.height - FOOTER, grid + gap), 0))

    @property
    def _left(self) -> int:
        """Columns left free so that a small map stands in the middle."""
        return max(0, (self._view.width - self.virtual_size.width) // 2)

    def cell_at(self, x: int, y: int) -> int:
        """The cell drawn at a place of the viewport, or -1."""
        if self.snapshot is None or not 0 <= y < self._view.height:
            return -1
        rows, columns = self.snapshot.world.maze.shape
        column = (x - self._left + round(self.scroll_x)) // self._box.width
        row = (y + round(self.scroll_y)) // self._box.height
        cell = row * columns + column
        inside = 0 <= column < columns and row < rows and cell < self.snapshot.mdp.n_cells
        return cell if inside else -1

    # ------------------------------------------------------------ painting

    def _signature(self, row: int) -> tuple[object, ...]:
        assert self.snapshot is not None
        columns = self.snapshot.world.maze.shape[1]
        cursor = self.cursor
        here = cursor if cursor is not None and cursor // columns == row else None
        return (*self._signatures[row], here)

    def _refresh_changed(self) -> None:
        """Ask for a repaint of the visible lines that look different now, or are not known."""
        height, top = self._box.height, round(self.scroll_y)
        last = min((top + self._view.height) // height + 1, len(self._signatures))
        changed: list[Region] = []
        for row in range(top // height, last):
            signature, before = self._rows.get(row, (None, None))
            if signature == self._signature(row):
                continue
            now = self._row_strips(row)
            changed += [
                Region(0, row * height - top + y, self.size.width, 1)
                for y, line in enumerate(now)
                if before is None or line != before[y]
            ]
        if changed:
            self.refresh(*changed)

    def _row_strips(self, row: int) -> list[Strip]:
        signature = self._signature(row)
        cached = self._rows.get(row)
        if cached is None or cached[0] != signature:
            if self._painter is None:
                assert self._picture is not None
                self._painter = Painter(
                    self._picture, self._box, self.palette, glyph_sets.current()
                )
            cursor = -1 if self.cursor is None else self.cursor
            lines = self._painter.row(row, cursor, self._styles)
            cached = (signature, [Strip(line, self.virtual_size.width) for line in lines])
            self._rows[row] = cached
        return cached[1]

    def line_strip(self, y: int) -> Strip:
        """A line of the viewport: the grid scrolled, below it the footer standing still."""
        width, blank = self.size.width, self.rich_style
        if self._picture is None or self.snapshot is None:
            return Strip.blank(width, blank)
        view = self._view
        if y >= view.height:
            return Strip(self._footer_line(y - view.height)).adjust_cell_length(width, blank)
        strip = self._grid_line(y + round(self.scroll_y))
        x = round(self.scroll_x)
        left = self._left
        strip = Strip([Segment(" " * left, blank), *strip.crop(x, x + view.width)])
        return strip.adjust_cell_length(width, blank)

    def _grid_line(self, line: int) -> Strip:
        assert self.snapshot is not None
        maze = self.snapshot.world.maze
        row, within = divmod(line, self._box.height)
        if row < maze.shape[0]:
            return self._row_strips(row)[within]
        if maze.wind and line == maze.shape[0] * self._box.height:
            return self._wind_line(maze.wind)
        return Strip.blank(self.virtual_size.width, self.rich_style)

    def _wind_line(self, wind: tuple[int, ...]) -> Strip:
        """Under each column, how many cells upward its wind pushes."""
        muted = self.get_component_rich_style(PREFIX + "muted")
        symbol, width = glyph_sets.current().wind, self._box.width
        labels = [f"{symbol}{n}" if width > 2 else str(n) for n in wind]
        cells = [label if n else "" for n, label in zip(wind, labels, strict=True)]
        text = "".join(cell.center(width + (width > 3)).ljust(width)[:width] for cell in cells)
        return Strip([Segment(text, muted)]).adjust_cell_length(self.virtual_size.width, muted)

    @property
    def palette(self) -> Palette:
        """The theme's colours, blended for the heat scales."""
        if self._palette is None:
            styles: dict[str, tuple[Color, Color]] = {}
            for part in PARTS:
                style = self.get_component_rich_style(PREFIX + part)
                assert style.color is not None and style.bgcolor is not None
                styles[part] = (
                    Color.from_rich_color(style.color),
                    Color.from_rich_color(style.bgcolor),
                )
            behind = self.background_colors[1]
            styles["edge"] = (behind, behind)  # the lines between cells let it show through
            self._palette = Palette(styles)
        return self._palette

    # ------------------------------------------------------------ footer

    def _write_footer(self, digit: int) -> None:
        assert self._picture is not None
        dots = self._box.dot
        compare = self.show_optimal_values and self._box.height == 1
        assert self.snapshot is not None
        kind = kinds.of(self.snapshot.preset)
        shown = legend(
            self._picture,
            digit,
            glyph_sets.current(),
            dots=dots,
            compare=compare,
            explores=kind.explores,
            shares=kind.writes_routes,
        )
        inspected = self.cursor if self.cursor is not None else self.agent
        region = self.scrollable_content_region
        room = max(region.height - self._view.height - 1, 1)
        parts = [self._plain(part) for part in self.details(inspected)]
        told = wrapped(parts, region.width, room, glyph_sets.current())
        if (shown, told) != (self._legend, self._inspected):
            self._legend, self._inspected = shown, told
            top = self._view.height
            self.refresh(Region(0, top, self.size.width, max(self.size.height - top, 0)))

    def _footer_line(self, line: int) -> list[Segment]:
        width = self.scrollable_content_region.width
        if line == 0:
            shown = fitted(self._legend, width - 1, self._plain)
            return [Segment(" ", self.rich_style), *map(self._segment, shown)]
        if line > len(self._inspected):
            return []
        look = self.get_component_rich_style(PREFIX + "inspect")
        return [Segment(self._inspected[line - 1], look)]

    def _segment(self, piece: Piece) -> Segment:
        text, part, slug = piece
        if part.startswith("heat:"):
            heat, scale = float(part[5:]), self._layers[self.layer_number - 1].scale
            full = self.palette.full(heat, scale)
            if self.palette.few:
                return self._few_heat(text, heat, full)
            ground = self.palette.colour(heat, scale).rich_color
            return Segment(text, Style.from_color(full.rich_color, ground))
        style = self.get_component_rich_style(PREFIX + part) if part else self.rich_style
        if part in PARTS:
            style = style + Style(bgcolor=self.rich_style.bgcolor)
        return Segment(self._plain(text), term_style(style, slug))

    def _few_heat(self, shade: str, heat: float, full: Color) -> Segment:
        """A step of the scale where there are few colours: a piece of a bar, with its sign."""
        if not self._box.dot:
            shade = glyph_sets.current().minus if heat < 0 else " "
        bar = not self._box.dot and heat != 0
        return Segment(shade, Style(color=full.rich_color, reverse=bar))

    def _plain(self, text: str) -> str:
        return glyph_sets.plain(text, glyph_sets.current().ascii)

    def details(self, cell: int) -> list[str]:
        """All that is known about one cell: value, optimum, Q and π per action, visits."""
        shot = self.snapshot
        if shot is None or self._picture is None or not 0 <= cell < shot.mdp.n_cells:
            return []
        return describe(
            self._picture, shot.mdp, shot.policy, shot.optimum, cell, glyph_sets.current()
        )

    # ------------------------------------------------------------ what makes it draw again

    def notify_style_update(self) -> None:
        """The theme or a style changed: nothing painted before is right."""
        super().notify_style_update()
        self._palette = self._painter = None
        self._styles.clear()
        self._rows.clear()

    def _repaint(self) -> None:
        self._rows.clear()
        if self.is_attached:
            self._arrange()
            self.refresh()

    def on_resize(self) -> None:
        """Choose the cell size anew."""
        self._repaint()

    def watch_layer_number(self) -> None:
        """Another layer."""
        self._repaint()

    def watch_show_optimal_values(self) -> None:
        """V* appears or goes."""
        self._repaint()

    def watch_show_optimal_path(self) -> None:
        """The optimal path appears or goes."""
        self._repaint()

    def watch_zoom(self) -> None:
        """Larger or smaller cells."""
        self._repaint()

    def watch_cursor(self) -> None:
        """Another cell is inspected."""
        self._arrange()
