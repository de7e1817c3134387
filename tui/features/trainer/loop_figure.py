"""The agent-environment loop as a small live figure: state, policy, action, environment, reward.

The upper half is the agent, the lower half the environment; between them stands what the agent
learned from the step. The labels are glossary terms, the values those of the newest step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip

from tui import kinds
from tui.features.trainer.loop_layout import LoopLayout
from tui.kinds.loop import Piece
from tui.ui import glyphs as glyph_sets
from tui.ui.fact import Term
from tui.ui.selecting import LinesToCopy
from tui.ui.terms import post_term, term_style, unique

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

PREFIX = "loop--"
WIDE = 58
"""From this many columns on the full figure, below it the compact one."""


class LoopFigure(LinesToCopy):
    """Five lines for the loop from `WIDE` columns on, three in the compact form below."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        PREFIX + part
        for part in ("frame", "term", "value", "muted", "explored", "exploited", "good", "bad")
    }

    DEFAULT_CSS = """
    LoopFigure {
        height: 5;
        &.-compact { height: 3; }
        & > .loop--frame { color: $primary; }
        & > .loop--term { color: $foreground; text-style: underline; }
        & > .loop--value { color: $foreground; text-style: bold; }
        & > .loop--muted { color: $foreground 60%; }
        & > .loop--explored { color: $text-warning; text-style: bold; }
        & > .loop--exploited { color: $foreground; text-style: bold; }
        & > .loop--good { color: $text-success; text-style: bold; }
        & > .loop--bad { color: $text-error; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._snapshot: Snapshot | None = None
        self._lines: list[list[Piece]] = []

    def show(self, snapshot: Snapshot) -> None:
        """Draw the newest step."""
        self._snapshot = snapshot
        self._compose_lines()

    def terms(self) -> list[Term]:
        """The labels of the loop, clockwise from the state."""
        return unique([Term(p.text, p.slug) for line in self._lines for p in line if p.slug])

    def on_resize(self) -> None:
        """Choose the form that fits."""
        self.set_class(self.size.width < WIDE, "-compact")
        self._compose_lines()

    def _compose_lines(self) -> None:
        shot, width = self._snapshot, self.size.width
        if shot is None or not width:
            return
        story = kinds.of(shot.preset).loop(shot.world.maze, shot.step, glyph_sets.current())
        layout = LoopLayout(story)
        lines = layout.full(width) if width >= WIDE else layout.compact(width)
        for y, line in enumerate(lines):
            if y >= len(self._lines) or line != self._lines[y]:
                self.refresh(Region(0, y, width, 1))
        self._lines = lines

    def line_strip(self, y: int) -> Strip:
        """One line of the figure."""
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self.rich_style)
        segments = [
            Segment(glyph_sets.plain(piece.text), self._style(piece)) for piece in self._lines[y]
        ]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _style(self, piece: Piece) -> Style:
        return term_style(self.get_component_rich_style(PREFIX + piece.part), piece.slug)

    async def _on_click(self, event: events.Click) -> None:
        post_term(self, event)
