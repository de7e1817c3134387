"""Two lines over the trainer: what runs, how far it is, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Region
from textual.style import Style
from textual.widget import Widget

from tui import kinds
from tui.model.snapshot import Snapshot
from tui.ui import glyphs
from tui.ui.fact import Term
from tui.ui.terms import post_term
from tui.ui.text import clean, fit, si

WORDS = {"dead": "worker is gone"}
"""States that need more than their name."""
ROOMY = 100
"""From this many columns on the optimum and the episodes are told too."""
GAP = 3
LEAST_TITLE = 12


def pace_text(pace: float | None, unit: str = "step") -> str:
    """A pace as people say it."""
    return "unlimited" if pace is None else f"{pace:g} {unit}{'' if pace == 1 else 's'}/s"


class Playback(NamedTuple):
    """How a recording is shown."""

    playing: bool
    pace: float


class Fact(NamedTuple):
    """A piece of the first line and the glossary term it belongs to."""

    text: str
    slug: str


class StatusLine(Widget):
    """Title, state, pace and counters; below them one sentence about what can be done."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    StatusLine {
        height: 2;
        padding: 0 1;
        background: $panel;
        & > .status-line--title { text-style: bold; }
        & > .status-line--hint { color: $foreground 75%; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"status-line--title", "status-line--hint"}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = ""
        self._facts: tuple[Fact, ...] = ()
        self._hint = "Reading the run …"

    def show(self, snapshot: Snapshot, mark: str, playback: Playback | None, hint: str) -> None:
        """Draw this moment. `mark` stands for the state of the run; `playback` replaces it while a
        recording is shown."""
        self.tell(clean(snapshot.preset.title), self._told(snapshot, mark, playback), hint)

    def tell(self, title: str, facts: Sequence[Fact], hint: str) -> None:
        """Draw these; the title must be clean."""
        facts = tuple(facts)
        if not self._facts:  # what was said before took the first line
            self.refresh()
        elif (title, facts) != (self._title, self._facts):
            self.refresh(Region(0, 0, self.size.width, 1))
        self._title, self._facts = title, facts
        self.say(hint)

    def say(self, hint: str) -> None:
        """Change the second line only."""
        if hint != self._hint:
            self._hint = hint
            self.refresh(Region(0, 1 if self._facts else 0, self.size.width, 1))

    def terms(self) -> list[Term]:
        """The glossary terms of the first line."""
        return [Term(fact.text, fact.slug) for fact in self._facts]

    def render(self) -> RenderResult:
        title = self.get_visual_style("status-line--title")
        muted = self.get_visual_style("status-line--hint")
        width = self.content_size.width
        if not self._facts:
            return self._line([(self._hint, muted)])
        facts = "  ".join(fact.text for fact in self._facts)
        room = max(width - cell_len(facts) - GAP, LEAST_TITLE)
        ellipsis = glyphs.current().ellipsis
        name = fit(self._title, min(room, cell_len(self._title)), ellipsis)
        pieces = [(name, title), (" " * GAP, Style())]
        for fact in self._facts:
            pieces += [(fact.text, Style.from_meta({"term": fact.slug})), ("  ", Style())]
        hint = glyphs.plain(self._hint)
        return Content("\n").join(
            [self._line(pieces), self._line([(fit(hint, width, ellipsis), muted)])]
        )

    @staticmethod
    def _line(pieces: list[tuple[str, Style]]) -> Content:
        return Content("").join(Content.styled(glyphs.plain(text), look) for text, look in pieces)

    def _told(self, snapshot: Snapshot, mark: str, playback: Playback | None) -> list[Fact]:
        head, wide = snapshot.head, self.size.width >= ROOMY
        kind = kinds.of(snapshot.preset)
        clock, unit = kind.clock, kind.clock.unit
        state = WORDS.get(head.state, head.state)
        if head.waiting and not head.ended:
            state = "waiting for you"
        if playback is None:
            facts = [Fact(f"{mark} {state}", "run-state")]
            if not head.ended:
                facts.append(Fact(pace_text(head.pace, unit), "pace"))
        else:
            how = "paused"
            if playback.playing:
                how = pace_text(playback.pace, kind.playback_unit)
            facts = [Fact(f"{glyphs.current().back} recording, {how}", "recording-point")]
        facts.append(Fact(f"{unit} {si(snapshot.at)}", clock.slug))
        if wide and kind.numbers_episodes and snapshot.step is not None:
            facts.append(Fact(f"episode {snapshot.step.episode}", "episode"))
        if warnings := sum(note.level != "info" for note in snapshot.notes):
            plural = "warning" if warnings == 1 else "warnings"
            facts.insert(1, Fact(f"! {warnings} {plural} (n)" if wide else f"! {warnings}", "note"))
        return [*facts, *(Fact(*term) for term in kind.success_terms(snapshot, wide))]

    async def _on_click(self, event: events.Click) -> None:
        post_term(self, event)
