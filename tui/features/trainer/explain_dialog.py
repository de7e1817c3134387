"""One step's update, explained: the formula, the numbers in it, and the words."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll

from engine.learning.events import Step
from tui.glossary.term_picker import TermPicker
from tui.log.explain import ExplainView
from tui.model.snapshot import Snapshot
from tui.ui.bindings import key
from tui.ui.dialog import Dialog
from tui.ui.terms import TermClicked


class ExplainScreen(Dialog[str]):
    """Dismissed with the slug of a term to look up, or with None."""

    DEFAULT_CSS = """
    ExplainScreen {
        & > .box { width: 90; padding: 1 2; }
        & ExplainView { height: auto; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("explain.close", "escape,enter,q", "dismiss(None)", "Close", "Back to the panels"),
        key("explain.glossary", "g", "look_up", "Glossary", "Look up a term used here"),
    ]

    def __init__(self, step: Step, snapshot: Snapshot) -> None:
        super().__init__()
        self.step, self.snapshot = step, snapshot

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = "This update, explained"
            box.border_subtitle = "Esc: close   g: look up a term"
            yield ExplainView()

    def on_mount(self) -> None:
        self.query_one(ExplainView).show(self.step, self.snapshot)
        self.query_one(VerticalScroll).focus()

    def action_look_up(self) -> None:
        """Choose one of the terms used here."""
        self.app.push_screen(TermPicker(self.query_one(ExplainView).terms()), self._picked)

    def _picked(self, slug: str | None) -> None:
        if slug is not None:
            self.dismiss(slug)

    @on(TermClicked)
    def _term_clicked(self, message: TermClicked) -> None:
        message.stop()
        self.dismiss(message.slug)
