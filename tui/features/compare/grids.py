"""The grids of runs that are compared: side by side, each with how well it does at the cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult, RenderResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from tui import kinds
from tui.features.compare.figures import optimum, reading
from tui.features.compare.watch import Comparison, Side
from tui.maze.maze_grid import MazeGrid
from tui.maze.maze_paint import BOXES
from tui.maze.maze_view import FOOTER
from tui.plot.chart_plot import ASCII_MARKERS, MARKERS
from tui.ui import glyphs
from tui.ui.fact import Term
from tui.ui.terms import HasTerms, post_term, unique
from tui.ui.text import cut_apart, fit, number, percent, si

NARROWEST = 36
"""Columns below which grids stand in two rows instead of one."""
AROUND = 4
"""Lines of a card beside its grid: the border, the line of figures, a blank one."""
POLICY_LAYER = 4
"""Where grids begin: with the policy's arrows, the easiest to compare."""


def marker(place: int) -> str:
    """The sign of a run, the same as that of its curve in the chart."""
    return (ASCII_MARKERS if glyphs.current().ascii else MARKERS)[place]


class CardLine(Widget):
    """One line under a grid: where the run is, and its success and return there."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    CardLine {
        height: 1;
        width: 1fr;
        & > .card-line--lit { color: $text-accent; text-style: bold underline; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"card-line--lit"}

    lit: reactive[tuple[str, ...]] = reactive(())
    """Slugs of the glossary terms that stand out, because a lesson speaks of them."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: tuple[Term, ...] = ()

    def tell(self, facts: tuple[Term, ...]) -> None:
        """Show these, as far as there is room."""
        if facts != self.facts:
            self.facts = facts
            self.refresh()

    def terms(self) -> list[Term]:
        """The glossary terms of the line."""
        return unique([fact for fact in self.facts if fact.slug])

    def render(self) -> RenderResult:
        pieces: list[Content] = []
        room = self.content_size.width
        lit = self.get_visual_style("card-line--lit")
        for label, slug in self.facts:
            text = glyphs.plain(label)
            if len(text) > room:
                if pieces:
                    break
                text = fit(text, room, glyphs.current().ellipsis)
            look = Style.from_meta({"term": slug}) if slug else Style()
            if slug in self.lit:
                look = lit + look
            pieces += [Content.styled(text, look), Content("  ")]
            room -= len(text) + 2
        return Content("").join(pieces)

    async def _on_click(self, event: events.Click) -> None:
        post_term(self, event)


class CardGrid(MazeGrid, can_focus=False):
    """A grid among others: the screen has the keys for all of them."""


class RunCard(Vertical):
    """One run: its title around, its grid, its figures at the cursor."""

    DEFAULT_CSS = """
    RunCard {
        border: $frame $foreground 30%;
        border-title-color: $foreground;
        padding: 0 1;
        height: 1fr;
    }
    """

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place
        self.grid, self.line = CardGrid(), CardLine()
        self._words = ""
        self._begun = False

    def compose(self) -> ComposeResult:
        yield self.grid
        yield self.line

    def show(self, side: Side, comparison: Comparison) -> None:
        """Draw the run at the cursor."""
        sign = f"{side.letter} {marker(self.place)} "
        room = max(self.size.width - 4 - len(sign), 1)
        title = Content(sign + titles(comparison.sides, room)[self.place])
        if str(self.border_title) != str(title):
            self.border_title = title
        shot = side.snapshot
        if shot is None:
            self.line.tell((Term(side.words, "run-state"),))
            return
        if not self._begun:
            self._begun = True
            kind = kinds.of(shot.preset)
            self.grid.layer_number = kind.first_layer if kind.policy_given else POLICY_LAYER
        if self.grid.snapshot is not shot:
            self.grid.show(shot)
        self.line.tell(told(side, comparison, self.size.width))


def titles(sides: Sequence[Side], width: int) -> list[str]:
    """What the runs are called in so many columns; what tells them apart is not cut.

    By the preset's name, as lessons call it, and its title; of runs of one preset only the title
    tells.
    """
    ellipsis = glyphs.current().ellipsis
    names = [side.preset_name for side in sides]
    found = [
        glyphs.plain(
            f"{side.preset_name}: {side.title}"
            if names.count(side.preset_name) == 1
            else side.title
        )
        for side in sides
    ]
    return cut_apart(found, width, ellipsis)


def told(side: Side, comparison: Comparison, width: int) -> tuple[Term, ...]:
    """A run at the cursor in a few words: success and return first, then how far it is."""
    shot = side.snapshot
    assert shot is not None
    success = reading(side, "success_rate", comparison).mean
    value = reading(side, "expected_return", comparison).mean
    best, most = optimum(shot, "success_rate"), optimum(shot, "expected_return")
    roomy = width >= 60
    clock = kinds.of(shot.preset).clock
    return (
        Term(f"success {percent(success)}" + f" (optimum {percent(best)})" * roomy, "success-rate"),
        Term(f"return {number(value)}" + f" (optimum {number(most)})" * roomy, "expected-return"),
        Term(f"{clock.unit} {si(shot.at)}", clock.slug),
        Term(shot.head.state, "run-state"),
        Term(shot.algorithm.name, "algorithm"),
    )


class CompareGrids(Container, can_focus=True):
    """Two to four runs beside each other, in two rows where the terminal is narrow."""

    DEFAULT_CSS = """
    CompareGrids { layout: grid; height: 1fr; }
    """

    def __init__(self, count: int, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.cards = [RunCard(place) for place in range(count)]
        self._comparison: Comparison | None = None

    def compose(self) -> ComposeResult:
        yield from self.cards

    @property
    def grids(self) -> list[CardGrid]:
        """The grids, from left to right."""
        return [card.grid for card in self.cards]

    def wanted_height(self, comparison: Comparison, width: int, most: int) -> int:
        """How many of at most `most` lines the grids can use, where they are `width` wide: as
        many as the largest cells take with which every maze fits."""
        needed = [AROUND]
        columns = width // self._columns(width) - 4
        in_rows = -(-len(self.cards) // self._columns(width))
        most //= in_rows
        for side in comparison.sides:
            if side.snapshot is None:
                return most * in_rows
            maze = side.snapshot.world.maze
            height, breadth = maze.shape
            lines = FOOTER + AROUND + bool(maze.wind)
            fitting = [
                height * box.height + lines
                for box in BOXES
                if height * box.height + lines <= most and breadth * box.width < columns + box.dot
            ]
            needed.append(fitting[0] if fitting else most)
        return max(needed) * in_rows

    def _columns(self, width: int) -> int:
        """How many grids stand beside each other."""
        count = len(self.cards)
        return count if width // count >= NARROWEST else min(count, 2)

    def show(self, comparison: Comparison) -> None:
        """Draw all runs at the cursor."""
        self._comparison = comparison
        if self.size:
            self._draw()

    def _draw(self) -> None:
        if self._comparison is not None:
            for card, side in zip(self.cards, self._comparison.sides, strict=True):
                card.show(side, self._comparison)

    def on_resize(self, event: events.Resize) -> None:
        """As many beside each other as can be read."""
        columns = self._columns(event.size.width)
        self.styles.grid_size_columns = columns
        self.styles.grid_size_rows = -(-len(self.cards) // columns)
        self.call_after_refresh(self._draw)

    def terms(self) -> list[Term]:
        """The glossary terms of all cards."""
        found: list[Term] = []
        for card in self.cards:
            shown: tuple[Widget, ...] = (card.grid, card.line)
            for widget in shown:
                found += widget.terms() if isinstance(widget, HasTerms) else []
        return unique(found)

    def light(self, slugs: tuple[str, ...]) -> None:
        """Let the labels of these terms stand out."""
        for card in self.cards:
            card.line.lit = slugs

    # ------------------------------------------------------------ what acts on all grids

    async def each(self, action: str) -> None:
        """Carry out an action of the grid in all of them."""
        for grid in self.grids:
            await grid.run_action(action)

    def every(self, change: Callable[[CardGrid], object]) -> None:
        """Change all grids."""
        for grid in self.grids:
            change(grid)

    @on(MazeGrid.CellSelected)
    def _cell_selected(self, message: MazeGrid.CellSelected) -> None:
        """The same cell of every maze of that shape is inspected."""
        message.stop()
        shown = message.grid.snapshot
        for grid in self.grids:
            other = grid.snapshot
            if grid is message.grid or shown is None or other is None:
                continue
            if other.world.maze.shape == shown.world.maze.shape:
                grid.cursor = message.cell
