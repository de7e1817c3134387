"""The Lab on the home screen: its list, and the facts of the highlighted row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widgets.option_list import Option

from tui.library.lab_shelf import LabCard
from tui.library.lists import HomeList
from tui.library.search import Search
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.fact import Fact

STATES = {
    "not tried": ("○", "o", "$foreground 60%"),
    "tried": ("◐", "+", "$text-warning"),
    "understood": ("●", "*", "$text-success"),
}
"""How far one is with a challenge: a symbol, its ASCII form, a theme colour."""
HEADINGS = {
    "challenge": "Challenges",
    "page": "Further lessons",
    "preset": "Further experiments",
}
"""The kinds of rows in their order, with their headings."""


class LabList(HomeList):
    """The challenges in order, further lessons and further experiments."""

    HELP_TITLE = "Lab"

    BINDINGS: ClassVar[list[BindingType]] = [
        key("lab.open", "enter", "select", "Open",
            "Run what fails and what mends it side by side, with the lesson", sign="enter")
    ]  # fmt: skip

    def show_lab(self, cards: Iterable[LabCard], states: Mapping[str, str], search: Search) -> None:
        """Show the rows that are looked for; `states` says how far one is, by name."""
        cards = list(cards)
        fitting = [card for card in cards if search.has_row(card)]
        options: list[Option] = []
        for kind, heading in HEADINGS.items():
            rows = [c for c in fitting if c.kind == kind]
            if rows:
                title = Content.styled(heading, "bold $text-secondary")
                options.append(Option(title, disabled=True))
                options += [Option(lab_prompt(c, states), id=c.id) for c in rows]
        self.show(options, "Nothing in the Lab is like that.")
        challenges = [c for c in cards if c.kind == "challenge"]
        understood = sum(states.get(c.name) == "understood" for c in challenges)
        self.border_title = f"Lab: {understood} of {len(challenges)} understood"
        if search.active:
            self.border_title = f"Lab {len(fitting)}" if fitting else "Lab: nothing found"


def state_text(state: str) -> Content:
    """How far one is, by a symbol and in words."""
    symbol, plain, colour = STATES[state]
    return Content.styled(f"{plain if glyphs.current().ascii else symbol} {state}", colour)


def lab_prompt(card: LabCard, states: Mapping[str, str]) -> Content:
    """A row of the Lab: number and title, and below how far one is, and the question."""
    if card.error:
        return Content.assemble(("? ", "$text-error"), glyphs.plain(card.title))
    if card.kind == "preset":
        return Content(f"  {glyphs.plain(card.title)}")
    number = f"{card.number:>2} " if card.kind == "challenge" else ""
    return Content.assemble(
        (number, "$foreground 60%"),
        glyphs.plain(card.title),
        "\n   " if number else "\n  ",
        state_text(states.get(card.name, "not tried")),
        (f"  {glyphs.plain(card.question)}", "$foreground 60%"),
    )


def facts_of(card: LabCard, state: str) -> list[Fact]:
    """What the preview of a challenge or page says below its question."""
    if card.error:
        return [Fact("mistake", "", card.error)]
    facts = [Fact("state", "understood", str(state_text(state)))]
    labels = [("fails", "challenge-lab"), ("remedy", "remedy-run")]
    for i, preset in enumerate(card.presets):
        label, slug = labels[min(i, 1)] if card.kind == "challenge" else ("run", "run")
        facts.append(Fact(label, slug, f"{preset.title}. {preset.summary}"))
    if card.lesson is not None:
        asks = sum(len(page.asks) for page in card.lesson.pages)
        text = f"{len(card.lesson.pages)} pages, {asks} question{'s' if asks != 1 else ''}"
        facts.append(Fact("lesson", "lesson-prediction", text))
    if card.lesson_error:
        facts.append(Fact("lesson", "", card.lesson_error))
    if card.challenge is not None:
        facts += [Fact("term", slug, title) for slug, title in _titles(card.challenge.terms)]
    return facts


def _titles(slugs: Iterable[str]) -> list[tuple[str, str]]:
    """The glossary entries of these names that there are, with their titles."""
    # start-up time
    from tui.glossary.entries import load

    titles = {entry.slug: entry.title for entry in load()}
    return [(slug, titles[slug]) for slug in slugs if slug in titles]
