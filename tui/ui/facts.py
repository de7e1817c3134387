"""A short table of facts: a label that is a glossary term, and what it is here, wrapped."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.style import Style
from textual.widget import Widget

from tui.ui import glyphs
from tui.ui.fact import Fact, Term
from tui.ui.terms import post_term


class Facts(Widget):
    """Labels in a column of their own; the texts wrap beside them."""

    DEFAULT_CSS = """
    Facts { height: auto; width: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._facts: tuple[Fact, ...] = ()

    def show(self, facts: list[Fact]) -> None:
        """Show these facts; texts must be clean already."""
        if tuple(facts) != self._facts:
            self._facts = tuple(facts)
            self.refresh(layout=True)

    def terms(self) -> list[Term]:
        """The labels that are glossary terms."""
        return [Term(fact.label, fact.slug) for fact in self._facts if fact.slug]

    def on_click(self, event: events.Click) -> None:
        """A click on a label asks for its glossary entry."""
        post_term(self, event)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def render(self) -> Content:
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        column = max((cell_len(fact.label) for fact in self._facts), default=0) + 2
        lines: list[Content] = []
        for fact in self._facts:
            text = Content(glyphs.plain(fact.text))
            for i, line in enumerate(text.wrap(max(width - column, 8))):
                label = Content.styled(
                    glyphs.plain(fact.label) if i == 0 else "", "$foreground 60%"
                )
                if fact.slug:
                    label = label.stylize(Style.from_meta({"term": fact.slug}))
                lines.append(label.pad_right(column - label.cell_length) + line.rstrip())
        return lines
