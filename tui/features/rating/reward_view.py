"""What the reward model thinks: its weights on the features that can be read, as words and bars."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.text import Text
from textual.widget import Widget

from engine.llm.tasks.text.features import MEANING, NAMES
from tui.glossary.values.preferences import newest
from tui.model.snapshot import Snapshot
from tui.ui import glyphs
from tui.ui.fact import Term
from tui.ui.text import fit, percent

BAR = 6
"""Cells of the longest bar."""
NUMBER = 7
SMALL = 0.005
"""Weights that would be written as 0.00."""


class RewardView(Widget):
    """The weights of the readable features, the largest first, over how often it was right."""

    DEFAULT_CSS = """
    RewardView { height: 1fr; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: tuple[str, ...] = ()

    def show(self, snapshot: Snapshot) -> None:
        """The newest weights of this run."""
        lines = tuple(self._told(snapshot))
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def terms(self) -> list[Term]:
        """What the lines speak of."""
        return [
            Term("reward model", "reward-model"),
            Term("weights", "bradley-terry"),
            Term("preferences", "preference"),
            Term("right about new pairs", "over-optimisation"),
        ]

    def render(self) -> Text:
        width = max(self.content_size.width, 10)
        ellipsis = glyphs.current().ellipsis
        return Text("\n").join(
            Text(fit(glyphs.plain(line), width, ellipsis)) for line in self._lines
        )

    def _told(self, snapshot: Snapshot) -> Iterator[str]:
        known = {name: newest(snapshot, f"reward_weight_{name}") for name in NAMES}
        if not any(math.isfinite(value) for value in known.values()):
            yield "It knows nothing yet. Your first"
            yield "answers will make it."
            return
        agreed = newest(snapshot, "judge_agreement")
        count = newest(snapshot, "preferences")
        if math.isfinite(agreed):
            yield f"right about new pairs: {percent(agreed)}"
        else:
            yield "not tried on new pairs yet"
        yield f"made from {count:.0f} preferences"
        most = max(max(abs(value) for value in known.values()), SMALL)
        order = sorted(known, key=lambda name: -abs(known[name]))
        room = max(self.content_size.width, 24) - NUMBER - BAR - 2
        block = glyphs.current().shades[4]
        for name in order:
            value = known[name]
            text = f"{value:+.2f}" if abs(value) >= SMALL else "0"
            bar = block * round(BAR * abs(value) / most)
            meaning = fit(MEANING[name], room, glyphs.current().ellipsis)
            yield f"{text:>{NUMBER}} {bar:<{BAR}} {meaning}"
