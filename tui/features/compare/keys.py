"""The keys of the compare screen: those of the trainer where they do the same thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.binding import ActiveBinding, Binding

from tui.features.trainer.keys import GRID, KEYS
from tui.features.trainer.keys import in_order as in_the_trainer

TRAINER = {key.id: key for key in KEYS}


def _like(name: str, tooltip: str, **changes: Any) -> Binding:
    """A key of the trainer that acts on all runs."""
    return replace(TRAINER[name], tooltip=tooltip, **changes)


TIME = Binding.Group("Time", compact=True)
CELL = Binding.Group("Cell", compact=True)

COMPARE_KEYS: tuple[Binding, ...] = (
    _like("run.pause", "Pause all live runs together, or let them go on; play what is recorded"),
    Binding(
        "left", "move(-1)", "Back", id="compare.back", group=TIME,
        tooltip="Show all runs as they were at the recorded point before",
    ),
    Binding(
        "right", "move(1)", "On", id="compare.on", group=TIME,
        tooltip="Show all runs at the next recorded point; behind the last one they are followed",
    ),
    _like("run.curves", "Show the next figure of all runs"),
    Binding(
        "M", "next_curves(-1)", "Figure before", id="compare.curves-back", show=False,
        tooltip="Show the figure before",
    ),
    _like("run.panel", "Go to the next panel (so does Tab, from a field of a lesson too)"),
    # By itself, so that the key bar names the key that works while a number is typed.
    Binding(
        "tab", "next_panel", "Panel", id="compare.panel-on", key_display="Tab",
        tooltip="Go to the next panel",
    ),
    Binding(
        "shift+tab", "next_panel(-1)", "Panel before", id="compare.panel-back", show=False,
        tooltip="Go to the panel before",
    ),
    _like("run.faster", "More steps (or updates) per second, for all live runs"),
    _like("run.slower", "Fewer steps (or updates) per second, for all live runs"),
    _like("run.step", "One step (or update) of every live run, then pause"),
    _like("run.glossary", "Look up a term that the focused panel shows, or search for any"),
    _like("run.leave", "Back to the library; live runs go on in the background"),
    Binding(
        "home", "first", "Beginning", id="compare.first", show=False,
        tooltip="Show all runs as they were at the first recorded point",
    ),
    _like("run.follow", "Back to now: follow all runs again", key="f,end", key_display="f"),
    Binding(
        "pageup", "move(-10)", "Far back", id="compare.far-back", show=False,
        tooltip="A twelfth of the whole time back",
    ),
    Binding(
        "pagedown", "move(10)", "Far on", id="compare.far-on", show=False,
        tooltip="A twelfth of the whole time on",
    ),
    Binding(
        "l", "log_x", "Log x", id="curves.log-x", tooltip="Logarithmic or linear time axis",
        show=False,
    ),
    _like("run.alone", "Show this panel alone, or all again"),
    *(
        Binding(
            f"shift+{key}", f"cell({dy}, {dx})", f"Cell {key}", id=f"compare.cell-{key}",
            tooltip=f"Inspect the cell {where} in all mazes", show=False, group=CELL,
        )
        for key, where, dy, dx in (
            ("up", "above", -1, 0), ("down", "below", 1, 0),
            ("left", "on the left", 0, -1), ("right", "on the right", 0, 1),
        )
    ),
    Binding(
        "escape", "release", "Follow agents", id="grid.release", show=False,
        tooltip="Drop the cell cursor and follow the agents again",
    ),
    *GRID,
)  # fmt: skip
"""In the order of the help screen."""


def in_order(active: dict[str, ActiveBinding]) -> dict[str, ActiveBinding]:
    """The active bindings with the most important first, as the trainer has them."""
    known = in_the_trainer(active)
    names = (
        *("run.pause", "compare.back", "compare.on", "run.curves", "run.panel"),
        *("run.faster", "run.slower", "run.glossary", "app.help", "run.leave"),
    )

    def rank(item: tuple[str, ActiveBinding]) -> int:
        found = item[1].binding.id
        if found is not None and found.startswith("lesson."):
            return 0
        return 1 + names.index(found) if found in names else len(names) + 1

    return dict(sorted(known.items(), key=rank))
