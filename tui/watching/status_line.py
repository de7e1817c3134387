"""Two lines over the trainer: what runs, how far it is, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Region
from textual.style import Style
from textual.widget import Widget

from tui.model.snapshot import Snapshot
from tui.ui import glyphs
from tui.ui.fact import Term
from tui.ui.terms import post_term
from tui.ui.text import clean, fit
from tui.watching.head_facts import Fact, Playback, Progress, facts_of, pace_text

__all__ = ["Fact", "Playback", "StatusLine", "pace_text"]

GAP = 3
LEAST_TITLE = 12


class StatusLine(Widget):
    """Title, state, pace and counters; below them one sentence about what can be done."""

    DEFAULT_CSS = """
    StatusLine {
        height: 2;
        padding: 0 1;
        background: $panel;
        & > .status-line--title { text-style: bold; }
        & > .status-line--hint { color: $foreground 75%; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"status-line--title", "status-line--hint"}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = ""
        self._facts: tuple[Fact, ...] = ()
        self._hint = "Reading the run …"
        self._progress = Progress()
        self.own_title = ""
        """The title that the user gave the run, clean; empty for the preset's."""

    def show(self, snapshot: Snapshot, mark: str, playback: Playback | None, hint: str) -> None:
        """Draw this moment. `mark` stands for the state of the run; `playback` replaces it while a
        recording is shown."""
        title = self.own_title or clean(snapshot.preset.title)
        room = self.content_size.width - GAP - min(cell_len(title), LEAST_TITLE)
        self.tell(title, facts_of(snapshot, mark, playback, self._progress, room), hint)

    def tell(self, title: str, facts: Sequence[Fact], hint: str) -> None:
        """Draw these; the title must be clean."""
        facts = tuple(facts)
        if not self._facts:  # what was said before took the first line
            self.refresh()
        elif (title, facts) != (self._title, self._facts):
            self.refresh(Region(0, 0, self.size.width, 1))
        self._title, self._facts = title, facts
        self.say(hint)

    def say(self, hint: str) -> None:
        """Change the second line only."""
        if hint != self._hint:
            self._hint = hint
            self.refresh(Region(0, 1 if self._facts else 0, self.size.width, 1))

    def terms(self) -> list[Term]:
        """The glossary terms of the first line."""
        return [Term(fact.text, fact.slug) for fact in self._facts]

    def render(self) -> RenderResult:
        title = self.get_visual_style("status-line--title")
        muted = self.get_visual_style("status-line--hint")
        width = self.content_size.width
        if not self._facts:
            return self._line([(self._hint, muted)])
        facts = "  ".join(fact.text for fact in self._facts)
        room = max(width - cell_len(facts) - GAP, LEAST_TITLE)
        ellipsis = glyphs.current().ellipsis
        name = fit(self._title, min(room, cell_len(self._title)), ellipsis)
        pieces = [(name, title), (" " * GAP, Style())]
        for fact in self._facts:
            pieces += [(fact.text, Style.from_meta({"term": fact.slug})), ("  ", Style())]
        hint = glyphs.plain(self._hint)
        return Content("\n").join(
            [self._line(pieces), self._line([(fit(hint, width, ellipsis), muted)])]
        )

    @staticmethod
    def _line(pieces: list[tuple[str, Style]]) -> Content:
        return Content("").join(Content.styled(glyphs.plain(text), look) for text, look in pieces)

    async def _on_click(self, event: events.Click) -> None:
        post_term(self, event)
