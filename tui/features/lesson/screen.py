"""A lesson by itself: for pages that speak of fewer than two runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import Screen
from textual.worker import get_current_worker

from engine.core.errors import UserError
from engine.experiments.lab.lesson import Lesson
from engine.runs.reader import RunReader
from engine.runs.records import ENDED
from tui.glossary.glossary_dialog import GlossaryDialog
from tui.lesson.lesson_panel import LessonPanel
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.key_bar import KeyBar
from tui.ui.text import clean

LOOK_SECONDS = 1.0
"""How often the figures of its run are read."""


class LessonScreen(Screen[None]):
    """The lesson over the whole screen, never wider than reads well."""

    DEFAULT_CSS = """
    LessonScreen {
        align: center top;
        & LessonPanel {
            max-width: 92;
            border: $frame $foreground 25%;
            border-title-color: $foreground;
        }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("lesson.close", "q", "dismiss", "Library", "Go back to the library"),
    ]

    def __init__(self, lesson: Lesson, runs: Sequence[Path] = ()) -> None:
        """`runs` are those whose figures it speaks of, in the lesson's order."""
        super().__init__()
        self._lesson = lesson
        self._runs = dict(zip(lesson.runs, runs, strict=False))

    def compose(self) -> ComposeResult:
        yield LessonPanel(self._lesson)
        yield KeyBar()

    def on_mount(self) -> None:
        """The panel has all the keys."""
        panel = self.query_one(LessonPanel)
        panel.border_title = Content(glyphs.plain(clean(self._lesson.title)))
        panel.focus()
        if self._runs:
            self.set_interval(LOOK_SECONDS, self._look)

    @work(thread=True, group="figures", exclusive=True, exit_on_error=False)
    def _look(self) -> None:
        figures: dict[str, dict[str, float]] = {}
        ended = set()
        for name, path in self._runs.items():
            try:
                with RunReader(path) as reader:
                    final, state = reader.final(), reader.head().state
            except (UserError, OSError):
                continue  # it may be deleted, or only on its way
            known = {**final.get("metrics", {}), **final}
            numbers = {k: v for k, v in known.items() if isinstance(v, int | float)}
            figures[name] = {key: float(value) for key, value in numbers.items()}
            if state in ENDED:
                ended.add(name)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self.query_one(LessonPanel).take, figures, ended)

    @on(LessonPanel.Point)
    def _pointed(self, message: LessonPanel.Point) -> None:
        message.stop()
        self.app.push_screen(GlossaryDialog(message.term))
