"""The keys of the rating screen, in the order of the help screen and the footer."""

from __future__ import annotations

from textual.binding import Binding

from tui.ui.bindings import key
from tui.watching.keys import like, shared

KEYS: tuple[Binding, ...] = (
    key("rating.first", "1", "prefer('first')", "Prefer 1", "The left completion is better"),
    key("rating.second", "2", "prefer('second')", "Prefer 2", "The right completion is better"),
    key("rating.tie", "0,t", "prefer('tie')", "Alike",
        "Both are equally good: half a preference for each", sign="0"),
    key("rating.skip", "k", "prefer('skip')", "Skip",
        "They cannot be compared: leave the pair out"),
    key("rating.marks", "s", "marks", "Marks",
        "Type a mark from 0 to 10 for each; the difference says how much better"),
    like("run.pause", "Pause the run, or let it go on"),
    key("rating.back", "less_than_sign,comma", "look(-1)", "Pair back",
        "Look at the pair before, with its answer", sign="<"),
    key("rating.on", "greater_than_sign", "look(1)", "on", "Look at the next pair"),
    *shared("run.curves"),
    like("run.glossary", "Look up a term that is on screen, or search for any"),
    *shared("run.notes", "run.machine"),
    like("run.tune", "Change the learning rate or the weight of the KL while it runs", key="c"),
    *shared("run.stop", "run.export"),
    like("run.leave", "Back to the library; the run waits, or goes on, in the background"),
    key("rating.newest", "escape", "newest", "Newest",
        "Back to the pair that is open, or to what is written now", show=False),
)  # fmt: skip

FIRST = tuple(binding.id or "" for binding in KEYS)
"""The footer begins with the answers, whatever has the focus."""
