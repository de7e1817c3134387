"""One step's update, explained: formula, numbers, words, and the facts around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual import events
from textual.widget import Widget

from engine.core.errors import UserError
from engine.env.maze import Maze
from engine.learning.algorithm import Algorithm, Explanation
from engine.learning.events import Step
from engine.llm.algorithm import LlmAlgorithm
from tui.kinds.llm_words import choice, learned
from tui.model.steps import (
    action_name,
    arrow,
    ending,
    not_learned_from,
    place,
    result,
    without_noise,
)
from tui.ui import glyphs as glyph_sets
from tui.ui.glyphs import Glyphs
from tui.ui.terms import Term, post_term, term_style, unique
from tui.ui.text import clean, number, signed

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

PREFIX = "explain--"

Fact = tuple[str, str, str]
"""Label, glossary slug, and what to say."""


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
        self._told: tuple[Step, Algorithm, Maze] | None = None

    def show(self, step: Step, snapshot: Snapshot) -> None:
        """Explain `step` of the snapshot's run."""
        self._told = (without_noise(step), snapshot.algorithm, snapshot.world.maze)
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
        step, algorithm, maze = self._told
        told = explained(step, algorithm, maze)
        parts = (
            ("title", f"{algorithm.title}: {algorithm.source}"),
            ("formula", told.formula),
            ("numbers", told.numbers),
            ("words", told.words),
        )
        paragraphs = [self._text(clean(text, lines=True), part) for part, text in parts if text]
        spaced = [line for paragraph in paragraphs for line in (paragraph, Text())]
        return Group(*spaced, self._facts(facts(step, algorithm, maze, glyph_sets.current())))

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


def explained(step: Step, algorithm: Algorithm, maze: Maze) -> Explanation:
    """What the algorithm says of a step; if it is the user's own and fails, what is wrong with it.

    The rest of the dialog is worth reading all the same.
    """
    try:
        return algorithm.explain(step, maze.actions)
    except UserError as error:
        words = (
            f"Your algorithm could not explain this update: {error} Mend your file and start a new "
            "run: this one keeps its copy as it was."
        )
        return Explanation(formula=algorithm.formula, numbers="", words=words)


def facts(step: Step, algorithm: Algorithm, maze: Maze, glyphs: Glyphs) -> list[Fact]:
    """What else there is to know about a step, each under the glossary term it belongs to."""
    return (
        _planned(step, maze, glyphs)
        if step.kind == "backup"
        else [
            *_moved(step, maze, glyphs),
            *_learned(step, algorithm),
            *_policies(step, algorithm, glyphs),
            _ended(step, algorithm, glyphs),
        ]
    )


def _planned(step: Step, maze: Maze, glyphs: Glyphs) -> list[Fact]:
    best = arrow(maze, step.action, glyphs.solid)
    return [
        ("state", "state", place(maze, step.state)),
        ("best action", "action", f"{best} {action_name(maze, step.action)}"),
        ("expected reward", "reward", signed(step.reward)),
        ("sweep", "sweep", f"{step.episode}: every state is updated once, nobody moves"),
        ("model", "model-based", "the rules of the ice are known, so nothing has to be tried"),
    ]


def _moved(step: Step, maze: Maze, glyphs: Glyphs) -> list[Fact]:
    """What the agent saw and did, and what came back."""
    chosen = arrow(maze, step.action, glyphs.solid)
    landed = f"{result(maze, step)}: from {place(maze, step.state)} to "
    extra = f", {signed(step.extra)} besides for learning" if step.extra else ""
    seen = [("observation", "observation", f"o{step.observation}, all it sees of its state")]
    return [
        ("time step", "time-step", f"t = {step.t} of episode {step.episode}"),
        *(seen if maze.observation != "cell" or maze.memory > 1 else []),
        ("action", "action", f"{chosen} {action_name(maze, step.action)}"),
        ("environment", "environment", landed + place(maze, step.next_state)),
        ("reward", "reward", f"{signed(step.reward)}, paid now for this one move{extra}"),
        ("return", "return", "not this number: the discounted sum of all rewards to come"),
    ]


def _learned(step: Step, algorithm: Algorithm) -> list[Fact]:
    if isinstance(algorithm, LlmAlgorithm):
        return learned(step)
    if step.probabilities:
        return _learned_by_policy(step)
    if _waits(algorithm) and not_learned_from(step):
        text = "not known: it is not learned from, or only once later rewards have come in"
        return [("TD error δ", "td-error", text)]
    told: list[Fact] = [
        ("TD error δ", "td-error", f"{signed(step.error)} = target - estimate"),
        ("step size α", "learning-rate", f"{number(step.step_size)} of that error is corrected"),
    ]
    if not math.isnan(step.advantage):
        better = "the best known action" if step.advantage == 0 else "worse than the best known"
        told.append(("advantage A(s,a)", "advantage", f"{number(step.advantage)}: {better}"))
    return told


def _learned_by_policy(step: Step) -> list[Fact]:
    """The advantage and the chances; `step` is one of a method that learns a policy."""
    chances = ", ".join(number(chance, 3) for chance in step.probabilities)
    if not step.probabilities_after:
        return [("π(·|s)", "policy", f"{chances}: not learned from yet")]
    after = ", ".join(number(chance, 3) for chance in step.probabilities_after)
    better = "better" if step.advantage > 0 else "worse" if step.advantage < 0 else "no better"
    than = "than" if step.advantage else "and no worse than"
    told: list[Fact] = [
        ("advantage A(s,a)", "advantage", f"{signed(step.advantage)}: {better} {than} usual here"),
        ("π(·|s)", "policy", f"{chances} when it moved, {after} once it had learned"),
    ]
    if step.step_size:
        values = f"{number(step.before)}, then {number(step.after)}"
        told.append(("state value V(s)", "state-value", values))
    return told


def _policies(step: Step, algorithm: Algorithm, glyphs: Glyphs) -> list[Fact]:
    """Who acts, who is learned about, and whether that is the same."""
    chance = number(math.exp(step.log_prob), 2)
    chosen = f"here it {'explored' if step.explored else 'exploited'} (chance of this action"
    if algorithm.family == "prediction":  # it has no choice of its own
        chosen = "(chance of this action here"
    if isinstance(algorithm, LlmAlgorithm):
        chosen = f"{choice(step, glyphs)} (chance of this action here"
    behaviour = f"{algorithm.behaviour_policy}; {chosen} {chance})".replace("; (", " (")
    told: list[Fact] = [("behaviour policy", "behaviour-policy", behaviour)]
    told.append(("target policy", "target-policy", algorithm.target_policy))
    if algorithm.policy_type == "off-policy":
        told.append(("off-policy", "off-policy", "it learns about another policy than it follows"))
    elif algorithm.policy_type == "on-policy":
        told.append(("on-policy", "on-policy", "it learns about the policy it follows"))
    return told


def _waits(algorithm: Algorithm) -> bool:
    """Whether its targets are returns: many rewards, and at most their end is an estimate."""
    return algorithm.name == "monte-carlo" or "n" in algorithm.settings.__struct_fields__


def _looked_ahead_once(step: Step) -> bool:
    """Whether its target is r + γ × an estimate: n = 1, or n rewards that come to the same."""
    return bool(step.bootstrap) and math.isclose(
        step.target, step.paid + step.gamma * step.bootstrap, rel_tol=1e-12
    )


def _ended(step: Step, algorithm: Algorithm, glyphs: Glyphs) -> Fact:
    """Whether the episode ended here, how, and what that does to the target."""
    if step.probabilities or isinstance(algorithm, LlmAlgorithm):
        return _ended_for_policy(step, glyphs)
    if _waits(algorithm) and not (step.terminated or step.truncated or _looked_ahead_once(step)):
        return _ended_later(step, algorithm)
    if step.terminated:
        symbol, word = ending(step, glyphs)
        text = f"{symbol} {word}: nothing follows, so the target is the reward alone"
        return ("terminated", "terminated", text)
    if step.truncated:
        text = (
            "only the time limit stopped it; more could have followed, so the target still "
            f"looks ahead ({number(step.bootstrap)})"
        )
        return ("truncated", "truncated", text)
    text = f"the episode goes on: the target adds γ × {number(step.bootstrap)}, itself an estimate"
    return ("bootstrapping", "bootstrap", text)


def _ended_later(step: Step, algorithm: Algorithm) -> Fact:
    """Where the return ends that a step in the middle of an episode is learned from."""
    if not_learned_from(step):
        return ("return-to-go", "return-to-go", "the episode goes on: what follows counts too")
    if algorithm.name == "monte-carlo":
        text = "the target is what was really paid from here to the end of the episode"
        if step.bootstrap:  # only where the time limit cut it
            text += f", and an estimate, {number(step.bootstrap)}, of what the time limit cut off"
        return ("return-to-go", "return-to-go", text)
    if not step.bootstrap:
        text = (
            "the target is the rewards that came, up to n of them; nothing is added for what "
            "follows (the episode ended, or what follows is still estimated as 0)"
        )
        return ("return-to-go", "return-to-go", text)
    text = (
        f"the target is the n rewards that came and then γⁿ × {number(step.bootstrap)}, itself an "
        "estimate (fewer than n where the time limit came first)"
    )
    return ("bootstrapping", "bootstrap", text)


def _ended_for_policy(step: Step, glyphs: Glyphs) -> Fact:
    """The same for a method that learns a policy, which may judge by returns alone."""
    ahead = f"V(s′) = {number(step.bootstrap)} stands for what was still to come"
    if step.terminated:
        symbol, word = ending(step, glyphs)
        return ("terminated", "terminated", f"{symbol} {word}: nothing follows")
    if step.truncated:
        known = ahead if step.bootstrap else "only what was paid by then counts"
        return ("truncated", "truncated", f"only the time limit stopped it; {known}")
    if step.bootstrap:
        return ("bootstrapping", "bootstrap", f"the episode went on: {ahead}, itself an estimate")
    return ("return-to-go", "return-to-go", "the episode went on: what followed counts too")
