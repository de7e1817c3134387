"""The keys of the trainer, in the order of the help screen; the footer begins with `FIRST`."""

from __future__ import annotations

from textual.binding import Binding

from tui.ui.bindings import key
from tui.watching.keys import GRID, shared
from tui.watching.timeline_keys import TIMELINE

EPISODES = Binding.Group("Replay", compact=True)

KEYS: tuple[Binding, ...] = (
    *shared("run.pause", "run.step", "run.faster", "run.slower"),
    key("run.explain", "enter", "explain", "Explain",
        "Explain the newest step shown: its update, with the numbers in the formula"),
    key("run.groups", "u", "groups", "Group",
        "The episodes or completions that an update compared, with their advantages"),
    *shared("run.panel", "run.glossary", "run.leave"),
    key("run.episode", "e", "episode", "Episode",
        "To the end of an episode of the agent shown, then pause"),
    key("run.back", "less_than_sign,comma", "replay(-1)", "Episode back",
        "Show the episode recorded before; the run goes on meanwhile", sign="<", group=EPISODES),
    key("run.forward", "greater_than_sign", "replay(1)", "Episode on",
        "Show the next recorded episode", group=EPISODES),
    *TIMELINE,
    *shared("run.follow", "run.curves", "run.tune"),
    key("run.edit", "E", "edit", "Edit",
        "Change the map while the run goes on, and watch the agent learn it anew"),
    *shared("run.stop", "run.notes", "run.machine", "run.export", "run.alone"),
    key("run.return", "escape", "return", "Go back",
        "Back to the panel from which a term was looked up", show=False),
    *GRID,
)  # fmt: skip

FIRST = (
    *("run.pause", "run.step", "run.faster", "run.slower", "run.tune", "run.edit", "run.stop"),
    *("run.notes", "app.help", "run.leave", "run.panel", "log.explain", "run.explain"),
    *("curves.go", "run.glossary", "run.groups"),
)
"""What a narrow footer must not lose while a run goes on, whichever panel has the focus."""
FIRST_OVER = (
    *("run.pause", "run.step", "run.faster", "run.slower", "log.explain", "run.explain"),
    *("curves.go", "run.panel", "run.notes", "app.help", "run.leave", "run.glossary"),
    *("run.groups", "run.episode", "run.back", "run.forward", "run.follow", "run.curves"),
)
"""The same of a recording: there is nothing to tune, edit or stop."""
