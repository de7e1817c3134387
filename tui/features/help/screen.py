"""The help screen: every key that works here, and what the screen shows."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Markdown, Static

from tui.glossary.panel import spelled
from tui.ui.bindings import MOVES, key
from tui.ui.dialog import Dialog

ABOUT = {
    "HomeScreen": """
**The library.** On the left the presets, each one a maze, an algorithm and a budget, and below
them your runs. Enter on a preset shows its settings; Enter again starts it. Runs go on in the
background whether you watch them or not. *Lab* holds the challenges: Enter runs what fails and
what mends it side by side, with a lesson. Space marks a run, c compares two to four marked ones.
""",
    "CompareScreen": """
**Side by side.** Two to four runs on one clock: the same step is shown in all of them, wherever
left and right move it; a run with less data shows its last. Every run has its letter and its sign
in the chart, on its maze and over its column, where the table also says what it is more than the
first. Runs that count different things (steps, sweeps, updates) share a clock in % of each run.

With a challenge comes its lesson. It asks before it shows: answer by the letter of the answer, turn
the page by n, back by N. It turns only when the question is answered and the figure it waits for is
there. Tab or p goes to the next panel.
""",
    "LessonScreen": """
**A lesson.** Answer by the letter of the answer, or type the number and press Enter; n turns the
page once its questions are answered, N turns back.
""",
    "TrainerScreen": """
**The trainer.** *Ice Maze* shows the agent and, layer by layer, what it has learned. *Trajectory
log* lists every step with the arithmetic of its update: Enter explains a row. *Curves* compare the
exact value of the policy with the optimum; the band holds the middle 80 % of the agents.
*Glossary* explains every word and symbol, with its value in this run. Every panel has keys of its
own, which work while it has the focus. Drag over text to select it; ctrl+c copies it.
""",
    "RatingScreen": """
**You are the reward.** Two completions of the same request: say which is better. A small reward
model is fitted to your answers, and the language model learns what that pays for. What it expected
you to say is told after your answer. Watch whether its score and your agreement part ways.
""",
    "AlgorithmMapScreen": """
**The algorithm map.** On the left the families, on the right what the highlighted algorithm needs,
when people choose it, and the presets that show it: Enter starts one. *LLM* stands beside whatever
language models are trained with, or what that grew out of.
""",
    "GroupScreen": """
**A group.** What one update of a language model compared: episodes or answers from the same start,
sorted by advantage. Those above the mean are made likelier, the others less likely. Below, the
member under the cursor: its moves on the maze, what it was paid for, how probable each word was.
""",
    "EditScreen": """
**The map editor.** Move the cursor, place tiles by their letters or by clicking; each change is
checked and V* of the new map drawn at once. Enter sends the map to the run. Each agent meets it at
its next episode and keeps what it had learned, right or wrong: watch it learn anew.
""",
    "PlayScreen": """
**Play.** Walk the maze yourself, or let the trained policy make the moves. Your return stands
beside what the policy earns on average and what the optimum does.
""",
}

TEXTUAL_KEYS = {
    "app.focus_next": "Next field",
    "app.focus_previous": "Previous field",
    "command_palette": "Commands by name",
    "screen.copy_text": "Copy",
}
"""Names for the keys that come from Textual itself, by action."""


EVERY_PANEL, EVERYWHERE = "On this screen", "Everywhere"
"""Titles of the keys that belong to no panel."""
LEFTOVERS = ("page_left", "page_right")
"""Keys of Textual's own that nobody here has a use for: nothing is as wide as that."""


class Key(NamedTuple):
    """One action: what to press, what it is called, what it does, and how to run it."""

    keys: str
    name: str
    tooltip: str
    action: str
    node: DOMNode
    id: str = ""
    """The binding's."""


class HelpScreen(Dialog[None]):
    """Made from the bindings themselves, so that it cannot disagree with the footer."""

    DEFAULT_CSS = """
    HelpScreen {
        & > .box { width: 84; padding: 1 2; }
        & Markdown { margin: 0; padding: 0; background: $surface; }
        & MarkdownParagraph { margin: 0 0 1 0; }
        & Static { height: auto; margin: 0 0 1 0; }
        & .help-section { text-style: bold; color: $text-primary; margin: 0; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("help.close", "escape,q,question_mark", "dismiss", "Close", "Close the help")
    ]

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        self.about = ABOUT.get(type(screen).__name__, "")
        self.sections = sections(screen)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = "Help"
            box.border_subtitle = "Esc: close"
            if self.about:
                yield Markdown(self.about.strip())
            for title, keys in self.sections:
                table = Table.grid(padding=(0, 2))
                table.add_column(justify="right", style="bold", no_wrap=True, min_width=9)
                table.add_column(no_wrap=True, min_width=14)
                table.add_column()
                for each in keys:
                    table.add_row(*map(spelled, each[:3]))
                yield Static(spelled(title), classes="help-section", markup=False)
                yield Static(table)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def active_keys(screen: Screen[object]) -> list[Key]:
    """Every action that a key starts on this screen now, in the order of the footer."""
    found: dict[tuple[str, int], Key] = {}
    for active in screen.active_bindings.values():
        binding, node = active.binding, active.node
        name = TEXTUAL_KEYS.get(binding.action, binding.description)
        system = binding.system and binding.action not in TEXTUAL_KEYS
        if not name or system or binding.action in LEFTOVERS or "super+" in binding.key:
            continue
        shown = screen.app.get_key_display(binding)
        place = (binding.action, id(node))
        before = found.get(place)
        if before is None:
            moves = binding.group == MOVES  # the name says all
            tooltip = "" if moves else active.tooltip or binding.tooltip
            found[place] = Key(shown, name, tooltip, binding.action, node, binding.id or "")
        elif shown not in before.keys.split():
            found[place] = before._replace(keys=f"{before.keys} {shown}")
    return list(found.values())


def sections(screen: Screen[object]) -> list[tuple[str, list[Key]]]:
    """All keys by where they work: on the whole screen, panel by panel (also in those that have
    not the focus), everywhere. Keys that do alike stand in one line."""
    found: dict[str, list[Key]] = {EVERY_PANEL: []}
    places: dict[str, str] = getattr(screen, "HELP_PLACES", {})
    owners = [widget for widget in screen.query("*") if widget.can_focus and _title(widget)]
    families = {_family(b): _title(w) for w in owners for b in _rows(w) if "." in (b.id or "")}
    known: set[str | None] = {each.binding.id for each in screen.active_bindings.values()}
    for each in active_keys(screen):
        title = EVERYWHERE if each.node is screen.app else _title(each.node) or EVERY_PANEL
        if each.node is screen:
            title = places.get(each.id) or families.get(each.id.partition(".")[0], EVERY_PANEL)
        elif not each.id:
            continue  # Textual's own, for scrolling what here has better keys
        found.setdefault(title, []).append(each)
    for widget in owners:
        rows = [binding for binding in _rows(widget) if binding.id not in known]
        known |= {binding.id for binding in rows}
        for binding in rows:
            shown = screen.app.get_key_display(binding)
            tooltip = "" if binding.group == MOVES else binding.tooltip
            found.setdefault(_title(widget), []).append(
                Key(shown, binding.description, tooltip, binding.action, widget, binding.id or "")
            )
    last = found.pop(EVERYWHERE, [])
    return [(title, _joined(keys)) for title, keys in {**found, EVERYWHERE: last}.items() if keys]


def _rows(widget: Widget) -> list[Binding]:
    """The rows of a widget's own table, and of those it inherits."""
    tables = [vars(each).get("BINDINGS", ()) for each in type(widget).__mro__]
    return [row for table in tables for row in table if isinstance(row, Binding) and row.id]


def _family(binding: Binding) -> str:
    return (binding.id or "").partition(".")[0]


def _title(node: DOMNode) -> str:
    """The panel that a widget belongs to, by the word on its border."""
    for each in node.ancestors_with_self:
        if title := getattr(each, "HELP_TITLE", ""):
            return str(title)
        if isinstance(each, Widget) and each.has_class("panel") and each.border_title:
            return str(each.border_title)
    return ""


def _joined(keys: list[Key]) -> list[Key]:
    """The keys with those that do alike in one line: the four that move a cursor, say."""
    lines: list[list[Key]] = []
    for each in keys:
        last = lines[-1][0] if lines else each
        alike = last.tooltip == each.tooltip and last.node is each.node
        if lines and alike and _stem([last, each]):
            lines[-1].append(each)
        else:
            lines.append([each])
    return [
        line[0]._replace(
            keys=" ".join(dict.fromkeys(" ".join(each.keys for each in line).split())),
            name=_stem(line),
        )
        for line in lines
    ]


def _stem(keys: list[Key]) -> str:
    """The words that the names of keys begin with in common."""
    kept = []
    for words in zip(*(each.name.split() for each in keys), strict=False):
        if len(set(words)) > 1:
            break
        kept.append(words[0])
    return " ".join(kept)


def commands(screen: Screen[object]) -> list[Key]:
    """The keys that are worth a line in the command palette: all but moving about."""
    return [key for key in active_keys(screen) if key.tooltip]
