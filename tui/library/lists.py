"""The lists of presets and runs on the home screen, and how a preset or a run looks in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.library.facts_of import STATES, symbol
from tui.library.search import Search
from tui.library.shelf import GROUPS, PresetCard, RunCard
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.text import percent

ROOM_AROUND = 2
"""Columns of a row that its text cannot have."""
TERM = "term:"
"""What the id of a row begins with that is a glossary entry; its slug follows."""
NO_RUN = "No run is like that."


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

    async def _on_click(self, event: events.Click) -> None:
        """The first click on a row selects it, a click on the selected one opens it."""
        event.prevent_default()
        row = event.style.meta.get("option")
        if row is None or self.options[row].disabled:
            return
        again = row == self.highlighted
        self.highlighted = row
        if again:
            self.action_select()

    def show(self, options: Sequence[Option], nothing: str) -> None:
        """Show these rows, or the sentence `nothing`; draw only what changed."""
        if not options:
            options = [Option(Content.styled(nothing, "$foreground 60%"), disabled=True)]
        before = [(option.id, option.disabled) for option in self.options]
        if before == [(option.id, option.disabled) for option in options]:
            for i, option in enumerate(options):
                old = self.options[i].prompt
                if old is not option.prompt and old != option.prompt:
                    self.replace_option_prompt_at_index(i, option.prompt)
            return
        kept = self.chosen
        self.set_options(options)
        choices = [i for i, option in enumerate(options) if not option.disabled]
        same = [i for i in choices if kept is not None and options[i].id == kept]
        self.highlighted = next(iter(same or choices), None)


class PresetList(HomeList):
    """The presets."""

    HELP_TITLE = "Presets"

    BINDINGS: ClassVar[list[BindingType]] = [
        key("presets.choose", "enter", "select", "Choose",
            "Show the settings of this preset; Enter there starts it", sign="enter")
    ]  # fmt: skip

    def show_presets(
        self, cards: Iterable[PresetCard], search: Search, terms: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Show the presets that are looked for, under the headings of their groups, and below them
        glossary entries, each by slug and title. The presets of challenges are the Lab's."""
        fitting = [c for c in cards if c.group != "challenge" and search.has_preset(c)]
        options: list[Option] = []
        for group, heading in GROUPS.items():
            rows = [Option(preset_prompt(c), id=c.name) for c in fitting if c.group == group]
            if rows:
                title = Content.styled(heading, "bold $text-secondary")
                options += [Option(title, disabled=True), *rows]
        if terms:
            over = Content.styled("Glossary terms", "bold $text-secondary")
            options.append(Option(over, disabled=True))
            rows = [Option(Content(glyphs.plain(title)), id=TERM + slug) for slug, title in terms]
            options += rows
        self.show(options, "No preset is like that.")
        self.border_title = f"Presets {len(fitting)}" if fitting else "Presets"


class Drawn(NamedTuple):
    """What the look of a run in the list depends on."""

    card: RunCard
    marked: bool
    width: int
    ascii: bool


class RunList(HomeList):
    """The runs."""

    HELP_TITLE = "Runs"

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
        self._prompts: dict[str, tuple[Drawn, Content]] = {}

    def action_mark(self) -> None:
        """Mark the highlighted run, or take its mark away."""
        if self.chosen is not None:
            self.marked ^= {self.chosen}
            self.post_message(self.MarksChanged())

    def show_runs(self, cards: Collection[RunCard], search: Search, order: str) -> None:
        """Show the runs that are looked for, in the order given, which is called `order`."""
        self.marked &= {card.summary.id for card in cards}
        fitting = [card for card in cards if search.has_run(card)]
        width = self.scrollable_content_region.width - ROOM_AROUND
        self._prompts = {card.summary.id: self._prompt(card, width) for card in fitting}
        options = [Option(content, id=run) for run, (_, content) in self._prompts.items()]
        self.show(options, NO_RUN if cards else "None yet. Enter starts one.")
        count = f"{len(fitting)} of {len(cards)}" if search.active else f"{len(cards)}"
        self.border_title = f"Runs {count}" if cards else "Runs"
        how = "newest first" if order == "newest" else f"by {order}"
        self.border_subtitle = how if len(fitting) > 1 else None

    def _prompt(self, card: RunCard, width: int) -> tuple[Drawn, Content]:
        """How a run looks, with what that depends on: of a thousand runs few change."""
        now = Drawn(card, card.summary.id in self.marked, width, glyphs.current().ascii)
        known = self._prompts.get(card.summary.id)
        if known is not None and known[0].card is card and known[0][1:] == now[1:]:
            return known
        return now, run_prompt(card, self.marked, width)


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
    if card.summary.pinned:
        parts.insert(0, "pinned")
    if card.progress is not None and state != "finished":
        parts.append(f"{percent(card.progress)} done")
    if card.summary.success_rate is not None:
        parts.append(f"success {percent(card.summary.success_rate)}")
    if card.summary.pinned and width and len(", ".join(parts)) + ROOM_AROUND > width:
        parts.remove(state)  # its symbol says the same; a figure that is cut would be another
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
