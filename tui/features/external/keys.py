"""The keys of the screen of another trainer's run, in the order of help and footer."""

from __future__ import annotations

from textual.binding import Binding

from tui.ui.bindings import key
from tui.watching.keys import like, shared

KEYS: tuple[Binding, ...] = (
    key("run.groups", "u", "groups", "Rollouts",
        "All completions of the update shown, with rewards and advantages"),
    key("external.back", "less_than_sign,comma", "look(-1)", "Back",
        "Completions recorded before these", sign="<"),
    key("external.on", "greater_than_sign", "look(1)", "on", "Completions recorded after these"),
    *shared("run.curves", "run.notes", "run.machine"),
    like("run.follow", "Back to the newest completions"),
    like("run.glossary", "Look up a term that is on screen, or search for any"),
    like("run.leave", "Back to the library; its trainer goes on whatever you do here"),
)  # fmt: skip

FIRST = tuple(binding.id or "" for binding in KEYS)
