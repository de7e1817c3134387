"""Which of the terms on screen to look up."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.glossary.entries import load
from tui.glossary.panel import spelled
from tui.ui.bindings import key
from tui.ui.dialog import Dialog
from tui.ui.fact import Term
from tui.ui.terms import unique
from tui.ui.text import clean

SEARCH = ""
"""What the screen is dismissed with when the user wants to search instead."""
ALL = "all-terms"


class TermPicker(Dialog[str]):
    """Lists labels that are on screen now with their entries; dismissed with a slug."""

    DEFAULT_CSS = """
    TermPicker > .box { width: 60; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("terms.close", "escape,q", "dismiss(None)", "Close", "Look up nothing"),
        key("terms.search", "g,slash", "search", "Search", "Search all terms instead"),
    ]

    def __init__(self, terms: list[Term]) -> None:
        super().__init__()
        self.titles = {entry.slug: entry.title for entry in load()}
        self.terms = [term for term in unique(terms) if term.slug in self.titles]

    def compose(self) -> ComposeResult:
        labels = [clean(term.label).strip() for term in self.terms]
        width = max(map(len, labels), default=0)
        options = [
            Option(Content(spelled(f"{label:<{width}}  {self.titles[term.slug]}")), id=term.slug)
            for label, term in zip(labels, self.terms, strict=True)
        ]
        search = Option(Content(spelled("Search all terms …")), id=ALL)
        yield OptionList(*options, search, classes="box", compact=True)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.border_title = "Which term on screen?"
        options.border_subtitle = "Enter: look it up   g: search all   Esc: close"
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id
        self.dismiss(SEARCH if chosen == ALL else chosen)

    def action_search(self) -> None:
        """Go to the search over all terms."""
        self.dismiss(SEARCH)
