"""Two lines over the trainer: what runs, how far it is, and what to do next."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.snapshot import Snapshot
from tui.widgets import glyphs
from tui.widgets.text import clean, percent, si

STATES = {
    "starting": ("…", "starting"),
    "running": ("▶", "running"),
    "paused": ("‖", "paused"),
    "stopped": ("■", "stopped"),
    "finished": ("✓", "finished"),
    "failed": ("✗", "failed"),
    "dead": ("✗", "worker is gone"),
}


def pace_text(pace: float | None) -> str:
    """A pace as people say it."""
    return "unlimited" if pace is None else f"{pace:g} steps/s"


class StatusLine(Widget):
    """Title, state, pace and counters; below them one sentence about what can be done."""

    DEFAULT_CSS = """
    StatusLine {
        height: 2;
        padding: 0 1;
        background: $panel;
        & > .status-line--title { text-style: bold; }
        & > .status-line--hint { color: $foreground 75%; }
    }
    """
    COMPONENT_CLASSES = {"status-line--title", "status-line--hint"}

    hint: reactive[str] = reactive("")
    """What the second line says."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.snapshot: Snapshot | None = None

    def show(self, snapshot: Snapshot, hint: str) -> None:
        """Draw this moment."""
        self.snapshot = snapshot
        self.hint = hint
        self.refresh()

    def render(self) -> RenderResult:
        title = self.get_visual_style("status-line--title")
        muted = self.get_visual_style("status-line--hint")
        if self.snapshot is None:
            return Content.styled("Reading the run …", muted)
        first = Content.styled(clean(self.snapshot.preset.title), title)
        wide = self.size.width >= 100
        facts = "  ".join(self._facts(self.snapshot, wide))
        text = Content.assemble(first, "   ", facts, "\n", (self.hint, muted))
        return Content(glyphs.plain(text.plain)) if glyphs.current().ascii else text

    def _facts(self, snapshot: Snapshot, wide: bool) -> list[str]:
        head = snapshot.head
        symbol, word = STATES[head.state]
        if not snapshot.following:
            symbol, word = "«", "replay"
        unit = "sweep" if snapshot.algorithm.family == "planning" else "step"
        facts = [f"{symbol} {word}"]
        if not head.ended:
            facts.append(pace_text(head.pace))
        facts.append(f"{unit} {si(snapshot.at)}")
        if wide and unit == "step":
            facts.append(f"episode {si(head.episodes)}")
        if snapshot.evaluation is not None:
            success = snapshot.evaluation.figures["success_rate"].mean
            facts.append(
                f"success {percent(success)} of {percent(snapshot.optimal_figures.success_rate)}"
                if wide
                else f"success {percent(success)}"
            )
        return facts
