"""The keys of the rating screen, in the order of the help screen."""

from __future__ import annotations

from textual.binding import Binding

KEYS: tuple[Binding, ...] = (
    Binding("1", "prefer('first')", "Prefer 1", id="rating.first",
            tooltip="The left completion is better"),
    Binding("2", "prefer('second')", "Prefer 2", id="rating.second",
            tooltip="The right completion is better"),
    Binding("0,t", "prefer('tie')", "Alike", id="rating.tie", key_display="0",
            tooltip="Both are equally good: half a preference for each"),
    Binding("k", "prefer('skip')", "Skip", id="rating.skip",
            tooltip="They cannot be compared: leave the pair out"),
    Binding("s", "marks", "Marks", id="rating.marks",
            tooltip="Type a mark from 0 to 10 for each; the difference says how much better"),
    Binding("space", "toggle_pause", "Pause/go", id="run.pause",
            tooltip="Pause the run, or let it go on"),
    Binding("less_than_sign,comma", "look(-1)", "Pair back", id="rating.back", key_display="<",
            tooltip="Look at the pair before, with its answer"),
    Binding("greater_than_sign", "look(1)", "on", id="rating.on", key_display=">",
            tooltip="Look at the next pair"),
    Binding("m", "next_curves", "Curves", id="run.curves", tooltip="Show the next set of curves"),
    Binding("g", "glossary", "Glossary", id="run.glossary",
            tooltip="Look up a term that is on screen, or search for any"),
    Binding("n", "notes", "Notes", id="run.notes",
            tooltip="Read again what the run has said: warnings, and what to do about them"),
    Binding("c", "tune", "Tune", id="run.tune",
            tooltip="Change the learning rate or the weight of the KL while it runs"),
    Binding("x", "stop", "Stop", id="run.stop", tooltip="End the run, after a checkpoint"),
    Binding("q", "leave", "Leave", id="run.leave",
            tooltip="Back to the library; the run waits, or goes on, in the background"),
    Binding("escape", "newest", "Newest", id="rating.newest", show=False,
            tooltip="Back to the pair that is open, or to what is written now"),
)  # fmt: skip
