"""Opening a challenge: the runs there are or fresh ones, and how both are got side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.library.shelf import RunCard
from tui.ui import glyphs
from tui.ui.dialog import Dialog

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from tui.features.home.lab_shelf import LabCard


class WhichRuns(Dialog[bool]):
    """Dismissed with True for fresh runs, False for those there are, None for neither."""

    DEFAULT_CSS = """
    WhichRuns > .box { width: 64; padding: 0 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", id="which.close", tooltip="Open nothing"),
        Binding("f", "dismiss(True)", "Fresh", id="which.fresh", tooltip="Start fresh runs"),
        Binding("o", "dismiss(False)", "Open", id="which.open", tooltip="Open the runs there are"),
    ]

    def __init__(self, title: str, runs: Sequence[RunCard]) -> None:
        super().__init__()
        self._title, self._runs = title, runs

    def compose(self) -> ComposeResult:
        states = ", ".join(dict.fromkeys(run.summary.state for run in self._runs))
        newest = max(run.summary.created for run in self._runs if run.summary.created)
        there = f"Open the runs of {newest:%d %b %H:%M} (o): {states}"
        yield OptionList(
            Option(Content(glyphs.plain(there)), id="there"),
            Option("Start fresh runs (f)", id="fresh"),
            classes="box",
        )

    def on_mount(self) -> None:
        """The runs there are cost nothing, so they stand first."""
        super().on_mount()
        options = self.query_one(OptionList)
        options.border_title = Content(glyphs.plain(self._title))
        options.border_subtitle = "Enter: choose   Esc: close"
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id == "fresh")


def start_together(
    presets: Sequence[tuple[str, Preset]], runs_dir: Path, *, paused: bool = False
) -> list[Path]:
    """Start a run of each preset, by name, at one pace and from one seed: those of the first.

    `paused` runs wait before their first step. Give it a thread. Raises UserError when one cannot
    start; those begun before are stopped.
    """
    from engine.core.errors import UserError
    from engine.runs import launch
    from tui.library import run_actions

    started: list[Path] = []
    try:
        for name, preset in presets:
            how = presets[0][1].run
            path = launch.launch(
                preset, name, runs_dir=runs_dir, seed=how.seed, pace=how.pace, paused=paused
            )
            started.append(path)
    except UserError:
        for path in started:
            with suppress(UserError):
                run_actions.stop(path)
        raise
    return started


def screen_of(runs: Sequence[Path], card: LabCard | None) -> Screen[None]:
    """The screen that shows these runs, with the lesson of a challenge or page.

    Slow at its first call, which imports what it needs. Raises UserError.
    """
    from tui.features.compare.screen import CompareScreen
    from tui.features.lesson.screen import LessonScreen

    lesson = card.lesson if card else None
    if lesson is not None and len(runs) < 2:
        return LessonScreen(lesson, runs)
    return CompareScreen(runs, card.challenge if card else None, lesson)
