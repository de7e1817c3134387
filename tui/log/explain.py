"""One step's update, explained: formula, numbers, words, and the facts around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual import events
from textual.widget import Widget

from engine.env.maze import Maze
from engine.learning.events import Step
from tui import kinds
from tui.kinds.base import Kind
from tui.kinds.step_facts import pulled
from tui.model.steps import action_name, arrow, place, result, without_noise
from tui.ui import glyphs as glyph_sets
from tui.ui.fact import Fact, Term
from tui.ui.glyphs import Glyphs
from tui.ui.terms import post_term, term_style, unique
from tui.ui.text import clean, signed

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

PREFIX = "explain--"


class ExplainView(Widget):
    """Text of its own height, for a panel or a dialog that scrolls."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        PREFIX + part for part in ("title", "formula", "numbers", "words", "term", "fact")
    }

    DEFAULT_CSS = """
    ExplainView {
        height: auto;
        & > .explain--title { color: $text-accent; text-style: bold; }
        & > .explain--formula { color: $text-primary; text-style: bold; }
        & > .explain--numbers { color: $foreground; }
        & > .explain--words { color: $foreground; }
        & > .explain--term { color: $foreground 70%; text-style: underline; }
        & > .explain--fact { color: $foreground; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._told: tuple[Step, Kind, Maze] | None = None

    def show(self, step: Step, snapshot: Snapshot) -> None:
        """Explain `step` of the snapshot's run."""
        self._told = (without_noise(step), kinds.of(snapshot.preset), snapshot.world.maze)
        self.refresh(layout=True)

    def terms(self) -> list[Term]:
        """The labels of the facts."""
        if self._told is None:
            return []
        return unique(
            [Term(label, slug) for label, slug, _ in facts(*self._told, glyph_sets.current())]
        )

    def render(self) -> Group:
        """The whole text."""
        if self._told is None:
            return Group()
        step, kind, maze = self._told
        algorithm = kind.algorithm
        told = algorithm.explain(step, maze.actions)
        parts = (
            ("title", f"{algorithm.title}: {algorithm.source}"),
            ("formula", told.formula),
            ("numbers", told.numbers),
            ("words", told.words),
        )
        paragraphs = [self._text(clean(text, lines=True), part) for part, text in parts if text]
        spaced = [line for paragraph in paragraphs for line in (paragraph, Text())]
        return Group(*spaced, self._facts(facts(step, kind, maze, glyph_sets.current())))

    def _facts(self, told: list[Fact]) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        for label, slug, text in told:
            table.add_row(self._text(label, "term", slug), self._text(text, "fact"))
        return table

    def _text(self, text: str, part: str, slug: str = "") -> Text:
        style = self.get_component_rich_style(PREFIX + part, partial=True)
        # Appended, because a Text's own style would reach into the padding of its table cell.
        return Text().append(glyph_sets.plain(text), term_style(style, slug))

    async def _on_click(self, event: events.Click) -> None:
        post_term(self, event)


def facts(step: Step, kind: Kind, maze: Maze, glyphs: Glyphs) -> list[Fact]:
    """Facts around a step, each under the glossary term it belongs to."""
    return (
        _planned(step, maze, glyphs)
        if step.kind == "backup"
        else [
            *_moved(step, maze, glyphs),
            *kind.learned(step),
            *pulled(kind.preset),
            *_policies(step, kind, glyphs),
            kind.ended(step, glyphs),
        ]
    )


def _planned(step: Step, maze: Maze, glyphs: Glyphs) -> list[Fact]:
    best = arrow(maze, step.action, glyphs.solid)
    return [
        Fact("state", "state", place(maze, step.state)),
        Fact("best action", "action", f"{best} {action_name(maze, step.action)}"),
        Fact("expected reward", "reward", signed(step.reward)),
        Fact("sweep", "sweep", f"{step.episode}: every state is updated once, nobody moves"),
        Fact("model", "model-based", "the rules of the ice are known, so nothing has to be tried"),
    ]


def _moved(step: Step, maze: Maze, glyphs: Glyphs) -> list[Fact]:
    """Facts about what the agent saw and did, and what came back."""
    chosen = arrow(maze, step.action, glyphs.solid)
    landed = f"{result(maze, step)}: from {place(maze, step.state)} to "
    extra = f", {signed(step.extra)} besides for learning" if step.extra else ""
    seen = [Fact("observation", "observation", f"o{step.observation}, all it sees of its state")]
    return [
        Fact("time step", "time-step", f"t = {step.t} of episode {step.episode}"),
        *(seen if maze.observation != "cell" or maze.memory > 1 else []),
        Fact("action", "action", f"{chosen} {action_name(maze, step.action)}"),
        Fact("environment", "environment", landed + place(maze, step.next_state)),
        Fact("reward", "reward", f"{signed(step.reward)}, paid now for this one move{extra}"),
        Fact("return", "return", "not this number: the discounted sum of all rewards to come"),
    ]


def _policies(step: Step, kind: Kind, glyphs: Glyphs) -> list[Fact]:
    """Facts about who acts, who is learned about, and whether that is the same."""
    algorithm = kind.algorithm
    behaviour = algorithm.behaviour_policy + kind.chosen(step, glyphs)
    policies = [
        Fact("behaviour policy", "behaviour-policy", behaviour),
        Fact("target policy", "target-policy", algorithm.target_policy),
    ]
    if algorithm.policy_type == "off-policy":
        text = "it learns about another policy than it follows"
        policies.append(Fact("off-policy", "off-policy", text))
    elif algorithm.policy_type == "on-policy":
        policies.append(Fact("on-policy", "on-policy", "it learns about the policy it follows"))
    return policies
