"""The lists of presets and runs on the home screen, and how a preset or a run looks in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.library.facts_of import STATES, symbol
from tui.library.shelf import GROUPS, PresetCard, RunCard, matches
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.text import percent

ROOM_AROUND = 2
"""Columns of a row that its text cannot have."""


class HomeList(OptionList, inherit_bindings=False):
    """A list that keeps its highlight when its rows change; Page Up and Down are the preview's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key(f"list.{name}", name, action, what, f"Go to the {what} row", show=False)
        for name, action, what in (
            ("up", "cursor_up", "previous"),
            ("down", "cursor_down", "next"),
            ("home", "first", "first"),
            ("end", "last", "last"),
        )
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id, markup=False)

    @property
    def chosen(self) -> str | None:
        """The id of the highlighted row."""
        option = self.highlighted_option
        return option.id if option else None

    def show(self, options: list[Option], nothing: str) -> None:
        """Show these rows, or the sentence `nothing`; draw only what changed."""
        if not options:
            options = [Option(Content.styled(nothing, "$foreground 60%"), disabled=True)]
        before = [(option.id, option.disabled) for option in self.options]
        if before == [(option.id, option.disabled) for option in options]:
            for i, option in enumerate(options):
                if self.options[i].prompt != option.prompt:
                    self.replace_option_prompt_at_index(i, option.prompt)
            return
        kept = self.chosen
        self.set_options(options)
        choices = [i for i, option in enumerate(options) if not option.disabled]
        same = [i for i in choices if kept is not None and options[i].id == kept]
        self.highlighted = next(iter(same or choices), None)


class PresetList(HomeList):
    """The presets."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("presets.choose", "enter", "select", "Choose",
            "Show the settings of this preset; Enter there starts it", sign="enter")
    ]  # fmt: skip

    def show_presets(self, cards: Iterable[PresetCard], words: str) -> None:
        """Show the presets that have all `words`, under the headings of their groups. Those of
        challenges are the Lab's."""
        own = [c for c in cards if c.group != "challenge"]
        fitting = [c for c in own if matches(words, c.name, c.title, c.summary)]
        options: list[Option] = []
        for group, heading in GROUPS.items():
            rows = [Option(preset_prompt(c), id=c.name) for c in fitting if c.group == group]
            if rows:
                title = Content.styled(heading, "bold $text-secondary")
                options += [Option(title, disabled=True), *rows]
        self.show(options, "No preset has these words.")
        self.border_title = f"Presets {len(fitting)}" if fitting else "Presets"


class RunList(HomeList):
    """The runs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("runs.open", "enter", "select", "Open",
            "Watch this run if it is live, look back at it if it has ended", sign="enter"),
        key("runs.mark", "space", "mark", "Mark",
            "Mark this run for a comparison, or take the mark away"),
    ]  # fmt: skip

    class MarksChanged(Message):
        """A run was marked, or its mark taken away."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.marked: set[str] = set()
        """The ids of the marked runs."""

    def action_mark(self) -> None:
        """Mark the highlighted run, or take its mark away."""
        if self.chosen is not None:
            self.marked ^= {self.chosen}
            self.post_message(self.MarksChanged())

    def show_runs(self, cards: Collection[RunCard], words: str) -> None:
        """Show the runs that have all `words`, in the order given."""
        self.marked &= {card.summary.id for card in cards}
        fitting = [c for c in cards if matches(words, c.title, c.summary.id, c.summary.state)]
        width = self.scrollable_content_region.width - ROOM_AROUND
        options = [
            Option(run_prompt(card, self.marked, width), id=card.summary.id) for card in fitting
        ]
        self.show(options, "No run has these words." if cards else "None yet. Enter starts one.")
        self.border_title = f"Runs {len(fitting)}" if fitting else "Runs"


def preset_prompt(card: PresetCard) -> Content:
    """A preset in the list."""
    if card.error:
        return Content.assemble((f"{symbol('broken')} ", "$text-error"), glyphs.plain(card.title))
    return Content(glyphs.plain(card.title))


def run_prompt(card: RunCard, marked: Set[str] = frozenset(), width: int = 0) -> Content:
    """A run in the list: what it is, and below how it stands and when it began, as far as `width`
    has room: repeated runs of a preset differ in nothing else."""
    state = card.summary.state
    parts: list[str] = ["marked", state] if card.summary.id in marked else [state]
    if card.progress is not None and state != "finished":
        parts.append(f"{percent(card.progress)} done")
    if card.summary.success_rate is not None:
        parts.append(f"success {percent(card.summary.success_rate)}")
    if card.summary.created:
        created = card.summary.created.astimezone()  # the time of whoever looks
        forms = (f"{created:%m-%d %H:%M}", f"{created:%H:%M}")
        used = len(", ".join(parts)) + 4
        parts += [when for when in forms if used + len(when) <= width][:1]
    return Content.assemble(
        (f"{symbol(state)} ", STATES[state].colour),
        glyphs.plain(card.title),
        (f"\n  {', '.join(parts)}", "$foreground 60%"),
    )
