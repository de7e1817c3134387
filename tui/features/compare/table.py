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
from tui.ui.text import cut_apart, fit

GAP = 2
LEAST_LABEL = 10


class CompareTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows of figures, then of settings. Up and down scroll; the cursor of time is the screen's.

    Where not all runs have room, the table says how many more there are; the first one stays, for
    the differences are to it.
    """

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
        key("figures.left", "shift+left", "runs(-1)", "Runs before",
            "Show the columns of the runs further left", show=False),
        key("figures.right", "shift+right", "runs(1)", "More runs",
            "Show the columns of the runs further right, where not all have room", show=False),
    ]  # fmt: skip

    lit: reactive[tuple[str, ...]] = reactive(())
    """Slugs of the glossary terms whose labels stand out, because a lesson speaks of them."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.head: tuple[str, ...] = ()
        self.rows: list[Row] = []
        self._widths: tuple[int, list[int], list[int]] = (0, [], [])
        self._labels: dict[str, str] = {}
        self._first = 1
        """The first run that is shown beside run 0."""
        self._shown: list[int] = []
        """The places of the runs that have a column."""

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
        longest = max([LEAST_LABEL, *(cell_len(row.label) for row in self.rows if row.values)])
        if label < LEAST_LABEL:  # rather every run than all differences
            label += sum(more) + len(more)
            more = [0] * len(more)
        self._shown = list(range(count))
        if label < LEAST_LABEL:
            self._shown = self._fitting(room - LEAST_LABEL, values)
            label = room - sum(values[i] + GAP for i in self._shown)
        spare = label - longest
        if spare > 0:  # words between the numbers are easier to read in wider columns
            values = [width + min(spare // len(self._shown), 12) for width in values]
            label = longest
        self._widths = max(label, LEAST_LABEL), values, more
        names = [glyphs.plain(row.label) for row in self.rows if row.values]
        cut = cut_apart(names, self._widths[0], glyphs.current().ellipsis)
        self._labels = dict(zip(names, cut, strict=True))
        self.virtual_size = Size(room, len(self.rows) + 1)
        self.refresh()

    def _fitting(self, room: int, values: list[int]) -> list[int]:
        """The first run, and as many from `_first` on as have room beside it."""
        shown, room = [0], room - values[0] - GAP
        self._first = max(1, min(self._first, len(values) - 1))
        for place in range(self._first, len(values)):
            room -= values[place] + GAP
            if room < 0 and len(shown) > 1:
                break
            shown.append(place)
        while self._first > 1 and room >= values[self._first - 1] + GAP:
            self._first -= 1  # room for one before, too
            room -= values[self._first] + GAP
            shown.insert(1, self._first)
        return shown

    @property
    def outside(self) -> tuple[int, int]:
        """How many runs have no column, on the left and on the right of those that have one."""
        last = self._shown[-1] if self._shown else len(self.head) - 1
        hidden = len(self.head) - len(self._shown)
        return hidden - (len(self.head) - 1 - last), len(self.head) - 1 - last

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where all runs have a column there is nowhere to go."""
        return action != "runs" or any(self.outside)

    def action_runs(self, by: int) -> None:
        """Other runs beside the first one."""
        self._first = max(1, min(self._first + by, len(self.head) - 1))
        self._arrange()

    def _outside_words(self) -> str:
        """How many runs have no column, and which key shows them."""
        left, right = self.outside
        words = [f"{left} more: shift+←"] if left else []
        words += [f"{right} more: shift+→"] if right else []
        return glyphs.plain("  ".join(words))

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
        said = fit(self._outside_words(), label, glyphs.current().ellipsis)
        pieces = [Segment(said, self._style("section"))]
        for i, name in enumerate(self.head):
            if i not in self._shown:
                continue
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
        name = glyphs.plain(row.label)
        name = fit(self._labels.get(name, name), label, ellipsis)
        part = "lit" if row.slug and row.slug in self.lit else "label"
        pieces = [Segment(name, term_style(self._style(part), row.slug))]
        for i, value in enumerate(row.values):
            if i not in self._shown:
                continue
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
