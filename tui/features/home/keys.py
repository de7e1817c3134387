"""The keys of the home screen, in the order of the footer and of the help screen."""

from __future__ import annotations

from textual.binding import Binding

KEYS: tuple[Binding, ...] = (
    Binding(
        "tab",
        "app.focus_next",
        "Next",
        id="home.next",
        tooltip="Go from the presets to the runs, to the Lab and back",
    ),
    Binding(
        "l",
        "lab",
        "Lab",
        id="home.lab",
        tooltip="Go to the challenges: what fails and what mends it, side by side",
    ),
    Binding(
        "c",
        "compare",
        "Compare",
        id="home.compare",
        tooltip="Show the marked runs side by side, two to four of them",
    ),
    Binding(
        "pagedown",
        "scroll_preview(1)",
        "More",
        id="home.down",
        key_display="pgdn",
        tooltip="Read on in the preview",
    ),
    Binding(
        "pageup",
        "scroll_preview(-1)",
        "Back up",
        id="home.up",
        key_display="pgup",
        tooltip="Read the preview from further up",
        show=False,
    ),
    Binding(
        "slash",
        "filter",
        "Find",
        id="home.filter",
        key_display="/",
        tooltip="Show only presets and runs with these words; Esc shows all again",
    ),
    Binding(
        "escape",
        "unfilter",
        "Show all",
        id="home.unfilter",
        tooltip="Drop the filter",
    ),
    Binding(
        "r",
        "resume",
        "Resume",
        id="home.resume",
        tooltip="Go on with a stopped, failed or dead run from its last checkpoint",
    ),
    Binding(
        "x",
        "stop",
        "Stop",
        id="home.stop",
        tooltip="Stop a live run; it writes a checkpoint and can be resumed",
    ),
    Binding("d", "delete", "Delete", id="home.delete", tooltip="Delete a run that has ended"),
    Binding("q", "app.quit", "Quit", id="home.quit", tooltip="Leave; live runs go on"),
)
