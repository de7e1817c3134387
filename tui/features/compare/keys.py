"""The keys of the comparison, in the order of the help screen; the footer begins with `FIRST`."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import Binding

from tui.plot.chart_panel import ChartPanel
from tui.ui.bindings import key
from tui.watching.keys import GRID, like

CURVES = tuple(
    replace(binding, action=f"curves({binding.action!r})", show=False)
    for binding in ChartPanel.BINDINGS
    if isinstance(binding, Binding)
    and binding.id in ("curves.smooth", "curves.axis", "curves.log-x", "curves.log-y")
)
"""The keys of the curves that work from every panel: same ids, same names."""
TIME = Binding.Group("Time", compact=True)
CELL = Binding.Group("Cell", compact=True)

KEYS: tuple[Binding, ...] = (
    like("run.pause", "Pause all live runs together, or let them go on; play what is recorded"),
    key("compare.back", "left", "move(-1)", "Back",
        "Show all runs as they were at the recorded point before", group=TIME),
    key("compare.on", "right", "move(1)", "On",
        "Show all runs at the next recorded point; behind the last one they are followed",
        group=TIME),
    like("run.curves", "Show the next figure of all runs"),
    key("compare.curves-back", "M", "next_curves(-1)", "Figure before",
        "Show the figure before", show=False),
    like("run.panel", "Go to the next panel (so does Tab, from a field of a lesson too)"),
    # By itself, so that the key bar names the key that works while a number is typed.
    key("compare.panel-on", "tab", "next_panel", "Panel", "Go to the next panel", sign="Tab"),
    key("compare.panel-back", "shift+tab", "next_panel(-1)", "Panel before",
        "Go to the panel before", show=False),
    like("run.faster", "More steps (or updates) per second, for all live runs"),
    like("run.slower", "Fewer steps (or updates) per second, for all live runs"),
    like("run.step", "One step (or update) of every live run, then pause"),
    like("run.glossary", "Look up a term that the focused panel shows, or search for any"),
    like("run.leave", "Back to the library; live runs go on in the background"),
    key("compare.first", "home", "first", "Beginning",
        "Show all runs as they were at the first recorded point", show=False),
    like("run.follow", "Back to now: follow all runs again", key="f,end", key_display="f"),
    key("compare.far-back", "pageup", "move(-10)", "Far back",
        "A twelfth of the whole time back", show=False),
    key("compare.far-on", "pagedown", "move(10)", "Far on",
        "A twelfth of the whole time on", show=False),
    *CURVES,
    like("run.alone", "Show this panel alone, or all again"),
    *(
        key(f"compare.cell-{way}", f"shift+{way}", f"cell({dy}, {dx})", f"Cell {way}",
            f"Inspect the cell {where} in all mazes", show=False, group=CELL)
        for way, where, dy, dx in (
            ("up", "above", -1, 0), ("down", "below", 1, 0),
            ("left", "on the left", 0, -1), ("right", "on the right", 0, 1),
        )
    ),
    key("grid.release", "escape", "release", "Follow agents",
        "Drop the cell cursor and follow the agents again", show=False),
    *GRID,
)  # fmt: skip

FIRST = (
    "lesson.",
    *("run.pause", "compare.back", "compare.on", "run.curves", "run.panel"),
    *("run.faster", "run.slower", "run.glossary", "app.help", "run.leave", "run.step"),
)
"""What a narrow footer must not lose, whichever panel has the focus; a lesson's keys first."""
