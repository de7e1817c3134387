"""The algorithm map: the families as a tree, and what there is to say about each algorithm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from engine.presets import algorithm_map
from tui.features.algorithms.words import llm_words, place_words
from tui.glossary.entries import load
from tui.glossary.glossary_dialog import GlossaryDialog, look_up
from tui.glossary.panel import spelled
from tui.library import shelf
from tui.library.host import host_of
from tui.library.lists import HomeList
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.fact import Fact, Term
from tui.ui.facts import Facts
from tui.ui.terms import TermClicked, unique

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.presets.algorithm_map import Branch, Entry

LLM = "LLM"
"""The mark beside what language models are trained with."""
GUIDES = {"├ ": "|-", "└ ": "`-", "│ ": "| "}
"""The lines of the tree, and how ASCII draws them."""
ABOUT_MARK = f"""\
{LLM} marks what language models are trained with, or what that grew out of.
Enter starts a preset that shows the algorithm."""


class MapTree(HomeList):
    """The algorithms, one a row, under their branches."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("map.presets", "enter", "select", "Presets",
            "Start a preset that shows this algorithm; of several, choose one", sign="enter")
    ]  # fmt: skip


class PresetLinks(HomeList):
    """The presets that show the highlighted algorithm."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("map.choose", "enter", "select", "Choose",
            "Show the settings of this preset; Enter there starts it", sign="enter")
    ]  # fmt: skip

    def on_focus(self) -> None:
        """So that Enter does something at once."""
        if self.highlighted is None:
            self.action_first()


class AlgorithmMapScreen(Screen[None]):
    """The map on the left, the highlighted algorithm on the right."""

    CSS_PATH = "algorithm_map.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 (Textual's own type)
    AUTO_FOCUS = "MapTree"

    BINDINGS: ClassVar[list[BindingType]] = [
        key("map.next", "tab", "app.focus_next", "Map/presets",
            "Go from the map to the presets, to the text, and back"),
        key("map.glossary", "g", "look_up", "Glossary",
            "Look up a term that is on screen, or search for any"),
        key("map.up", "pageup", "scroll_text(-1)", "Text up",
            "Scroll the text about the algorithm up", show=False),
        key("map.down", "pagedown", "scroll_text(1)", "Text down",
            "Scroll the text about the algorithm down", show=False),
        key("map.leave", "escape,q,a", "leave", "Back", "Back to the presets"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, Entry] = {}
        self._branches: dict[str, Branch] = {}
        self._presets: dict[str, shelf.PresetCard] = {}

    def compose(self) -> ComposeResult:
        with Horizontal(id="map-body"):
            yield MapTree("map-tree")
            with VerticalScroll(id="map-text"):
                yield Static(id="map-title", markup=False)
                yield Static(id="map-idea", markup=False)
                yield Static(id="map-formula", markup=False)
                yield Facts(id="map-facts")
                yield Static("Presets that show it", id="map-presets-title", markup=False)
                yield PresetLinks("map-presets")
                yield Static(glyphs.plain(ABOUT_MARK), id="map-about", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Fill the tree, and say what the first algorithm is."""
        branches = algorithm_map.tree()
        self._branches = {branch.slug: branch for branch in branches}
        self._entries = {option_id(e): e for branch in branches for e in branch.entries}
        self._presets = {card.name: card for card in shelf.read_presets()}
        tree = self.query_one(MapTree)
        tree.border_title = "Algorithm map"
        tree.show(tree_options(branches), "There are no algorithms.")
        self._show()

    # ------------------------------------------------------------ the text

    @property
    def entry(self) -> Entry | None:
        """The highlighted algorithm."""
        chosen = self.query_one(MapTree).chosen
        return self._entries.get(chosen) if chosen else None

    @on(OptionList.OptionHighlighted, "#map-tree")
    def _moved(self) -> None:
        self._show()

    def _show(self) -> None:
        entry = self.entry
        if entry is None:
            return
        text = self.query_one("#map-text", VerticalScroll)
        text.border_title = Content(spelled(entry.title))
        text.scroll_home(animate=False)
        branch = self._branches[entry.branch]
        for part, words in (
            ("title", f"{entry.name}: {place_words(entry)}. {branch.about}"),
            ("idea", entry.idea),
            ("formula", entry.formula),
        ):
            static = self.query_one(f"#map-{part}", Static)
            static.update(Content(spelled(words)))
            static.display = bool(words)
        self.query_one(Facts).show(facts(entry))
        self._show_presets(entry)

    def _show_presets(self, entry: Entry) -> None:
        cards = [self._presets[name] for name in entry.presets if name in self._presets]
        links = self.query_one(PresetLinks)
        links.show([Option(spelled(card.title), id=card.name) for card in cards], "None yet.")
        links.can_focus = bool(cards)

    def action_scroll_text(self, pages: int) -> None:
        """Scroll the text, wherever the keyboard is."""
        text = self.query_one("#map-text", VerticalScroll)
        text.scroll_page_down() if pages > 0 else text.scroll_page_up()

    # ------------------------------------------------------------ terms

    def terms(self) -> list[Term]:
        """The glossary terms on screen."""
        entry = self.entry
        own = load().for_label(entry.name) if entry else None
        named = [Term(entry.title, own.slug)] if entry and own else []
        return unique([*named, *self.query_one(Facts).terms(), *MAP_TERMS])

    def action_look_up(self) -> None:
        """Choose a term and read about it."""
        look_up(self, self.terms())

    @on(TermClicked)
    def _term_clicked(self, message: TermClicked) -> None:
        message.stop()
        self.app.push_screen(GlossaryDialog(message.slug))

    # ------------------------------------------------------------ what is chosen

    @on(OptionList.OptionSelected, "#map-tree")
    def _choose_algorithm(self) -> None:
        entry = self.entry
        links = self.query_one(PresetLinks)
        if entry is None:
            return
        if not links.can_focus:
            self.notify(f"{entry.title}: no shipped preset shows it yet.", markup=False)
        elif links.option_count == 1:
            self._open_form(str(links.options[0].id))
        else:
            links.focus()

    @on(OptionList.OptionSelected, "#map-presets")
    def _choose_preset(self, event: OptionList.OptionSelected) -> None:
        self._open_form(str(event.option.id))

    def _open_form(self, name: str) -> None:
        # start-up time
        from tui.forms.start_form import StartForm

        card = self._presets[name]
        if card.preset is None:
            self.notify(card.error, severity="error", markup=False)
            return
        self.app.push_screen(StartForm(card.preset), partial(self._start, name))

    def _start(self, name: str, preset: Preset | None) -> None:
        if preset is not None:
            host_of(self).start_run(preset, name)

    def action_leave(self) -> None:
        """From the presets back to the map, and from the map back to where it was opened."""
        tree = self.query_one(MapTree)
        if tree.has_focus:
            self.app.pop_screen()
        else:
            tree.focus()


MAP_TERMS = [
    Term("known model", "model-based"),
    Term("no model", "model-free"),
    Term("on-policy", "on-policy"),
    Term("off-policy", "off-policy"),
]
"""Terms of the tree's headings."""


def option_id(entry: Entry) -> str:
    """The row of an algorithm: a name may stand for tables and for language models."""
    return f"{entry.kind}-{entry.name}"


def tree_options(branches: list[Branch]) -> list[Option]:
    """The rows of the tree: branches as headings, algorithms under them."""
    options: list[Option] = []
    for i, branch in enumerate(branches):
        lead = ""
        if branch.parent:
            later = any(other.parent == branch.parent for other in branches[i + 1 :])
            lead = "│ " if later else "  "
            fork = "├ " if later else "└ "
            title = Content.assemble(_guide(fork), (glyphs.plain(branch.title), "bold"))
        else:
            title = Content.styled(glyphs.plain(branch.title), "bold $text-secondary")
        options.append(Option(title, disabled=True))
        for entry in branch.entries:
            fork = "└ " if entry is branch.entries[-1] else "├ "
            options.append(Option(_row(lead + fork, entry), id=option_id(entry)))
    return options


def _row(guides: str, entry: Entry) -> Content:
    name = spelled(entry.title)
    if not entry.for_llms:
        return Content.assemble(_guide(guides), name)
    return Content.assemble(_guide(guides), (name, "bold"), " ", (LLM, "reverse"))


def _guide(guides: str) -> tuple[str, str]:
    if glyphs.current().ascii:
        for line, plain in GUIDES.items():
            guides = guides.replace(line, plain)
    return guides, "$foreground 50%"


def facts(entry: Entry) -> list[Fact]:
    """What there is to say about an algorithm, line by line; empty lines are left out."""
    policy = entry.policy_type if entry.policy_type != "none" else ""
    model = "model-based" if entry.model_based else "model-free"
    lines = [
        Fact("needs", "", entry.needs),
        Fact("chosen when", "", entry.chosen_when),
        Fact("behaviour", "behaviour-policy", entry.behaviour_policy),
        Fact("target", "target-policy", entry.target_policy),
        Fact("type", policy or model, ", ".join(filter(None, (policy, model)))),
        Fact("update", "update", entry.update_name),
        Fact(LLM, "", llm_words(entry)),
        Fact("source", "", entry.source),
        Fact("file", "", entry.file),
    ]
    return [line._replace(text=spelled(line.text)) for line in lines if line.text]
