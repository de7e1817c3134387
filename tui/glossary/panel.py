"""The glossary panel: search, an entry with its value in this run, its source lines and links.

Narrow, it shows either the matches of a search or one entry; wide, both side by side. The value
in this run stands in a strip at the bottom, in sight wherever the entry is scrolled to.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Self

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import var
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option, OptionDoesNotExist

from tui.glossary.entries import Entry, load
from tui.glossary.render import also_lines, to_ascii
from tui.glossary.source import Excerpt, resolve
from tui.glossary.source_view import SourceView
from tui.glossary.values import VALUES, current_value
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.text import clean

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

WIDE = 84
"""From this many columns on, matches and entry stand side by side."""

BACK = key("glossary.back", "left,backspace", "back", "Back",
           "Go back to the entry shown before", show=False)  # fmt: skip


class Matches(OptionList):
    """The entries that fit the search."""

    # The list it inherits from scrolls sideways with the arrow keys, which has no use here.
    BINDINGS: ClassVar[list[BindingType]] = [BACK]

    def action_back(self) -> None:
        """Leave the search."""
        self.query_ancestor(GlossaryPanel).action_close_search()


class Related(OptionList):
    """Links to related entries."""

    BINDINGS: ClassVar[list[BindingType]] = [BACK]

    def on_focus(self) -> None:
        """So that Enter does something at once."""
        if self.highlighted is None and self.option_count:
            self.highlighted = 0

    def action_back(self) -> None:
        """The entry shown before."""
        self.query_ancestor(GlossaryPanel).action_back()


class EntryView(VerticalScroll):
    """One entry: everything but its value."""

    BINDINGS: ClassVar[list[BindingType]] = [BACK]

    def compose(self) -> ComposeResult:
        yield Static(id="glossary-title")
        yield Static(id="glossary-also")
        yield Static(id="glossary-meaning")
        yield Static(id="glossary-formula")
        yield Static("On screen", classes="heading")
        yield Static(id="glossary-where")
        yield Static("Source", classes="heading")
        yield SourceView(id="glossary-source")
        yield Static("Related", classes="heading")
        yield Related(id="glossary-related", compact=True)

    def show(self, entry: Entry, related: list[Entry]) -> None:
        """Show this entry, from its top."""
        also = also_lines(entry)
        self.query_one("#glossary-also").display = bool(also)
        for part, text in (
            ("also", "\n".join(also)),
            ("meaning", entry.meaning),
            ("formula", entry.formula),
            ("where", "\n".join(entry.where)),
        ):
            self.query_one(f"#glossary-{part}", Static).update(Content(spelled(text)))
        title = Content.styled(spelled(entry.title), "bold")
        symbols = Content.styled(spelled("   ".join(entry.symbols)), "bold $text-accent")
        self.query_one("#glossary-title", Static).update(Content("   ").join([title, symbols]))
        self.query_one(SourceView).show(excerpts(entry))
        links = self.query_one(Related)
        links.clear_options()
        links.add_options(
            Option(Content(spelled(f"→ {other.heading}")), id=other.slug) for other in related
        )
        self.scroll_home(animate=False)

    def action_back(self) -> None:
        """The entry shown before."""
        self.query_ancestor(GlossaryPanel).action_back()


class GlossaryPanel(Widget):
    """Every term of the app, explained. `open` shows an entry, `show` gives it live values."""

    DEFAULT_CSS = """
    GlossaryPanel {
        height: 1fr;
        width: 1fr;
        layout: vertical;

        #glossary-search { height: 1; background: $boost; }
        #glossary-body { height: 1fr; }
        Matches {
            width: 1fr;
            height: 1fr;
            max-height: 100%;
            display: none;
            background: transparent;
            scrollbar-size-vertical: 1;
        }
        EntryView { width: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
        #glossary-also { color: $text-muted; }
        #glossary-meaning { margin-top: 1; }
        #glossary-formula { margin: 1 0 0 2; color: $text-accent; }
        .heading { margin-top: 1; color: $text-muted; text-style: bold; }
        Related {
            height: auto;
            background: transparent;
            color: $text-primary;
            text-style: underline;
        }
        #glossary-value {
            height: auto;
            max-height: 5;
            padding: 0 1;
            background: $boost;
            color: $text-success;
        }
        &.-searching Matches { display: block; }
        &.-searching EntryView, &.-searching #glossary-value { display: none; }
        &.-wide Matches { display: block; width: 32; }
        &.-wide EntryView, &.-wide.-searching #glossary-value { display: block; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("glossary.search", "slash", "search", "Search",
            "Search the glossary for a term, a symbol or a word"),
        key("glossary.close-search", "escape", "close_search", "Entry",
            "Leave the search and return to the entry", show=False),
        key("glossary.matches", "down", "to_matches", "Matches",
            "Go from the search field to the matches", show=False),
        BACK,
    ]  # fmt: skip

    searching: var[bool] = var(True, toggle_class="-searching")
    """Whether the matches are shown (beside the entry or instead of it)."""
    slug: var[str] = var("")
    """The entry that is open; empty before the first one is."""

    class EntryOpened(Message):
        """An entry was opened, by whatever means."""

        def __init__(self, panel: GlossaryPanel, slug: str) -> None:
            super().__init__()
            self.panel = panel
            self.slug = slug

        @property
        def control(self) -> GlossaryPanel:
            """The panel, for `@on` selectors."""
            return self.panel

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._history: list[str] = []
        self._snapshot: Snapshot | None = None
        self._value = ""
        self._matches_of: str | None = None

    def compose(self) -> ComposeResult:
        yield Input(placeholder="Search: term, symbol, word", compact=True, id="glossary-search")
        with Horizontal(id="glossary-body"):
            yield Matches(id="glossary-matches", compact=True)
            yield EntryView(id="glossary-entry")
        yield Static(id="glossary-value")

    def on_mount(self) -> None:
        """The entries are read after the first paint."""
        self.call_after_refresh(self._first_list)

    def _first_list(self) -> None:
        if self.is_attached and self.query(Input):  # not when it was closed before it was painted
            self._list_matches()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side where there is room."""
        self.set_class(event.size.width >= WIDE, "-wide")

    # ------------------------------------------------------------ what others call

    def open(self, slug: str) -> None:
        """Show the entry of that slug. KeyError when there is none."""
        entry = load().get(slug)
        if self.slug and self.slug != slug:
            self._history.append(self.slug)
        self._show_entry(entry)

    def show(self, snapshot: Snapshot) -> None:
        """Refresh the value of the open entry. Cheap when it has not changed."""
        self._snapshot = snapshot
        self._show_value()

    def focus(self, scroll_visible: bool = True) -> Self:
        """Put the keyboard on the open entry, or on the search field before there is one."""
        if self.slug:
            self.searching = False
            self.query_one(EntryView).focus(scroll_visible)
        else:
            self.action_search()
        return self

    # ------------------------------------------------------------ actions

    def action_search(self) -> None:
        """Search: the matches come up, the keyboard goes to the field."""
        self.searching = True
        self.query_one(Input).focus()

    def action_close_search(self) -> None:
        """Back from the search to the entry."""
        self.focus()

    def action_to_matches(self) -> None:
        """From the field down to the matches."""
        self.query_one(Matches).focus()

    def action_back(self) -> None:
        """The entry shown before this one."""
        if self._history:
            self._show_entry(load().get(self._history.pop()))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys with nothing to do here are left to whoever is further out."""
        if action == "close_search":
            return self.searching and bool(self.slug)
        if action == "to_matches":
            return self.query_one(Input).has_focus
        if action == "back":
            return bool(self._history)
        return True

    # ------------------------------------------------------------ search

    @on(Input.Changed, "#glossary-search")
    def _search_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._list_matches()

    @on(Input.Submitted, "#glossary-search")
    def _search_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        matches = load().search(self._wanted())
        if not self._wanted():
            self.action_to_matches()
        elif matches:
            self._leave_search(matches[0].slug)

    @on(events.DescendantFocus)
    def _field_focused(self, event: events.DescendantFocus) -> None:
        if event.widget.id == "glossary-search":
            self.searching = True

    @on(OptionList.OptionSelected, "#glossary-matches")
    def _match_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._leave_search(str(event.option_id))

    def _leave_search(self, slug: str) -> None:
        self.open(slug)
        self.focus()

    def _wanted(self) -> str:
        """What is searched for. The key that opens the search may have been typed into it."""
        return self.query_one(Input).value.strip().removeprefix("/")

    def _list_matches(self) -> None:
        """Fill the list: all entries under their groups, or what fits the search, best first."""
        text = self._wanted()
        if text == self._matches_of:
            return
        self._matches_of = text
        matches = self.query_one(Matches)
        matches.clear_options()
        if not text:
            for group, entries in load().groups.items():
                matches.add_option(Option(Content.styled(group, "bold"), disabled=True))
                matches.add_options(self._option(entry, indent="  ") for entry in entries)
            self._point_at(self.slug)
        elif found := [self._option(entry) for entry in load().search(text)]:
            matches.add_options(found)
            matches.highlighted = 0
        else:
            matches.add_option(Option("Nothing fits. Try a shorter word.", disabled=True))

    def _option(self, entry: Entry, indent: str = "") -> Option:
        return Option(Content(spelled(indent + entry.heading)), id=entry.slug)

    # ------------------------------------------------------------ the entry

    @on(OptionList.OptionSelected, "#glossary-related")
    def _related_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.open(str(event.option_id))
        self.query_one(EntryView).focus()

    def _show_entry(self, entry: Entry) -> None:
        self.slug = entry.slug
        self.searching = False
        glossary = load()
        self.query_one(EntryView).show(entry, [glossary.get(slug) for slug in entry.related])
        self._point_at(entry.slug)
        self._value = ""
        self._show_value()
        self.refresh_bindings()
        self.post_message(self.EntryOpened(self, entry.slug))

    def _point_at(self, slug: str) -> None:
        """In the list beside the entry, mark the one that is open, if it is among the matches."""
        matches = self.query_one(Matches)
        with suppress(OptionDoesNotExist):
            matches.highlighted = matches.get_option_index(slug)

    def _show_value(self) -> None:
        if not self.slug:
            return
        text = spelled(clean(self._value_text()))
        if text != self._value:
            self._value = text
            self.query_one("#glossary-value", Static).update(Content(text))

    def _value_text(self) -> str:
        if self.slug not in VALUES:
            return "In this run: a word without a value of its own"
        if self._snapshot is None:
            return "In this run: no run is shown"
        value = current_value(self.slug, self._snapshot)
        return f"In this run: {value or 'nothing yet'}"


def spelled(text: str) -> str:
    """The text as the terminal can show it."""
    return to_ascii(text) if glyphs.current().ascii else text


def excerpts(entry: Entry) -> list[Excerpt]:
    """The entry's source lines; those that are not there (a stripped installation) are left out."""
    found = []
    for reference in entry.source:
        try:
            found.append(resolve(reference))
        except LookupError:
            continue
    return found
