"""The Textual app: thin. It holds the screens together and starts runs; the screens do the rest."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from engine.errors import UserError
from engine.presets import Preset
from engine.runs import launch, library
from tui.screens.help import HelpScreen, key_rows
from tui.screens.home import HomeScreen


class IceMazeApp(App[None]):
    """The preset library, the runs, and the trainer that shows one of them."""

    TITLE = "Ice Maze"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "question_mark",
            "help",
            "Help",
            id="app.help",
            key_display="?",
            tooltip="All keys, and what the panels show",
        ),
    ]

    def __init__(self, runs_dir: Path | None = None, open_run: Path | None = None) -> None:
        """`open_run` is shown at once; leaving it leads to the library."""
        super().__init__()
        self.runs_dir = runs_dir or library.runs_dir()
        self._first_run = open_run

    def on_mount(self) -> None:
        self.push_screen(HomeScreen(self.runs_dir))
        if self._first_run is not None:
            self.open_run(self._first_run)

    # ------------------------------------------------------------ runs

    @work(thread=True, group="start", exclusive=True, exit_on_error=False)
    def start_run(self, preset: Preset, name: str) -> None:
        """Start a run of a preset at the pace it asks for, and show it."""
        try:
            path = launch.launch(preset, name, runs_dir=self.runs_dir, pace=preset.run.pace)
        except UserError as error:
            self.call_from_thread(
                partial(
                    self.notify,
                    str(error),
                    title="The run could not start",
                    severity="error",
                    markup=False,
                )
            )
            return
        self.call_from_thread(self.open_run, path)

    def open_run(self, path: Path) -> None:
        """Show a run, live or recorded."""
        from tui.screens.trainer import TrainerScreen

        try:
            screen = TrainerScreen(path)
        except UserError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.push_screen(screen)

    # ------------------------------------------------------------ help

    def action_help(self) -> None:
        """Every key that works on this screen."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette offers what the keys do, under the same names."""
        actions = {
            binding.description: (binding.action, active.node)
            for active in screen.active_bindings.values()
            if (binding := active.binding).description and not binding.system
        }
        for keys, description, tooltip in key_rows(screen):
            action, node = actions[description]
            yield SystemCommand(
                description, f"{tooltip} ({keys})", partial(self.run_action, action, node)
            )
        yield from super().get_system_commands(screen)
