"""The keys of the trainer, in the order of the help screen; the footer begins with `FIRST`."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import ActiveBinding, Binding

from tui.maze.maze_grid import MazeGrid

PACE = Binding.Group("Pace", compact=True)
EPISODES = Binding.Group("Replay", compact=True)

GRID = tuple(
    replace(binding, action=f"grid({binding.action!r})")
    for binding in MazeGrid.BINDINGS
    if isinstance(binding, Binding)
    and (binding.id or "").startswith(("grid.layer", "grid.optimal", "grid.zoom"))
)
"""The grid's own keys, which work from every panel: same ids, same names."""

KEYS: tuple[Binding, ...] = (
    Binding(
        "space",
        "toggle_pause",
        "Pause/go",
        id="run.pause",
        tooltip="Pause the run, or let it go on; in a recording, play or pause it",
    ),
    Binding(
        "full_stop",
        "step",
        "Step",
        id="run.step",
        key_display=".",
        tooltip="One step (of every agent), or one update of a language model, then pause",
    ),
    Binding(
        "plus,equals_sign",
        "pace(True)",
        "Faster",
        id="run.faster",
        key_display="+",
        tooltip="More steps (or updates) per second, up to as fast as it goes",
        group=PACE,
    ),
    Binding(
        "minus",
        "pace(False)",
        "Slower",
        id="run.slower",
        key_display="-",
        tooltip="Fewer steps (or updates) per second",
        group=PACE,
    ),
    Binding(
        "enter",
        "explain",
        "Explain",
        id="run.explain",
        tooltip="Explain the newest step shown: its update, with the numbers in the formula",
    ),
    Binding(
        "u",
        "groups",
        "Group",
        id="run.groups",
        tooltip="The episodes or completions that an update compared, with their advantages",
    ),
    Binding("p", "next_panel", "Panel", id="run.panel", tooltip="Go to the next panel"),
    Binding(
        "g",
        "glossary",
        "Glossary",
        id="run.glossary",
        tooltip="Look up a term that the focused panel shows, or search for any",
    ),
    Binding(
        "q",
        "leave",
        "Leave",
        id="run.leave",
        tooltip="Back to the library; the run goes on in the background",
    ),
    Binding(
        "e",
        "episode",
        "Episode",
        id="run.episode",
        tooltip="To the end of an episode of the agent shown, then pause",
    ),
    Binding(
        "less_than_sign,comma",
        "replay(-1)",
        "Episode back",
        id="run.back",
        key_display="<",
        tooltip="Show the episode recorded before; the run goes on meanwhile",
        group=EPISODES,
    ),
    Binding(
        "greater_than_sign",
        "replay(1)",
        "Episode on",
        id="run.forward",
        key_display=">",
        tooltip="Show the next recorded episode",
        group=EPISODES,
    ),
    Binding("f", "follow", "Follow", id="run.follow", tooltip="Back to now: follow the run again"),
    Binding("m", "next_curves", "Curves", id="run.curves", tooltip="Show the next set of curves"),
    Binding(
        "t",
        "tune",
        "Tune",
        id="run.tune",
        tooltip="Change the learning rate or the exploration while it runs",
    ),
    Binding(
        "E",
        "edit",
        "Edit",
        id="run.edit",
        tooltip="Change the map while the run goes on, and watch the agent learn it anew",
    ),
    Binding("x", "stop", "Stop", id="run.stop", tooltip="End the run, after a checkpoint"),
    Binding(
        "n",
        "notes",
        "Notes",
        id="run.notes",
        tooltip="Read again what the run has said: warnings, and what to do about them",
    ),
    Binding(
        "w",
        "alone",
        "Alone",
        id="run.alone",
        tooltip="Show this panel alone, or all four again",
        show=False,
    ),
    Binding(
        "escape",
        "return",
        "Go back",
        id="run.return",
        tooltip="Back to the panel from which a term was looked up",
        show=False,
    ),
    *GRID,
)

FIRST = (
    "run.pause",
    "run.step",
    "run.faster",
    "run.slower",
    "log.explain",
    "run.explain",
    "curves.go",
    "run.panel",
    "run.glossary",
    "app.help",
    "run.leave",
    "run.groups",
)
"""What a narrow footer must not lose, whichever panel has the focus."""


def in_order(active: dict[str, ActiveBinding]) -> dict[str, ActiveBinding]:
    """The active bindings with the most important first, the others in the order they were in."""

    def rank(item: tuple[str, ActiveBinding]) -> int:
        binding = item[1].binding
        return FIRST.index(binding.id) if binding.id in FIRST else len(FIRST)

    return dict(sorted(active.items(), key=rank))
