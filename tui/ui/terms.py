"""The convention for "this text on screen is a glossary term".

A label that is a term is drawn with `term_style` (the widget's `…--term` component style, plus the
slug as metadata). A click on it posts `TermClicked`; from the keyboard, a screen asks the focused
widget for its `terms()`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rich.style import Style
from textual import events
from textual.message import Message
from textual.widget import Widget

from tui.ui.fact import Term


@runtime_checkable
class HasTerms(Protocol):
    """A widget that can say which terms it shows now."""

    def terms(self) -> list[Term]:
        """The terms on screen, in reading order, each slug once."""


class TermClicked(Message):
    """A label that is a glossary term was clicked."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        super().__init__()


def term_style(style: Style, slug: str) -> Style:
    """The Rich style of a label that belongs to the entry `slug`; unchanged without one."""
    return style + Style(meta={"term": slug}) if slug else style


def post_term(widget: Widget, event: events.Click) -> bool:
    """Post `TermClicked` when the click hit a term. Whether it did."""
    slug = event.style.meta.get("term")
    if not isinstance(slug, str):
        return False
    event.stop()
    widget.post_message(TermClicked(slug))
    return True


def unique(terms: list[Term]) -> list[Term]:
    """The terms without repeats of a slug: the first label of each stands for it."""
    first: dict[str, Term] = {}
    for term in terms:
        first.setdefault(term.slug, term)
    return list(first.values())
