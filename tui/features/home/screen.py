"""The home screen: the lab, the presets by group, the runs with their state, and a preview."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import ActiveBinding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.worker import Worker, WorkerState, get_current_worker

from tui.features.home.home_runs import RUN_ACTIONS, RunsOfHome
from tui.features.home.keys import FIRST, KEYS
from tui.features.home.lab_list import LabList
from tui.features.home.preview import Preview
from tui.library import shelf
from tui.library.lab_shelf import LabCard
from tui.library.lists import TERM, PresetList, RunList
from tui.library.search import Search
from tui.library.shelf import Outlook, PresetCard, RunCard, RunDetail
from tui.ui.bindings import in_order
from tui.ui.fact import Term
from tui.ui.key_bar import KeyBar
from tui.ui.text import clean

if TYPE_CHECKING:
    from engine.config.preset import Preset

REFRESH_SECONDS = 1.0
"""How often the list of runs is read again."""
MOST_TERMS = 8
"""Glossary entries that a search lists."""
SEARCH = "words, or algorithm=grpo lr>1e-4 success>0.9"
WELCOME = """\
New here? Enter chooses the first preset, Enter again starts it:
an agent moves, learns from every step, and shows what it is thinking."""


class HomeScreen(RunsOfHome):
    """Lab, presets and runs on the left, what the highlighted one is on the right."""

    CSS_PATH = "home.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (150, "-roomy")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (40, "-high")]  # noqa: RUF012
    AUTO_FOCUS = "#presets"

    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]
    HELP_PLACES: ClassVar[dict[str, str]] = {f"home.{name}": "Runs" for name in RUN_ACTIONS}

    @dataclass
    class RunsRead(Message):
        """A thread has read the runs, and the detail of the highlighted one."""

        cards: list[RunCard]
        detail: RunDetail | None
        described: RunCard | None
        """The run that the detail is of, as it was then."""
        error: str = ""

    @dataclass
    class OutlookReady(Message):
        """A thread has built a preset's maze, or solved it."""

        name: str
        outlook: Outlook

    def __init__(self, runs_dir: Path | None = None) -> None:
        """`runs_dir` holds the runs; the user's own folder by default."""
        super().__init__()
        self._shelf = shelf.RunShelf(runs_dir)
        self._outlooks: dict[str, Outlook] = {}
        self._details: dict[str, RunDetail] = {}
        self._reading = False
        self._read_again = False
        self._said = ""
        self._search = Search()
        self._described: dict[str, RunCard] = {}
        """The runs whose detail was read, as they were then."""

    def compose(self) -> ComposeResult:
        title = ("Ice Maze", "bold $text-primary")
        about = ("  reinforcement learning, one step at a time", "$foreground 60%")
        yield Static(Content.assemble(title, about), id="title")
        yield Static(Content(WELCOME), id="welcome")
        with Horizontal(id="body"):
            with Vertical(id="lists"):
                yield Input(placeholder=SEARCH, id="filter", compact=True)
                yield Static(id="mistake", markup=False)
                yield LabList("lab")
                yield PresetList("presets")
                yield RunList("runs")
            yield Preview(id="preview")
        bar = KeyBar()
        bar.with_palette = False
        yield bar

    def on_mount(self) -> None:
        """Read the presets as soon as the first frame is out."""
        self.query_one("#presets").border_title = "Presets"
        self.query_one("#runs").border_title = "Runs"
        self.query_one("#filter").display = False
        self.query_one("#mistake").display = False
        self.query_one("#lab").display = False
        # Not in a thread: it takes a moment once, and a key pressed meanwhile must find the list.
        self.call_after_refresh(self._load_presets)

    def _load_presets(self) -> None:
        self._presets = {card.name: card for card in shelf.read_presets()}
        self.read_lab()
        self._look()
        self.set_interval(REFRESH_SECONDS, self._request_runs)
        self._request_runs()

    def on_screen_resume(self) -> None:
        """Back from a run: what happened to it meanwhile?"""
        if self._presets:
            self.read_states()
            self.list_lab(self._search)
            self._request_runs()
            self._show_preview()

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys that work now, in the order of footer and help."""
        return in_order(super().active_bindings, FIRST)

    # ------------------------------------------------------------ the lists

    @property
    def _preset_list(self) -> PresetList:
        return self.query_one(PresetList)

    @property
    def _words(self) -> str:
        return self.query_one("#filter", Input).value

    def _look(self) -> None:
        """Understand the filter, and show what it finds."""
        self._search.look(self._words, self._presets.values(), self._runs.values())
        mistake = self.query_one("#mistake", Static)
        mistake.display = bool(self._search.error)
        mistake.update(Content(self._search.error))
        self.list_lab(self._search)
        self._preset_list.show_presets(self._presets.values(), self._search, self._terms_found())

    def _terms_found(self) -> list[tuple[str, str]]:
        """Glossary entries that the words are in, slug and title, the nearest first."""
        if not self._search.wants_terms:
            return []
        # start-up time
        from tui.glossary.entries import load

        return [(e.slug, e.title) for e in load().search(self._search.text)[:MOST_TERMS]]

    def _list_runs(self) -> None:
        if self._search.active:
            self._search.look(self._words, self._presets.values(), self._runs.values())
        self._run_list.show_runs(self._runs.values(), self._search, self.order)
        self.query_one("#welcome").display = not self._runs

    @property
    def _preset(self) -> PresetCard | None:
        """The highlighted preset, unless another list has the focus."""
        name = self._preset_list.chosen
        elsewhere = self._run_list.has_focus or self._lab_list.has_focus
        return None if elsewhere or name is None else self._presets.get(name)

    # ------------------------------------------------------------ the preview

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        self._show_preview()

    def on_descendant_focus(self) -> None:
        """The preview follows the list that has the focus."""
        runs = self._run_list
        if runs.has_focus and runs.highlighted is None and self._runs:
            runs.action_first()
        lab, presets = self._lab_list.has_focus, self._preset_list.has_focus
        if lab or presets:
            self.set_class(lab, "-in-lab")  # a low terminal has room for one of them
        if lab or presets or runs.has_focus:
            self._show_preview()

    def _show_preview(self) -> None:
        preview = self.query_one(Preview)
        if not preview.is_built:  # the focus may come first
            return
        self.refresh_bindings()
        if run := self._run:
            detail = self._details.get(run.summary.id)
            preview.show_run(run, detail)
            if detail is None:
                self._request_runs()
        elif card := self._lab_row:
            first = card.presets[0] if card.presets else None
            self._show_lab_row(preview, card, self._outlook_of(first) if first else None)
        elif preset := self._preset:
            preview.show_preset(preset, self._outlook_of(preset))
        elif self._search.active and (run := self._runs.get(self._run_list.chosen or "")):
            preview.show_run(run, self._details.get(run.summary.id))  # only runs are found
        elif self._run_list.has_focus:
            preview.show_nothing("Your runs will be listed here, newest first.")
        else:
            preview.show_nothing("")

    def _show_lab_row(self, preview: Preview, card: LabCard, outlook: Outlook | None) -> None:
        """A challenge beside the maze of its first run; a preset as in its own list."""
        if card.kind == "preset":
            preview.show_preset(card.presets[0], outlook)
        else:
            preview.show_challenge(card, self.lab_state(card), outlook)

    def _outlook_of(self, preset: PresetCard) -> Outlook | None:
        """What is known of a preset's maze; what is not is found out, and shown then."""
        known = self._outlooks.get(preset.name)
        if preset.preset and (known is None or not (known.figures or known.error)):
            self._look_ahead(preset.name, preset.preset)
        return known

    def action_scroll_preview(self, pages: int) -> None:
        """Read on, or back."""
        preview = self.query_one(Preview)
        preview.scroll_page_down() if pages > 0 else preview.scroll_page_up()

    @work(thread=True, exclusive=True, group="outlook", exit_on_error=False)
    def _look_ahead(self, name: str, preset: Preset) -> None:
        """The maze first, then its optimum, which may take a second on a large one."""
        worker = get_current_worker()
        for solve_too in (False, True):
            if not worker.is_cancelled:
                found = shelf.outlook(preset, solve_too)
                self.post_message(self.OutlookReady(name, found))

    def on_home_screen_outlook_ready(self, message: OutlookReady) -> None:
        """Keep it, and show it if it is still wanted."""
        self._outlooks[message.name] = message.outlook
        preset, card, preview = self._preset, self._lab_row, self.query_one(Preview)
        if preset and preset.name == message.name:
            preview.show_preset(preset, message.outlook)
        elif card and card.presets and card.presets[0].name == message.name:
            self._show_lab_row(preview, card, message.outlook)

    def terms(self) -> list[Term]:
        """The glossary terms of the preview."""
        return self.query_one(Preview).terms()

    # ------------------------------------------------------------ reading the runs

    def _request_runs(self) -> None:
        """Ask for a reading; at most one is under way and one more is wanted."""
        if self._reading:
            self._read_again = True
        elif self.is_active:
            self._reading = True
            run = self._run  # an ended run is described once
            new = run is not None and self._described.get(run.summary.id) != run
            self._read_runs(run if new else None, self.order)

    @work(thread=True, group="runs", exit_on_error=False)
    def _read_runs(self, described: RunCard | None, order: str) -> None:
        # start-up time
        from engine.core.errors import UserError

        worker = get_current_worker()
        detail, error, cards = None, "", []
        try:
            cards = self._shelf.read(order)
            if described is not None:
                path = described.summary.path
                detail = shelf.read_detail(path, lambda: worker.is_cancelled)
        except (UserError, OSError) as problem:
            error = clean(str(problem))
        if not worker.is_cancelled:
            self.post_message(self.RunsRead(cards, detail, described, error))

    def on_home_screen_runs_read(self, message: RunsRead) -> None:
        """Show what the thread has read."""
        self._reading = False
        if message.error and message.error != self._said:
            self.notify(message.error, severity="error", markup=False)
        self._said = message.error
        shown = self._run
        before, self._runs = self._runs, {card.summary.id: card for card in message.cards}
        changed = list(before.values()) != message.cards  # the order too
        if message.detail and message.described:
            self._details[message.detail.id] = message.detail
            self._described[message.detail.id] = message.described
        if changed or not self._run_list.option_count:
            self._list_runs()
        if message.detail or (changed and shown):
            self._show_preview()
        if self._read_again:
            self._read_again = False
            self._request_runs()

    @on(Worker.StateChanged)
    def _failed(self, event: Worker.StateChanged) -> None:
        """A thread broke: say it, and read again at the next tick."""
        if event.state is WorkerState.ERROR:
            self._reading = False
            self.notify(clean(repr(event.worker.error)), severity="error", markup=False)

    # ------------------------------------------------------------ filter

    def action_filter(self) -> None:
        """Show the filter and type into it."""
        words = self.query_one("#filter", Input)
        words.display = True
        words.focus()
        self.refresh_bindings()

    def action_unfilter(self) -> None:
        """Show everything again."""
        words = self.query_one("#filter", Input)
        if words.display:
            words.value = ""
            words.display = False
            self._preset_list.focus()

    @on(Input.Changed, "#filter")
    def _filtered(self) -> None:
        self._look()
        self._list_runs()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        empty = self._preset_list.chosen is None
        (self._run_list if empty else self._preset_list).focus()

    # ------------------------------------------------------------ what can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys for runs are there when the highlighted run allows them."""
        if not self.is_mounted:
            return True
        if action in RUN_ACTIONS:
            return self.allows(action)
        if action == "unfilter":
            return self.query_one("#filter").display
        return action != "lab" or (bool(self._lab) and not self._lab_list.has_focus)

    @on(OptionList.OptionSelected, "#presets")
    def _choose(self, event: OptionList.OptionSelected) -> None:
        row = event.option.id or ""
        if row.startswith(TERM):
            # start-up time
            from tui.glossary.glossary_dialog import GlossaryDialog

            self.app.push_screen(GlossaryDialog(row.removeprefix(TERM)))
        else:
            self.choose_preset(self._presets[row])

    @on(RunList.MarksChanged)
    def _marks_changed(self) -> None:
        self._list_runs()

    @on(OptionList.OptionSelected, "#runs")
    def _open(self, event: OptionList.OptionSelected) -> None:
        card = self._runs[event.option.id or ""]
        if card.summary.state == "broken":
            self.notify(clean(card.summary.broken), severity="error", markup=False)
        else:
            self._host.open_run(card.summary.path)
