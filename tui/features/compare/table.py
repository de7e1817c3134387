"""The table of figures at the cursor: a column for each run, and what it is more than the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.features.compare.figures import Row
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.fact import Term
from tui.ui.terms import post_term, term_style, unique
from tui.ui.text import fit

GAP = 2
LEAST_LABEL = 10


class CompareTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows of figures, then of settings. Up and down scroll; the cursor of time is the screen's."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "compare-table--head",
        "compare-table--label",
        "compare-table--value",
        "compare-table--more",
        "compare-table--lit",
        "compare-table--section",
    }
    DEFAULT_CSS = """
    CompareTable {
        height: 1fr;
        scrollbar-size: 1 1;
        overflow-x: hidden;
        & > .compare-table--head { color: $foreground; text-style: bold; }
        & > .compare-table--label { color: $foreground 80%; }
        & > .compare-table--value { color: $foreground; }
        & > .compare-table--more { color: $foreground 70%; text-style: italic; }
        & > .compare-table--lit { color: $text-accent; text-style: bold underline; }
        & > .compare-table--section { color: $foreground 60%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key("figures.up", "up", "scroll_up", "Up", "Scroll the figures", show=False),
        key("figures.down", "down", "scroll_down", "Down", "Scroll the figures", show=False),
    ]  # fmt: skip

    lit: reactive[tuple[str, ...]] = reactive(())
    """Slugs of the glossary terms whose labels stand out, because a lesson speaks of them."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.head: tuple[str, ...] = ()
        self.rows: list[Row] = []
        self._widths: tuple[int, list[int], list[int]] = (0, [], [])

    def show(self, head: Sequence[str], rows: Sequence[Row]) -> None:
        """Draw these: `head` names the runs; a row without values is the title of a section."""
        if (tuple(head), list(rows)) == (self.head, self.rows):
            return
        self.head, self.rows = tuple(head), list(rows)
        self._arrange()

    def terms(self) -> list[Term]:
        """The glossary terms of the rows."""
        return unique([Term(row.label, row.slug) for row in self.rows if row.slug])

    def on_resize(self) -> None:
        """Other widths."""
        self._arrange()

    def _number_widths(self) -> tuple[list[int], list[int]]:
        """Columns of the widest number of each run, and of its differences."""
        numbers, count = [row for row in self.rows if row.differences], len(self.head)
        values = [max([6, *(len(row.values[i]) for row in numbers)]) for i in range(count)]
        more = [
            max([6, *(len(row.differences[i - 1]) for row in numbers)]) for i in range(1, count)
        ]
        return values, more

    @property
    def wanted_width(self) -> int:
        """With so many columns, frame and scrollbar included, no figure and no label is cut."""
        values, more = self._number_widths()
        label = max([LEAST_LABEL, *(cell_len(row.label) for row in self.rows if row.values)])
        gaps = GAP * len(values) + len(more)
        return label + sum(values) + sum(more) + gaps + self.gutter.width + 1

    def _arrange(self) -> None:
        """Columns as wide as their numbers; words, which may be long, are cut to that."""
        if not self.size:
            return
        count = len(self.head)
        values, more = self._number_widths()
        room = self.scrollable_content_region.width
        label = room - sum(values) - sum(more) - GAP * count - len(more)
        if label < LEAST_LABEL:  # rather every run than all differences
            label += sum(more) + len(more)
            more = [0] * len(more)
        longest = max([LEAST_LABEL, *(cell_len(row.label) for row in self.rows)])
        spare = label - longest
        if spare > 0:  # words between the numbers are easier to read in wider columns
            values = [width + min(spare // count, 12) for width in values]
            label = longest
        self._widths = max(label, LEAST_LABEL), values, more
        self.virtual_size = Size(room, len(self.rows) + 1)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The head stands still; the rows scroll under it."""
        width = self.size.width
        if len(self._widths[1]) != len(self.head):  # it has only just come into sight
            return Strip.blank(width, self.rich_style)
        if y == 0:
            return self._head_line().adjust_cell_length(width, self.rich_style)
        place = y - 1 + round(self.scroll_y)
        if not 0 <= place < len(self.rows):
            return Strip.blank(width, self.rich_style)
        return self._row_line(self.rows[place]).adjust_cell_length(width, self.rich_style)

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"compare-table--{part}")

    def _head_line(self) -> Strip:
        label, values, more = self._widths
        style = self._style("head")
        pieces = [Segment(" " * label, style)]
        for i, name in enumerate(self.head):
            pieces.append(Segment(" " * GAP + glyphs.plain(name).rjust(values[i]), style))
            if i and more[i - 1]:
                against = glyphs.plain(f"−{self.head[0].split()[0]}")
                pieces.append(Segment(" " + against.rjust(more[i - 1]), self._style("more")))
        return Strip(pieces)

    def _row_line(self, row: Row) -> Strip:
        label, values, more = self._widths
        ellipsis = glyphs.current().ellipsis
        if not row.values:
            text = fit(glyphs.plain(row.label), self.size.width, ellipsis)
            return Strip([Segment(text, self._style("section"))])
        name = fit(glyphs.plain(row.label), label, ellipsis)
        part = "lit" if row.slug and row.slug in self.lit else "label"
        pieces = [Segment(name, term_style(self._style(part), row.slug))]
        for i, value in enumerate(row.values):
            words = not row.differences
            width = values[i] + (1 + more[i - 1] if words and i and more[i - 1] else 0)
            text = glyphs.plain(value)
            cut = text.rjust(values[i]) + " " * (width - values[i])
            if cell_len(text) > values[i]:
                cut = fit(text, width, ellipsis)
            pieces.append(Segment(" " * GAP + cut, self._style("value")))
            if i and more[i - 1] and not words:
                text = glyphs.plain(row.differences[i - 1]).rjust(more[i - 1])
                pieces.append(Segment(" " + text, self._style("more")))
        return Strip(pieces)

    async def _on_click(self, event: events.Click) -> None:
        post_term(self, event)
