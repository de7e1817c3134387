"""The Textual app: thin. It joins the features and starts runs; their screens do the rest.

What the first picture does not need is imported while it is on screen already: each import inside a
function here is there for start-up time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, work
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.worker import get_current_worker

from tui.ui import app_keys, glyphs, leaving
from tui.ui.ascii import GlyphApp
from tui.ui.places import has_places, places_of
from tui.ui.remembered import remember, remembered

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.env.maze import Maze
    from engine.experiments.lab.progress import State
    from engine.runs.past.fork import ForkPoint
    from tui.lesson.lesson_panel import LessonPanel
    from tui.library.host import Host
    from tui.library.lab_shelf import LabCard
    from tui.model.snapshot import Snapshot
    from tui.model.source import GroupPage, LoadsGroups

WELCOME = """
 Ice Maze  watch reinforcement learning, one step at a time

 Enter chooses a preset, Enter again starts it. ? shows all keys.

 Reading the library …
"""


TYPE_SECONDS = 0.2
"""Between two keys that were pressed before the library was there."""


def _import_trainer() -> None:
    """What the first run that is opened needs; too slow to import where keys are waited for."""
    # The glossary shows source lines, hence Pygments.
    for name in ("tui.forms.start_form", "tui.navigation", "pygments.lexers.python"):
        import_module(name)


class IceMazeApp(GlyphApp[None]):
    """The preset library, the runs, and the trainer that shows one of them."""

    TITLE = "Ice Maze"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"

    BINDINGS: ClassVar[list[BindingType]] = [*app_keys.KEYS]

    def __init__(
        self,
        runs_dir: Path | None = None,
        open_run: Path | None = None,
        compare: Sequence[Path] = (),
    ) -> None:
        """`open_run` is shown at once, or the runs of `compare` side by side; leaving them leads
        to the library."""
        super().__init__()
        self._runs_dir = runs_dir
        self._first_run = open_run
        self._first_compared = tuple(compare)
        self._typed_ahead: list[str] = []
        self._at_home = False
        self._terminal: leaving.Terminal = None
        self._own_keys: dict[str, str] = {}
        self._glyph_set = "auto"
        self._take_remembered()

    def _take_remembered(self) -> None:
        """Colours, characters and keys as the user has chosen them once."""
        chosen, self._config_trouble = remembered()
        if chosen is None:
            return
        self._own_keys, self._glyph_set = chosen.keys, chosen.app.glyphs
        if self._glyph_set != "auto" and "ICEMAZE_ASCII" not in os.environ:
            glyphs.choose(self._glyph_set == "ascii")
        self.look(chosen.app.theme)

    def run(self, *args: Any, **named: Any) -> Any:
        """Run until the user leaves. After a crash the shell sees that there was one."""
        self._terminal = leaving.terminal_now()
        super().run(*args, **named)
        if self.return_code:
            raise SystemExit(self.return_code)
        return self.return_value

    def compose(self) -> ComposeResult:
        """The first picture, until the library has been read."""
        yield Static(glyphs.plain(WELCOME), markup=False)

    def on_mount(self) -> None:
        if not self.is_headless:
            leaving.on_signals(self, self._terminal)
        if self._config_trouble:
            self.notify(self._config_trouble, severity="warning", timeout=12)
        # Not before the first picture is on screen: importing holds the interpreter.
        self.call_after_refresh(self._read_library)

    @work(thread=True, group="library", exit_on_error=True)
    def _read_library(self) -> None:
        import tui.features.home.screen  # noqa: F401  (slow to import, so in a thread)

        self.call_from_thread(self.call_later, self._show_home)

    async def _show_home(self) -> None:
        # start-up time
        from tui.features.home.screen import HomeScreen

        self._at_home = True
        # The library must stand before a run lies on top of it: leaving one may be quick.
        await self.push_screen(HomeScreen(self.runs_dir))
        if self._first_run is not None:
            self.open_run(self._first_run)
        elif self._first_compared:
            self.compare_runs(self._first_compared, None)
        elif self._typed_ahead:
            self.set_timer(TYPE_SECONDS, self._type_ahead)
        self.call_after_refresh(self.run_worker, _import_trainer, thread=True, group="library")
        if self._own_keys:
            self.call_after_refresh(self._take_keys)

    @work(thread=True, group="library")
    def _take_keys(self) -> None:
        """The user's own keys, once they are known to be good."""
        # start-up time
        from engine.core.errors import UserError
        from tui import keymap

        try:
            keymap.check(self._own_keys)
            own = keymap.normal(self._own_keys)
        except UserError as error:
            said = f"{error} Until then the keys are those that are shipped."
            self.call_from_thread(self.notify, said, severity="warning", timeout=12)
        else:
            self.call_from_thread(self.set_keymap, own)

    def _type_ahead(self) -> None:
        """What was typed too early, one key at a time: each may open what the next is meant for."""
        lists = self.screen.query(OptionList)
        if not lists or lists.first().option_count:  # the library may still be on its way
            self.simulate_key(self._typed_ahead.pop(0))
        if self._typed_ahead:
            self.set_timer(TYPE_SECONDS, self._type_ahead)

    def on_key(self, event: events.Key) -> None:
        """Keys pressed before the library is there are not lost."""
        if not self._at_home and event.key != "question_mark":
            self._typed_ahead.append(event.key)

    @property
    def runs_dir(self) -> Path:
        """Where the runs are."""
        # start-up time
        from engine.runs import library

        return self._runs_dir or library.runs_dir()

    # ------------------------------------------------------------ runs

    @work(thread=True, group="start", exclusive=True)
    def start_run(self, preset: Preset, name: str) -> None:
        """Start a run of a preset at the pace it asks for, and show it."""
        # start-up time
        from engine.core.errors import UserError
        from engine.runs import launch

        worker = get_current_worker()

        def show(path: Path) -> None:
            """Its screen is built while its worker imports what it needs."""
            if not worker.is_cancelled:  # by the start of another run
                self.call_from_thread(self.open_run, path)

        try:
            launch.launch(preset, name, runs_dir=self.runs_dir, pace=preset.run.pace, spawned=show)
        except UserError as error:
            self.call_from_thread(self._not_started, error)

    @work(thread=True, group="start", exclusive=True)
    def fork_run(self, point: ForkPoint, preset: Preset) -> None:
        """Go on from a checkpoint as a new run of this preset, and show it."""
        # start-up time
        from engine.core.errors import UserError
        from engine.runs import launch
        from engine.runs.past.fork import create_fork

        try:
            path = create_fork(point, preset, runs_dir=self.runs_dir)
            launch.start_worker(path, pace=preset.run.pace)
        except UserError as error:
            self.call_from_thread(self._not_started, error)
            return
        if not get_current_worker().is_cancelled:  # by the start of another run
            self.call_from_thread(self.open_run, path)

    def _not_started(self, error: Exception) -> None:
        title = "The run could not start"
        self.notify(str(error), title=title, severity="error", markup=False)

    def open_run(self, path: Path) -> None:
        """Show a run, live or recorded, as soon as the trainer is there."""
        self._open(path)

    @work(group="open", exclusive=True)
    async def _open(self, path: Path) -> None:
        await asyncio.to_thread(_import_trainer)
        # start-up time
        from engine.core.errors import UserError
        from tui.navigation import screen_of_run

        try:
            screen = screen_of_run(path)
        except UserError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        await self.push_screen(screen)

    def export_run(self, path: Path) -> None:
        """Ask how the run in this folder is written to files."""
        # start-up time
        from tui.features.export.screen import ExportScreen

        self.push_screen(ExportScreen(path))

    def edit_map(
        self, snapshot: Snapshot, maze: Maze, then: Callable[[tuple[str, ...] | None], None]
    ) -> None:
        """Open the map editor on a maze of a run; `then` gets the rows to be sent, or None."""
        # start-up time
        from tui.features.edit.screen import EditScreen

        self.push_screen(EditScreen(snapshot, maze), then)

    def show_groups(self, load: LoadsGroups, page: GroupPage, snapshot: Snapshot) -> None:
        """Show the groups that an update compared; `load` reads those of other updates."""
        # start-up time
        from tui.features.groups.screen import GroupScreen

        self.push_screen(GroupScreen(load, page, snapshot))

    # ------------------------------------------------------------ the lab

    def start_lab(self, card: LabCard) -> None:
        """Start the runs of a challenge or page together, and show them with its lesson."""
        if card.presets:
            self.notify("Starting the workers…", timeout=3)
        self._start_lab(card)

    @work(thread=True, group="start", exclusive=True)
    def _start_lab(self, card: LabCard) -> None:
        # start-up time
        from engine.core.errors import UserError
        from tui.library.run_actions import start_together

        presets = [(each.name, each.preset) for each in card.presets if each.preset]
        try:
            # A lesson asks what will happen before it happens; where there is one run to a
            # lesson, no key of its screen would let it go on.
            waits = card.lesson is not None and len(presets) > 1
            paths = start_together(presets, self.runs_dir, paused=waits)
        except UserError as error:
            self.call_from_thread(self._not_started, error)
            return
        if not get_current_worker().is_cancelled:  # by the start of another run
            self.call_from_thread(self.compare_runs, paths, card)

    def compare_runs(self, runs: Sequence[Path], card: LabCard | None) -> None:
        """Show runs side by side, with the lesson of a challenge or page if there is one."""
        self._compare(tuple(runs), card)

    @work(group="open", exclusive=True)
    async def _compare(self, runs: Sequence[Path], card: LabCard | None) -> None:
        # start-up time
        from engine.core.errors import UserError
        from tui.navigation import screen_of_runs

        try:
            screen = await asyncio.to_thread(screen_of_runs, runs, card)
        except UserError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        if card is not None:
            self._note_progress(card.name, "tried")
        await self.push_screen(screen)

    def on_lesson_panel_finished(self, message: LessonPanel.Finished) -> None:
        """Who has answered everything has understood it."""
        self._note_progress(message.name, "understood")

    @work(thread=True, group="proposal", exclusive=True)
    def on_lesson_panel_proposed(self, message: LessonPanel.Proposed) -> None:
        """Start a run that a lesson proposes, and show it over the lesson."""
        # start-up time
        from engine import presets
        from engine.core.errors import UserError

        wanted = message.proposal
        try:
            preset = presets.load(wanted.preset, list(wanted.settings))
        except UserError as error:
            self.call_from_thread(self._not_started, error)
            return
        self.call_from_thread(self.start_run, preset, wanted.preset)

    def _note_progress(self, name: str, state: State) -> None:
        # start-up time
        from engine.core.errors import UserError
        from engine.experiments.lab import progress

        try:
            note = progress.mark(name, state).note
        except UserError as error:
            note = str(error)
        if note:
            self.notify(note, severity="warning", markup=False)

    # ------------------------------------------------------------ the map

    def action_algorithms(self) -> None:
        """The algorithm map."""
        # start-up time
        from tui.features.algorithms.screen import AlgorithmMapScreen

        self.push_screen(AlgorithmMapScreen())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The map is reached from the library, where its presets are."""
        if action == "jump":
            return self._at_home and has_places(self.screen)
        if action != "algorithms":
            return True
        return self._at_home and type(self.screen).__name__ == "HomeScreen"

    # ------------------------------------------------------------ help

    def action_help(self) -> None:
        """Every key that works on this screen."""
        # start-up time
        from tui.features.help.screen import HelpScreen

        if self._at_home and not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette offers what the keys do, under the same names."""
        # start-up time
        from tui.features.help.screen import commands

        names = set()
        for each in commands(screen):
            if each.name not in names and each.action != "command_palette":
                names.add(each.name)
                text = glyphs.plain(f"{each.tooltip} ({each.keys})")
                yield SystemCommand(
                    each.name, text, partial(self.run_action, each.action, each.node)
                )
        for command in super().get_system_commands(screen):
            if command.title == "Screenshot":
                yield command

    # ------------------------------------------------------------ looks, and going about

    @work(group="looks", exclusive=True)
    async def action_looks(self) -> None:
        """Choose colours and characters."""
        # start-up time
        from tui.features.looks.screen import LooksScreen

        asked = LooksScreen(self.chosen_theme, self._glyph_set, self.preview)
        chosen = await self.push_screen_wait(asked)
        if chosen is None:
            return
        name, value = chosen
        if name == "glyphs":
            self._glyph_set = value
        else:
            self.look(value)
        if trouble := await asyncio.to_thread(remember, "app", name, value):
            self.notify(trouble, severity="warning", markup=False)

    @work(group="jump", exclusive=True)
    async def action_jump(self) -> None:
        """A letter on each panel."""
        # start-up time
        from tui.features.jump.screen import JumpScreen

        places = places_of(self.screen)
        where = await self.push_screen_wait(JumpScreen(places))
        if where is not None:
            places[where].go()

    def action_command_palette(self) -> None:
        """All commands by name."""
        if not isinstance(self.screen, CommandPalette):
            palette = CommandPalette(placeholder="Search the commands", id="--command-palette")
            self.push_screen(palette)

    def get_key_display(self, binding: Binding) -> str:
        """A key as the terminal can show it."""
        shown = super().get_key_display(binding)
        return shown if shown.isascii() or not glyphs.current().ascii else binding.key


if TYPE_CHECKING:
    _: Host = IceMazeApp()  # the app is what its screens ask for: checked, never run
