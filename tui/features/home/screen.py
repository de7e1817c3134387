"""The home screen: the lab, the presets by group, the runs with their state, and a preview."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Footer, Input, OptionList, Static
from textual.worker import Worker, WorkerState, get_current_worker

from tui.features.home.code_question import ask_to_run
from tui.features.home.home_lab import LabOfHome
from tui.features.home.keys import KEYS
from tui.features.home.lab_list import LabList
from tui.features.home.preview import Preview
from tui.library import run_actions, shelf
from tui.library.facts_of import LIVE, RESUMABLE
from tui.library.lab_shelf import LabCard
from tui.library.lists import PresetList, RunList
from tui.library.shelf import Outlook, PresetCard, RunCard, RunDetail
from tui.ui import glyphs
from tui.ui.fact import Term
from tui.ui.text import clean
from tui.ui.yes_no import YesNo

if TYPE_CHECKING:
    from engine.config.preset import Preset

REFRESH_SECONDS = 1.0
"""How often the list of runs is read again."""
RUN_ACTIONS = ("resume", "stop", "delete", "compare", "export")
"""What is done to the highlighted run, or with the marked ones."""
WELCOME = """\
New here? Enter chooses the first preset, Enter again starts it:
an agent moves, learns from every step, and shows what it is thinking."""


class HomeScreen(LabOfHome):
    """Lab, presets and runs on the left, what the highlighted one is on the right."""

    CSS_PATH = "home.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (150, "-roomy")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (40, "-high")]  # noqa: RUF012
    AUTO_FOCUS = "#presets"

    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]

    @dataclass
    class RunsRead(Message):
        """A thread has read the runs, and the detail of the highlighted one."""

        cards: list[RunCard]
        detail: RunDetail | None
        error: str = ""

    @dataclass
    class OutlookReady(Message):
        """A thread has built a preset's maze, or solved it."""

        name: str
        outlook: Outlook

    @dataclass
    class Done(Message):
        """A thread has done something to a run: `path` is to be opened, `error` to be said."""

        path: Path | None = None
        error: str = ""

    def __init__(self, runs_dir: Path | None = None) -> None:
        """`runs_dir` holds the runs; the user's own folder by default."""
        super().__init__()
        self._shelf = shelf.RunShelf(runs_dir)
        self._outlooks: dict[str, Outlook] = {}
        self._details: dict[str, RunDetail] = {}
        self._reading = False
        self._read_again = False
        self._said = ""
        self._asked_to_stop: set[Path] = set()

    def compose(self) -> ComposeResult:
        title = ("Ice Maze", "bold $text-primary")
        about = ("  reinforcement learning, one step at a time", "$foreground 60%")
        yield Static(Content.assemble(title, about), id="title")
        yield Static(Content(WELCOME), id="welcome")
        with Horizontal(id="body"):
            with Vertical(id="lists"):
                yield Input(placeholder="words to look for", id="filter", compact=True)
                yield LabList("lab")
                yield PresetList("presets")
                yield RunList("runs")
            yield Preview(id="preview")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Read the presets as soon as the first frame is out."""
        self.query_one("#presets").border_title = "Presets"
        self.query_one("#runs").border_title = "Runs"
        self.query_one("#filter").display = False
        self.query_one("#lab").display = False
        # Not in a thread: it takes a moment once, and a key pressed meanwhile must find the list.
        self.call_after_refresh(self._load_presets)

    def _load_presets(self) -> None:
        self._presets = {card.name: card for card in shelf.read_presets()}
        self.read_lab()
        self._list_presets()
        self.set_interval(REFRESH_SECONDS, self._request_runs)
        self._request_runs()

    def on_screen_resume(self) -> None:
        """Back from a run: what happened to it meanwhile?"""
        if self._presets:
            self.read_states()
            self.list_lab(self._words)
            self._request_runs()
            self._show_preview()

    # ------------------------------------------------------------ the lists

    @property
    def _preset_list(self) -> PresetList:
        return self.query_one(PresetList)

    @property
    def _run_list(self) -> RunList:
        return self.query_one(RunList)

    @property
    def _words(self) -> str:
        return self.query_one("#filter", Input).value

    def _list_presets(self) -> None:
        self.list_lab(self._words)
        self._preset_list.show_presets(self._presets.values(), self._words)

    def _list_runs(self) -> None:
        self._run_list.show_runs(self._runs.values(), self._words)
        self.query_one("#welcome").display = not self._runs

    @property
    def _preset(self) -> PresetCard | None:
        """The highlighted preset, unless another list has the focus."""
        name = self._preset_list.chosen
        elsewhere = self._run_list.has_focus or self._lab_list.has_focus
        return None if elsewhere or name is None else self._presets.get(name)

    @property
    def _run(self) -> RunCard | None:
        """The highlighted run, if the runs have the focus."""
        run_id = self._run_list.chosen
        return self._runs.get(run_id) if self._run_list.has_focus and run_id else None

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
            self._read_runs(self._run.summary.path if self._run else None)

    @work(thread=True, group="runs", exit_on_error=False)
    def _read_runs(self, detailed: Path | None) -> None:
        # start-up time
        from engine.core.errors import UserError

        worker = get_current_worker()
        detail, error, cards = None, "", []
        try:
            cards = self._shelf.read()
            if detailed is not None:
                detail = shelf.read_detail(detailed, lambda: worker.is_cancelled)
        except (UserError, OSError) as problem:
            error = clean(str(problem))
        if not worker.is_cancelled:
            self.post_message(self.RunsRead(cards, detail, error))

    def on_home_screen_runs_read(self, message: RunsRead) -> None:
        """Show what the thread has read."""
        self._reading = False
        if message.error and message.error != self._said:
            self.notify(message.error, severity="error", markup=False)
        self._said = message.error
        shown = self._run
        changed = {card.summary.id: card for card in message.cards} != self._runs
        self._runs = {card.summary.id: card for card in message.cards}
        if message.detail:
            self._details[message.detail.id] = message.detail
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
        self._list_presets()
        self._list_runs()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        empty = self._preset_list.chosen is None
        (self._run_list if empty else self._preset_list).focus()

    # ------------------------------------------------------------ what can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys for runs are there when the highlighted run allows them."""
        if action not in (*RUN_ACTIONS, "unfilter", "lab") or not self.is_mounted:
            return True
        state = self._run.summary.state if self._run else ""
        return {
            "resume": state in RESUMABLE,
            "stop": state in LIVE,
            "delete": bool(state) and state not in LIVE,
            "compare": self._run_list.has_focus,
            "export": state not in ("", "broken"),
            "unfilter": self.query_one("#filter").display,
            "lab": bool(self._lab) and not self._lab_list.has_focus,
        }[action]

    @on(OptionList.OptionSelected, "#presets")
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.choose_preset(self._presets[event.option.id or ""])

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

    def action_resume(self) -> None:
        """Go on with the highlighted run and show it."""
        if self._run:
            self.notify("Starting the worker…", timeout=2)
            self._carry_out(run_actions.resume, self._run.summary.path, then_open=True)

    def action_stop(self) -> None:
        """Ask the highlighted run to stop; asked again while it goes on, end its worker."""
        if run := self._run:
            path = run.summary.path
            if path in self._asked_to_stop:
                asked = YesNo(run_actions.END_QUESTION, yes="End it now", no="Wait")
                self.app.push_screen(asked, partial(self._end_if, path))
            else:
                self._asked_to_stop.add(path)
                self._carry_out(run_actions.stop, path)
                self.set_timer(run_actions.STOP_SECONDS, partial(self._say_how_to_end, path))

    def _end_if(self, path: Path, sure: bool | None) -> None:
        if sure:
            self._carry_out(run_actions.end, path)

    def _say_how_to_end(self, path: Path) -> None:
        live = any(r.summary.path == path and r.summary.state in LIVE for r in self._runs.values())
        if live:
            self.notify(run_actions.STILL_GOING, severity="warning", timeout=10, markup=False)
        else:  # it may be resumed, and then asked to stop again
            self._asked_to_stop.discard(path)

    def on_key(self, event: events.Key) -> None:
        """A key for live runs that found none: silence would look like a key that is broken."""
        run = self._run
        if event.key == "x" and run is not None and run.summary.state not in LIVE:
            event.stop()
            self.notify("The run is over already: there is nothing to stop.", markup=False)

    def action_export(self) -> None:
        """Write the highlighted run to files."""
        if self._run:
            self._host.export_run(self._run.summary.path)

    def action_delete(self) -> None:
        """Delete the highlighted run, after a question."""
        if run := self._run:
            question = f"Delete the run {run.title} ({run.summary.id}) for good?"
            asked = YesNo(glyphs.plain(question), yes="Delete it", no="Keep it")
            self.app.push_screen(asked, partial(self._delete_if, run.summary.path))

    def _delete_if(self, path: Path, sure: bool | None) -> None:
        if sure:
            self._carry_out(run_actions.delete, path)

    @work(thread=True, group="actions", exit_on_error=False)
    def _carry_out(
        self, action: Callable[[Path], str | None], path: Path, then_open: bool = False
    ) -> None:
        # start-up time
        from engine.core.errors import UserError

        try:
            said = action(path) or ""
            self.post_message(self.Done(path if then_open else None, error=clean(said)))
        except UserError as error:
            if not ask_to_run(self, error, partial(self._carry_out, action, path, then_open)):
                self.post_message(self.Done(error=clean(str(error))))

    def on_home_screen_done(self, message: Done) -> None:
        """Say what went wrong, or show what was asked for."""
        if message.error:
            self.notify(message.error, severity="error", markup=False)
        if message.path is not None:
            self._host.open_run(message.path)
        self._request_runs()
