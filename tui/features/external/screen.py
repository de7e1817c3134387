"""A run that Ice Maze did not start: what its trainer tells, and what the diagnosis says of it.

It looks like the other screens that watch runs, without a key that would steer.
"""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.learning.events import Episode, Group
from tui import kinds
from tui.features.external.keys import FIRST, KEYS
from tui.features.external.words import (
    asked,
    best_and_worst,
    card_title,
    hint,
    known,
    nothing_yet,
)
from tui.glossary.glossary_dialog import GlossaryDialog
from tui.glossary.term_picker import TermPicker
from tui.library import facts_of
from tui.library.host import host_of
from tui.model.run_watch import Notice
from tui.model.snapshot import Snapshot
from tui.model.source import GroupPage
from tui.ui import glyphs
from tui.ui.fact import Term
from tui.ui.key_bar import KeyBar
from tui.ui.terms import TermClicked, unique
from tui.ui.text import fit
from tui.watching.completion_card import CompletionCard
from tui.watching.curves import CurvesPanel
from tui.watching.notes import NotesScreen
from tui.watching.run_screen import RunScreen
from tui.watching.status_line import StatusLine


class ExternalScreen(RunScreen):
    """Completions, what is known of the run, and curves."""

    CSS_PATH = "external.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 (Textual's own type)
    AUTO_FOCUS = "CurvesPanel"
    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]
    FIRST_KEYS = FIRST

    ENDINGS: ClassVar[dict[str, str]] = {
        "finished": "The run is finished.",
        "stopped": "The run is not recorded any more.",
    }

    _page: GroupPage | None = None
    """The completions that are looked at again; None for the newest."""

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield Static(id="external-asked", markup=False)
        with Horizontal(id="external-pair"):
            yield CompletionCard(id="best")
            yield CompletionCard(id="worst")
        with Horizontal(id="external-below"):
            with VerticalScroll(id="external-known", can_focus=False) as box:
                box.border_title = "Diagnosis"
                yield Static(markup=False)
            with Vertical(id="external-curves") as box:
                box.border_title = "Curves"
                yield CurvesPanel()
        yield KeyBar()

    def on_resize(self) -> None:
        """Lines are cut to the width."""
        if self.snapshot is not None:
            self._draw_cards(self.snapshot)

    # ------------------------------------------------------------ what is shown

    def draw(self, snapshot: Snapshot) -> None:
        """Show this moment."""
        self._draw_cards(snapshot)
        self.query_one("#external-known Static", Static).update(known(snapshot))
        self.query_one(CurvesPanel).show(snapshot)

    @property
    def group(self) -> Group | None:
        """The group whose completions are on screen."""
        if self._page is not None and self._page.groups:
            return self._page.groups[0].group
        return self.snapshot.writing if self.snapshot is not None else None

    def _draw_cards(self, snapshot: Snapshot) -> None:
        best, worst = self.query_one("#best", CompletionCard), self.query_one(
            "#worst", CompletionCard
        )  # fmt: skip
        group = self.group
        ends = best_and_worst(group.members) if group else None
        if group is None or ends is None:
            best.say(nothing_yet(snapshot))
            worst.say("")
            self._line("")
            return
        best.show(card_title("earned most", ends[0]), ends[0].text)
        if ends[1] is None:
            worst.say("The only completion of its prompt.")
        else:
            worst.show(card_title("earned least", ends[1]), ends[1].text)
        self._line(asked(group, kinds.of(snapshot.preset).clock.unit))

    def _line(self, text: str) -> None:
        width = max(self.size.width - 2, 1)
        shown = fit(glyphs.plain(text), width, glyphs.current().ellipsis)
        self.query_one("#external-asked", Static).update(Content(shown))

    def say(self, instead: str = "") -> None:
        """The lines on top."""
        status, shot = self.query_one(StatusLine), self.snapshot
        if instead:
            status.say(instead)
        elif shot is not None:
            status.show(shot, facts_of.symbol(shot.head.state), None, hint(shot))

    def provide(self, episode_id: int, episode: Episode) -> None:
        """There are no episodes of moves."""

    # ------------------------------------------------------------ looking around

    @work(group="groups", exclusive=True)
    async def action_look(self, by: int) -> None:
        """Completions recorded before or after those on screen."""
        group = self.group
        if group is None:
            return
        page = await self.groups(group.step, by)
        if page is not None and page.update == group.step:
            self.tell(Notice("No completions are recorded there."))
        self._show_page(page)

    @on(CurvesPanel.MomentChosen)
    def _moment_chosen(self, message: CurvesPanel.MomentChosen) -> None:
        self._look_at(message.step)

    @work(group="groups", exclusive=True)
    async def _look_at(self, step: int) -> None:
        self._show_page(await self.groups(step))

    def _show_page(self, page: GroupPage | None) -> None:
        newest = page is not None and page.update == page.newest
        self._page = None if newest else page
        if self.snapshot is not None:
            self._draw_cards(self.snapshot)

    def action_follow(self) -> None:
        """Back to the newest completions."""
        self._show_page(None)

    @work(group="groups", exclusive=True)
    async def action_groups(self) -> None:
        """All completions of the update on screen."""
        shot, group = self.snapshot, self.group
        if shot is None:
            return
        page = await self.groups(group.step if group else None)
        if page is None or not page.groups:
            self.tell(Notice(nothing_yet(shot)))
        elif self.app.screen is self:
            host_of(self).show_groups(self.groups, page, shot)

    def action_next_curves(self) -> None:
        """The next set of curves."""
        self.query_one(CurvesPanel).next_view()

    def action_notes(self) -> None:
        """All that was said so far."""
        shot = self.snapshot
        if shot is None or not shot.notes:
            self.tell(Notice("Nothing has been said of this run yet."))
        else:
            screen = NotesScreen(shot.notes, kinds.of(shot.preset).clock.unit)
            self.app.push_screen(screen, self._open_term)

    # ------------------------------------------------------------ terms

    def terms(self) -> list[Term]:
        """The glossary terms on screen."""
        shot = self.snapshot
        facts = kinds.of(shot.preset).model_facts() if shot is not None else []
        return unique(
            [
                Term("completion", "completion"),
                Term("advantage", "group-advantage"),
                *(Term(fact.label, fact.slug) for fact in facts),
                *self.query_one(CurvesPanel).terms(),
                *self.query_one(StatusLine).terms(),
            ]
        )

    def action_glossary(self) -> None:
        """Choose a term and read about it."""
        self.app.push_screen(TermPicker(self.terms()), self._open_term)

    @on(TermClicked)
    def _term_clicked(self, message: TermClicked) -> None:
        self._open_term(message.slug)

    def _open_term(self, slug: str | None) -> None:
        # Without values: most are settings, of which this run's trainer has told only some.
        if slug is not None:
            self.app.push_screen(GlossaryDialog(slug))
