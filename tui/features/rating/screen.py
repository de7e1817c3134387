"""You are the reward: two completions side by side, your answer, and what is made of it.

The screen of a run that writes free text, in place of the trainer: there is no maze to show. While
answers are wanted it shows a pair; otherwise what the reward model likes most and least of the
newest completions. What the reward model expected is told after the answer, never before.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from engine.learning.events import Episode, Pair, Preference
from tui import kinds
from tui.features.rating.keys import FIRST, KEYS
from tui.features.rating.marks import Marks, MarksDialog
from tui.features.rating.reward_view import RewardView
from tui.features.rating.words import (
    best_and_worst,
    card_title,
    hint,
    name,
    nothing_yet,
    open_pairs,
    question,
    tally,
    verdict,
)
from tui.glossary.glossary_dialog import GlossaryDialog
from tui.glossary.term_picker import TermPicker
from tui.library import facts_of
from tui.model.run_watch import Notice
from tui.model.snapshot import Snapshot
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

PATIENCE = 5.0
"""Seconds after which an answer that nobody took may be given again."""


class RatingScreen(RunScreen):
    """Pairs to judge, the reward model, the curves."""

    CSS_PATH = "rating.tcss"
    AUTO_FOCUS = "CurvesPanel"
    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]
    FIRST_KEYS = FIRST

    def __init__(self, path: Path, *, looks: float | None = None) -> None:
        """`looks` is how often a second the run is looked at. Raises UserError."""
        super().__init__(path, looks=looks)
        self._sent: dict[int, float] = {}
        """Pairs whose answer is on its way, and when it was sent."""
        self._looked_at: int | None = None
        """The pair that is looked at again; None for what is going on."""

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield Static(id="rating-question", markup=False)
        with Horizontal(id="rating-pair"):
            yield CompletionCard(id="first")
            yield CompletionCard(id="second")
        yield Static(id="rating-verdict", markup=False)
        with Horizontal(id="rating-below"):
            with Vertical(id="rating-model") as box:
                box.border_title = "The reward model pays for"
                yield RewardView()
            with Vertical(id="rating-curves") as box:
                box.border_title = "Curves"
                yield CurvesPanel()
        yield KeyBar()

    def on_resize(self) -> None:
        """Lines are cut to the width."""
        if self.snapshot is not None:
            self.draw(self.snapshot)

    # ------------------------------------------------------------ what is shown

    @property
    def wanted(self) -> list[Pair]:
        """The pairs that still want an answer."""
        if self.snapshot is None or self.snapshot.head.ended:
            return []
        now = time.monotonic()
        late = [index for index, sent in self._sent.items() if now - sent > PATIENCE]
        for index in late:
            del self._sent[index]
        return open_pairs(self.snapshot, self._sent)

    @property
    def pair(self) -> Pair | None:
        """The pair on screen; None where there is what the model writes now."""
        if self.snapshot is not None and self._looked_at is not None:
            return self.snapshot.pairs[self._looked_at]
        return next(iter(self.wanted), None)

    @property
    def given(self) -> Preference | None:
        """The answer to the pair on screen, if there is one."""
        pair, shot = self.pair, self.snapshot
        if pair is None or shot is None:
            return None
        return next((g for g in shot.preferences if g.index == pair.index), None)

    def draw(self, snapshot: Snapshot) -> None:
        """Show this moment."""
        if self._looked_at is not None and self._looked_at >= len(snapshot.pairs):
            self._looked_at = None  # the run was resumed and took pairs back
        self._draw_cards(snapshot)
        self.query_one(RewardView).show(snapshot)
        self.query_one(CurvesPanel).show(snapshot)
        self.refresh_bindings()

    def _draw_cards(self, snapshot: Snapshot) -> None:
        pair, given = self.pair, self.given
        first, second = self.query_one("#first", CompletionCard), self.query_one(
            "#second", CompletionCard
        )  # fmt: skip
        if pair is not None:
            chosen = name(given) if given and given.choice in ("first", "second") else ""
            first.show("1", pair.texts[0], chosen == "1")
            second.show("2", pair.texts[1], chosen == "2")
            self._line("#rating-question", question(snapshot, pair))
        else:
            self._draw_writing(snapshot, first, second)
        last = given if self._looked_at is not None else next(iter(snapshot.preferences[-1:]), None)
        told = verdict(last) + tally(snapshot, last.step) if last is not None else ""
        if self._looked_at is not None and given is None:
            told = "Not answered yet. Esc goes back to the questions."
        self.query_one("#rating-verdict", Static).update(Content(glyphs.plain(told)))

    def _draw_writing(
        self, snapshot: Snapshot, first: CompletionCard, second: CompletionCard
    ) -> None:
        """What the model writes now, at both ends of the reward model's taste."""
        group = snapshot.writing
        ends = best_and_worst(group.members) if group else None
        if group is None or ends is None:
            first.say(nothing_yet(snapshot.head))
            second.say("")
            self._line("#rating-question", "")
            return
        first.show(card_title(ends[0], best=True), ends[0].text)
        second.show(card_title(ends[1], best=False), ends[1].text)
        self._line("#rating-question", f"Written in update {group.step}   asked: {group.prompt}")

    def _line(self, where: str, text: str) -> None:
        width = max(self.size.width - 2, 1)
        shown = fit(glyphs.plain(text), width, glyphs.current().ellipsis)
        self.query_one(where, Static).update(Content(shown))

    def say(self, instead: str = "") -> None:
        """The lines on top."""
        status, shot = self.query_one(StatusLine), self.snapshot
        if instead:
            status.say(instead)
        elif shot is not None:
            told = hint(shot, len(self.wanted))
            status.show(shot, facts_of.symbol(shot.head.state), None, told)

    def provide(self, episode_id: int, episode: Episode) -> None:
        """There are no episodes in free text."""

    # ------------------------------------------------------------ answering

    def action_prefer(self, choice: str) -> None:
        """Answer the pair on screen."""
        pair = self._answerable()
        if pair is not None:
            self._send("prefer", pair, choice=choice)

    def action_marks(self) -> None:
        """Answer it by two marks."""
        pair = self._answerable()
        if pair is not None:
            self.app.push_screen(MarksDialog(), lambda marks: self._marked(pair, marks))

    def _marked(self, pair: Pair, marks: Marks | None) -> None:
        if marks is not None:
            self._send("score", pair, scores=list(marks))

    def _answerable(self) -> Pair | None:
        pair = self.pair
        if pair is None or self.given is not None or not self.live:
            self.tell(Notice("Nothing is asked now."))
            return None
        return pair

    def _send(self, command: str, pair: Pair, **args: Any) -> None:
        self._sent[pair.index] = time.monotonic()
        self._looked_at = None
        self.command(command, pair=pair.index, **args)
        if self.snapshot is not None:
            self._draw_cards(self.snapshot)
            self.say()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not offered."""
        if action in ("prefer", "marks", "toggle_pause", "tune", "stop"):
            return self.live
        return True

    # ------------------------------------------------------------ looking around

    @on(CurvesPanel.MomentChosen)
    def _moment_chosen(self, message: CurvesPanel.MomentChosen) -> None:
        """The pairs that were asked about then."""
        shot = self.snapshot
        if shot is None or not shot.pairs:
            return
        past = [n for n, pair in enumerate(shot.pairs) if pair.step <= message.step]
        self._looked_at = past[-1] if past else 0
        self._draw_cards(shot)

    def action_look(self, by: int) -> None:
        """Another pair, with its answer."""
        shot = self.snapshot
        if shot is None or not shot.pairs:
            return
        pair = self.pair
        newest = len(shot.pairs)
        now = newest if pair is None else shot.pairs.index(pair)
        there = now + by
        wanted = self.wanted
        is_newest = there >= newest or (bool(wanted) and shot.pairs[max(there, 0)] == wanted[0])
        self._looked_at = None if is_newest else max(there, 0)
        self._draw_cards(shot)

    def action_newest(self) -> None:
        """Back to what is going on."""
        self._looked_at = None
        if self.snapshot is not None:
            self._draw_cards(self.snapshot)

    def action_next_curves(self) -> None:
        """The next set of curves."""
        self.query_one(CurvesPanel).next_view()

    def action_notes(self) -> None:
        """What the run has said so far."""
        shot = self.snapshot
        if shot is None or not shot.notes:
            self.tell(Notice("The run has not said anything yet."))
        else:
            screen = NotesScreen(shot.notes, kinds.of(shot.preset).clock.unit)
            self.app.push_screen(screen, self._open_term)

    # ------------------------------------------------------------ terms

    def terms(self) -> list[Term]:
        """The glossary terms on screen."""
        return unique(
            [
                Term("preference", "preference"),
                Term("RLHF", "rlhf"),
                *self.query_one(RewardView).terms(),
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
        if slug is not None:
            self.app.push_screen(GlossaryDialog(slug, self.snapshot))
