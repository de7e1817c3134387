"""Keys of the screens that watch runs: the trainer, the comparison and the rating.

What does the same on several of them stands here once; each takes what it offers, in its own order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.binding import Binding

from tui.maze.maze_grid import MazeGrid
from tui.ui.bindings import key

PACE = Binding.Group("Pace", compact=True)

GRID = tuple(
    replace(binding, action=f"grid({binding.action!r})")
    for binding in MazeGrid.BINDINGS
    if isinstance(binding, Binding)
    and (binding.id or "").startswith(("grid.layer", "grid.optimal", "grid.zoom"))
)
"""The maze grid's own keys, for screens where they work from every panel: same ids, same names."""

_KEYS = (
    key("run.pause", "space", "toggle_pause", "Pause",
        "Pause the run, or let it go on; in a recording, play or pause it"),
    key("run.step", "full_stop", "step", "Step",
        "One step (of every agent), or one update of a language model, then pause"),
    key("run.faster", "plus,equals_sign", "pace(True)", "Faster",
        "More steps (or updates) per second, up to as fast as it goes", sign="+", group=PACE),
    key("run.slower", "minus", "pace(False)", "Slower",
        "Fewer steps (or updates) per second", group=PACE),
    key("run.follow", "f", "follow", "Follow", "Back to now: follow the run again"),
    key("run.curves", "m", "next_curves", "Curves", "Show the next set of curves"),
    key("run.panel", "p", "next_panel", "Panel", "Go to the next panel"),
    key("run.alone", "w", "alone", "Alone", "Show this panel alone, or all four again", show=False),
    key("run.tune", "t", "tune", "Tune",
        "Change the learning rate or the exploration while it runs"),
    key("run.notes", "n", "notes", "Notes",
        "Read again what the run has said: warnings, and what to do about them"),
    key("run.export", "X", "export", "Export",
        "Write the run to files: tables, a report to read offline, pictures", show=False),
    key("run.machine", "M", "machine", "Machine",
        "How busy processor, memory and GPUs are, in each phase of training", show=False),
    key("run.glossary", "g", "glossary", "Glossary",
        "Look up a term that the focused panel shows, or search for any"),
    key("run.stop", "x", "stop", "Stop",
        "End the run, after a checkpoint; asked again, end its worker whatever it does"),
    key("run.leave", "q", "leave", "Leave",
        "Back to the library; the run goes on in the background"),
)  # fmt: skip
_BY_ID = {binding.id: binding for binding in _KEYS}


def shared(*ids: str) -> tuple[Binding, ...]:
    """The shared keys with these ids."""
    return tuple(_BY_ID[id] for id in ids)


def like(id: str, tooltip: str, **changes: Any) -> Binding:
    """A shared key whose tooltip tells what it does on this screen."""
    return replace(_BY_ID[id], tooltip=tooltip, **changes)
