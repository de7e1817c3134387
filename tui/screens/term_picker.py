"""Which of the terms on screen to look up."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.glossary import load
from tui.widgets.terms import Term
from tui.widgets.text import clean

SEARCH = ""
"""What the screen is dismissed with when the user wants to search instead."""


class TermPicker(ModalScreen[str]):
    """Lists labels that are on screen now with their entries; dismissed with a slug."""

    DEFAULT_CSS = """
    TermPicker {
        align: center middle;
        & > OptionList {
            width: 60;
            max-width: 95%;
            height: auto;
            max-height: 80%;
            border: round $accent;
            border-title-color: $foreground;
        }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", id="terms.close"),
        Binding("g,slash", "search", "Search all terms", id="terms.search"),
    ]

    def __init__(self, terms: list[Term]) -> None:
        super().__init__()
        glossary = load()
        known = {entry.slug: entry for entry in glossary}
        self.terms = [term for term in terms if term.slug in known]
        self.titles = {slug: entry.title for slug, entry in known.items()}

    def compose(self) -> ComposeResult:
        options = [
            Option(Content(f"{clean(term.label):<24} {self.titles[term.slug]}"), id=term.slug)
            for term in self.terms
        ]
        yield OptionList(*options, Option(Content("Search all terms …"), id="all-terms"))

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.border_title = "Which term on screen?"
        options.border_subtitle = "Enter: look it up   g: search all   Esc: close"
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id
        self.dismiss(SEARCH if chosen == "all-terms" else chosen)

    def action_search(self) -> None:
        """Go to the search over all terms."""
        self.dismiss(SEARCH)
