"""Which screen shows what: the features of the app, joined.

Features do not import each other. What one of them opens it asks of the app (see
`tui.library.host`), and the app finds it here. Importing this takes a moment, hence it happens on a
thread while the library is on screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.screen import Screen

from engine.runs.reader import RunReader
from tui import kinds
from tui.features.edit.screen import EditScreen
from tui.features.external.screen import ExternalScreen
from tui.features.groups.screen import GroupScreen
from tui.features.rating.screen import RatingScreen
from tui.features.trainer.screen import TrainerScreen
from tui.watching.run_screen import RunScreen

if TYPE_CHECKING:
    from tui.library.lab_shelf import LabCard

__all__ = ["EditScreen", "GroupScreen", "screen_of_run", "screen_of_runs"]


def screen_of_run(path: Path) -> RunScreen:
    """The screen that shows a run: the trainer, for free text the pairs, for a run of another
    trainer what that one tells. Raises UserError."""
    with RunReader(path) as reader:
        kind = kinds.of(reader.info().preset)
    if not kind.started_here:
        return ExternalScreen(path)
    return RatingScreen(path) if kind.asks_preferences else TrainerScreen(path)


def screen_of_runs(runs: Sequence[Path], card: LabCard | None) -> Screen[None]:
    """The screen that shows runs side by side, with the lesson of a challenge or page.

    Slow at its first call, which imports what it needs. Raises UserError.
    """
    # start-up time: charts and statistics that one run alone does not need
    from tui.features.compare.screen import CompareScreen
    from tui.features.lesson.screen import LessonScreen

    lesson = card.lesson if card else None
    if lesson is not None and len(runs) < 2:
        return LessonScreen(lesson, runs)
    return CompareScreen(runs, card.challenge if card else None, lesson)
