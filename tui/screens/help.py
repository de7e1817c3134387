"""The help screen: every key that works here, and what the screen shows."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Markdown, Static

ABOUT = {
    "HomeScreen": """
**The library.** On the left the presets, each one a maze, an algorithm and a budget, and below
them your runs. Enter on a preset shows its settings; Enter again starts it. Runs go on in the
background whether you watch them or not.
""",
    "TrainerScreen": """
**The trainer.** *Ice Maze* shows the agent and, layer by layer, what it has learned. *Trajectory
log* lists every step with the arithmetic of its update: Enter explains a row. *Curves* compare the
exact value of the policy with the optimum; the band holds the middle 80 % of the agents.
*Glossary* explains every word and symbol, with its value in this run. Tab moves between panels.
""",
}


class HelpScreen(ModalScreen[None]):
    """Made from the bindings themselves, so that it cannot disagree with the footer."""

    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        & > VerticalScroll {
            width: 84;
            max-width: 96%;
            height: auto;
            max-height: 92%;
            padding: 1 2;
            border: round $accent;
            border-title-color: $foreground;
            background: $surface;
        }
        & Markdown { margin: 0; padding: 0; background: $surface; }
        & Static { height: auto; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "dismiss", "Close", id="help.close")
    ]

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        self.about = ABOUT.get(type(screen).__name__, "")
        self.rows = key_rows(screen)

    def compose(self) -> ComposeResult:
        keys = Table.grid(padding=(0, 2))
        keys.add_column(justify="right", style="bold", no_wrap=True)
        keys.add_column(no_wrap=True)
        keys.add_column()
        for row in self.rows:
            keys.add_row(*row)
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "Esc: close"
            if self.about:
                yield Markdown(self.about.strip())
            yield Static(keys)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def key_rows(screen: Screen[object]) -> list[tuple[str, str, str]]:
    """Key, name and explanation of every binding that is active on a screen, each action once."""
    rows: dict[tuple[str, str], tuple[list[str], str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.system or not binding.description or binding.key.startswith("ctrl+"):
            continue
        keys, _ = rows.setdefault(
            (binding.action, binding.description), ([], active.tooltip or binding.tooltip)
        )
        shown = screen.app.get_key_display(binding)
        if shown not in keys:
            keys.append(shown)
    return [
        (" ".join(keys), description, tooltip) for (_, description), (keys, tooltip) in rows.items()
    ]
