"""The drawing half of the trajectory log: from a snapshot to strips, one for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.geometry import Region, Size, Spacing
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from engine.learning.events import Episode
from tui import kinds
from tui.kinds.columns import Column
from tui.log.log_columns import Cell, fitting, header, step_cells, titles
from tui.log.log_entries import Entry, Key, Row, Rows, entries
from tui.ui import glyphs as glyph_sets
from tui.ui.fact import Term
from tui.ui.selecting import selectable, selected
from tui.ui.terms import term_style, unique

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

PREFIX = "log--"
KEPT_EPISODES = 64
"""Fetched episodes that are kept."""
LEAP = 3
"""The log of a run that goes on scrolls by a third of its height: between two leaps the rows stand
still to be read, and only the lines of the newest step are painted."""
OPEN_AHEAD = 2
"""How many of the newest episodes are open unless folded by hand."""


class LogView(ScrollView):
    """Episodes as foldable rows, their steps below them; one row has the cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        PREFIX + part
        for part in ("term", "title", "header", "value", "muted", "explored", "exploited")
    } | {PREFIX + part for part in ("planned", "good", "bad", "cursor", "cursor-blurred")}

    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size: 1 1;
        & > .log--title { background: $panel; }
        & > .log--term { color: $foreground; text-style: underline; }
        & > .log--header { color: $foreground; text-style: bold; }
        & > .log--value { color: $foreground; }
        & > .log--muted { color: $foreground 60%; }
        & > .log--explored { color: $text-warning; }
        & > .log--exploited { color: $foreground; }
        & > .log--planned { color: $text-primary; }
        & > .log--good { color: $text-success; }
        & > .log--bad { color: $text-error; }
        & > .log--cursor { background: $primary 30%; }
        & > .log--cursor-blurred { background: $foreground 10%; }
    }
    """

    following: reactive[bool] = reactive(True, init=False)
    """Keep the newest row in view, with the cursor on it."""

    class EpisodeRequested(Message):
        """The steps of a recorded episode are needed: answer with `provide`."""

        def __init__(self, log: LogView, episode_id: int) -> None:
            self.log = log
            self.episode_id = episode_id
            super().__init__()

        @property
        def control(self) -> LogView:
            """The log that asks."""
            return self.log

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._snapshot: Snapshot | None = None
        self._provided: dict[int, Episode] = {}
        self._requested: set[int] = set()
        self._folds: dict[Key, bool] = {}
        self._newest: set[Key] = set()
        self._rows = Rows([], lambda _: False)
        self._place: tuple[Key, int] | None = None
        self._cursor = -1
        self._columns: tuple[Column, ...] = ()
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(1024)
        self._drawn: dict[int, tuple[object, ...]] = {}

    # ------------------------------------------------------------ data in

    def show(self, snapshot: Snapshot) -> None:
        """List the episodes and steps of this moment. Only lines that differ are repainted."""
        if self._snapshot is None or self._snapshot.run_id != snapshot.run_id:
            self._forget()
        self._snapshot = snapshot
        self._list()

    def provide(self, episode_id: int, episode: Episode) -> None:
        """The steps of a recorded episode, once they have been read."""
        self._provided[episode_id] = episode
        self._requested.discard(episode_id)
        if len(self._provided) > KEPT_EPISODES:
            del self._provided[next(iter(self._provided))]
        self._list()

    def _forget(self) -> None:
        self._provided.clear()
        self._requested.clear()
        self._folds.clear()
        self._strips.clear()
        self._place, self.following = None, True

    def _list(self) -> None:
        """Number the rows anew and keep the cursor on the row it was on."""
        shot = self._snapshot
        if shot is None:
            return
        kind = kinds.of(shot.preset)
        listed = entries(shot.episodes, shot.steps, self._provided, sweep=kind.plans)
        self._newest = {e.key for e in listed[-OPEN_AHEAD:] if e.steps is not None}
        for entry in listed:
            if entry.steps is None and self._is_open(entry):
                self._request(entry)
        self._rows = Rows(listed, self._is_open)
        self._columns = fitting(self.scrollable_content_region.width, kind.columns)
        self._make_room(Size(self.size.width, self._lines()))
        if self.following or self._place is None:
            self._set_cursor(len(self._rows) - 1)
        else:
            self._set_cursor(max(self._rows.find(self._place), 0), scroll=False)
        self._repaint_changed()

    def _lines(self) -> int:
        """Titles and rows; while the run goes on with room for those of the next steps."""
        lines, height = len(self._rows) + 1, self.size.height
        shot = self._snapshot
        if lines <= height or shot is None or not shot.following or shot.head.ended:
            return max(lines, height)
        leap = max(height // LEAP, 1)
        return height + -(-(lines - height) // leap) * leap

    def _make_room(self, room: Size) -> None:
        """Set the size of what is scrolled. Laying out the screen anew takes longer than all that
        is painted, so it is left out where the scrollbar stays there."""
        if self.show_vertical_scrollbar and room.height > self.size.height:
            if room != self.virtual_size:
                self.set_reactive(LogView.virtual_size, room)
                self._scroll_update(room)
        else:
            self.virtual_size = room

    def _request(self, entry: Entry) -> None:
        """Ask for the steps of a recorded episode, once."""
        if entry.id is not None and entry.id not in self._requested:
            self._requested.add(entry.id)
            self.post_message(self.EpisodeRequested(self, entry.id))

    def _is_open(self, entry: Entry) -> bool:
        return self._folds.get(entry.key, entry.key in self._newest)

    def terms(self) -> list[Term]:
        """The titles of the columns."""
        return unique([Term(column.title, column.slug) for column in self._columns])

    # ------------------------------------------------------------ cursor

    def _set_cursor(self, number: int, *, scroll: bool = True) -> None:
        """Put the cursor on a row and remember which row that is."""
        count = len(self._rows)
        self._cursor = max(0, min(number, count - 1)) if count else -1
        if self._cursor < 0:
            self._place = None
            return
        self._place = self._rows[self._cursor].place
        if scroll and self._cursor == count - 1:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)
        elif scroll:
            row = Region(0, self._cursor, 1, 1)
            below = Spacing(0, 0, 1, 0)  # the line of titles takes one from the rows
            self.scroll_to_region(row, spacing=below, animate=False, force=True, immediate=True)

    def on_focus(self) -> None:
        """The cursor is drawn stronger."""
        self._repaint_changed()

    def on_blur(self) -> None:
        """The cursor is drawn weaker."""
        self._repaint_changed()

    # ------------------------------------------------------------ painting

    def _look(self, number: int) -> tuple[object, ...]:
        """Equal looks mean that two rows are drawn alike."""
        row = self._rows[number]
        entry, step = row.entry, row.step
        focus = (self.has_focus if number == self._cursor else None, self.size.width)
        if step is None:
            parts = (entry.length, entry.total_return, entry.over, entry.success)
            return row.place, entry.id, parts, self._is_open(entry), focus
        known = None if entry.returns is None else entry.returns[row.position]
        learned = step.error, step.probabilities_after
        return row.place, step.step, step.kind, learned, known, focus

    def _repaint_changed(self) -> None:
        top = round(self.scroll_y)
        changed = []
        for y in range(1, self.size.height):
            number = top + y - 1
            look = self._look(number) if number < len(self._rows) else ()
            if self._drawn.get(y) != look:
                changed.append(Region(0, y, self.size.width, 1))
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        """A line of the viewport: the titles stay, the rows scroll."""
        line = round(self.scroll_y) + y if y else 0
        return selectable(self, self._line(y), line)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The titles and rows that were dragged over, as they are written."""
        lines = [self._title_strip(), *map(self._row_strip, range(len(self._rows)))]
        return selected(selection, (strip.text for strip in lines))

    def _title_strip(self) -> Strip:
        ground = Style(bgcolor=self.get_component_rich_style(PREFIX + "title").bgcolor)
        return self._strip(titles(self._columns, glyph_sets.current()), self.size.width, ground)

    def _row_strip(self, number: int) -> Strip:
        return self._strip(self._cells(self._rows[number]), self.size.width, self._ground(number))

    def _line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._title_strip()
        number = round(self.scroll_y) + y - 1
        if number >= len(self._rows):
            self._drawn[y] = ()
            return Strip.blank(width, self.rich_style)
        look = self._look(number)
        self._drawn[y] = look
        strip = self._strips.get(look)
        if strip is None:
            strip = self._row_strip(number)
            self._strips[look] = strip
        return strip

    def _ground(self, number: int) -> Style:
        if number != self._cursor:
            return Style(bgcolor=self.rich_style.bgcolor)
        part = "cursor" if self.has_focus else "cursor-blurred"
        return Style(bgcolor=self.get_component_rich_style(PREFIX + part).bgcolor)

    def _cells(self, row: Row) -> list[Cell]:
        assert self._snapshot is not None
        glyphs, step = glyph_sets.current(), row.step
        if row.position < 0:
            steps = self._snapshot.steps
            watched = steps[-1].agent if steps else 0
            is_open, width = self._is_open(row.entry), self.size.width
            kind = kinds.of(self._snapshot.preset)
            name = kind.episode_name(row.entry.index, row.entry.end)
            return header(
                row.entry, is_open, watched, width, glyphs, name, self._snapshot.world.maze
            )
        if step is None:
            return [Cell(f"    {glyphs.ellipsis} reading the record", "muted")]
        maze = self._snapshot.world.maze
        return step_cells(row, step, self._columns, maze, glyphs)

    def _strip(self, cells: list[Cell], width: int, ground: Style) -> Strip:
        segments = [
            Segment(
                glyph_sets.plain(cell.text),
                term_style(self.get_component_rich_style(PREFIX + cell.part) + ground, cell.slug),
            )
            for cell in cells
        ]
        return Strip(segments).adjust_cell_length(width, self.rich_style + ground)

    def notify_style_update(self) -> None:
        """The theme changed."""
        super().notify_style_update()
        self._strips.clear()

    def on_resize(self) -> None:
        """Choose the columns anew."""
        self._strips.clear()
        self._list()
        self.refresh()
