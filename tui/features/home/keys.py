"""The keys of the home screen, in the order of the footer and of the help screen."""

from __future__ import annotations

from textual.binding import Binding

from tui.ui.bindings import key

KEYS: tuple[Binding, ...] = (
    key("home.next", "tab", "app.focus_next", "Next",
        "Go from the presets to the runs, to the Lab and back"),
    key("home.lab", "l", "lab", "Lab",
        "Go to the challenges: what fails and what mends it, side by side"),
    key("home.compare", "c", "compare", "Compare",
        "Show the marked runs side by side, two to four of them"),
    key("home.down", "pagedown", "scroll_preview(1)", "More", "Read on in the preview"),
    key("home.up", "pageup", "scroll_preview(-1)", "Back up",
        "Read the preview from further up", show=False),
    key("home.filter", "slash", "filter", "Find",
        "Show only what has these words or settings: algorithm=grpo lr>1e-4; Esc shows all again"),
    key("home.unfilter", "escape", "unfilter", "Show all", "Drop the filter"),
    key("home.resume", "r", "resume", "Resume",
        "Go on with a stopped, failed or dead run from its last checkpoint"),
    key("home.stop", "x", "stop", "Stop",
        "Stop a live run, after a checkpoint; asked again, end its worker whatever it does"),
    key("home.delete", "d", "delete", "Delete", "Delete a run that has ended, after a question"),
    key("home.export", "X", "export", "Export",
        "Write this run to files: tables, a report to read offline, pictures"),
    key("home.sort", "s", "sort", "Sort",
        "Sort the runs by time, title, success, return, algorithm, state, steps, duration"),
    key("home.pin", "p", "pin", "Pin", "Keep this run on top of the list, or no more"),
    key("home.rename", "n", "rename", "Name", "Give this run a title of your own; its id stays"),
    key("home.difference", "D", "difference", "Difference",
        "In which settings two runs differ: the marked two, or the marked and this one"),
    key("home.quit", "q", "app.quit", "Quit", "Leave; live runs go on"),
)  # fmt: skip

FIRST = (
    *("presets.choose", "lab.open", "runs.open", "home.next", "home.lab", "home.filter"),
    *("home.unfilter", "app.help", "home.quit", "home.resume", "home.stop", "home.delete"),
    *("runs.mark", "home.compare", "home.difference", "home.down", "home.sort", "home.pin"),
)
"""What a narrow footer must not lose, whichever list has the focus."""
