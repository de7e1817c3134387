"""The keys of the app itself, on every screen."""

from __future__ import annotations

from tui.ui.bindings import key

KEYS = (
    key("app.help", "question_mark", "help", "Help", "All keys, and what the panels show"),
    key("app.algorithms", "a", "algorithms", "Algorithms",
        "All algorithms by family, and the presets that show them"),
    key("app.jump", "j", "jump", "Jump",
        "A letter on each panel: press it to go there", show=False),
    key("app.looks", "f2", "looks", "Theme",
        "Choose the colours (also for colour-blind eyes, or none) and the characters",
        show=False),
    key("app.suspend", "ctrl+z", "suspend_process", "Suspend",
        "Back to the shell; its command fg comes back here, and runs go on", show=False),
)  # fmt: skip
