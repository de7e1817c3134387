"""The keys that walk through a run's past, on the screens that have a timeline."""

from __future__ import annotations

from textual.binding import Binding

from tui.ui.bindings import key

MARKS = Binding.Group("Marks", compact=True)

TIMELINE = (
    key("run.timeline", "s", "timeline", "Timeline",
        "Go to the timeline, where left and right walk through the run's past"),
    key("run.mark-back", "left_square_bracket", "mark(-1)", "Mark back",
        "Show the run as it was at the mark before: a note, checkpoint, tune or change of the map",
        sign="[", group=MARKS),
    key("run.mark-on", "right_square_bracket", "mark(1)", "Mark on",
        "Show the run as it was at the next mark of its timeline", sign="]", group=MARKS),
    key("run.mark-kind", "k", "mark_kind", "Kind of mark",
        "What [ and ] go to: all marks, or only updates, episodes, notes, checkpoints, tunes or "
        "changes of the map", show=False),
    key("run.play-back", "b", "play_back", "Play back",
        "Play the recording backwards, or pause it; space plays it forwards", show=False),
    key("run.fork", "F", "fork", "Fork",
        "Go on from the checkpoint at or before the moment shown, as a new run"),
)  # fmt: skip
