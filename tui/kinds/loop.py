"""The stations of the agent-environment loop in one step, and what is said at each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from engine.env.maze import Maze
from engine.learning.events import Step
from tui.kinds.exploring import KINDS, Exploring
from tui.model.steps import (
    action_name,
    arrow,
    ending,
    not_learned_from,
    place,
    result,
    without_noise,
)
from tui.ui.glyphs import Glyphs
from tui.ui.text import number, signed


class Piece(NamedTuple):
    """Text in one component style of the figure; with a slug, a glossary term."""

    text: str
    part: str = "value"
    slug: str = ""


Pieces = list[Piece]


@dataclass(frozen=True, slots=True)
class Stop:
    """One station: its label, and its value in this step."""

    label: Piece
    value: Pieces


def term(text: str, slug: str) -> Piece:
    """A label that is a glossary term."""
    return Piece(text, "term", slug)


def muted(text: str) -> Piece:
    """Words between the values."""
    return Piece(text, "muted")


def tone(value: float) -> str:
    """The style of a number: good, bad, or neither."""
    return "good" if value > 0 else "bad" if value < 0 else "value"


class Story:
    """One step of an agent that learns action values, station by station; without a step, the
    labels alone."""

    estimate = "Q(s,a)"
    """The estimate that is learned."""
    estimate_slug = "action-value"

    def __init__(
        self, maze: Maze, step: Step | None, glyphs: Glyphs, explores: Exploring | None = None
    ) -> None:
        self.explores = explores or KINDS["epsilon-greedy"]
        self.maze, self.step, self.glyphs = maze, step, glyphs

    def agent_side(self) -> list[Stop]:
        """State, policy, action: what the agent sees and decides."""
        return [
            Stop(term("state", "state"), self._state()),
            Stop(term("policy", "policy"), self._policy()),
            Stop(term("action", "action"), self._action()),
        ]

    def environment_side(self) -> list[Stop]:
        """Next state, reward, environment: what comes back, in the order it is drawn."""
        source = term("environment", "environment")
        if self.step is not None and self.step.kind == "planning":  # of an agent with a model
            source = term("model", "model-based")
        return [
            Stop(term("next state", "next-state"), self._next_state()),
            Stop(term("reward", "reward"), self._reward()),
            Stop(source, self._environment()),
        ]

    # ------------------------------------------------------------ values

    def _state(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        pieces = [Piece(place(self.maze, step.state))]
        if self.maze.observation != "cell" or self.maze.memory > 1:
            pieces += [muted(" sees "), Piece(f"o{step.observation}", "value", "observation")]
        return pieces

    def _policy(self) -> Pieces:
        step, glyphs = self.step, self.glyphs
        if step is None:
            return []
        which = arrow(self.maze, step.action, glyphs.solid)
        pieces = [
            self._choice(step),
            muted(" "),
            term(f"π({which}|s)", "behaviour-policy"),
            Piece(f" {number(math.exp(step.log_prob), 2)}"),
        ]
        if not math.isnan(step.exploration):
            level = term(self.explores.symbol, self.explores.slug)
            pieces += [muted("  "), level, Piece(f" {number(step.exploration, 2)}")]
        return pieces

    def _choice(self, step: Step) -> Piece:
        """Explored or exploited, by symbol and word."""
        if step.explored:
            return Piece(f"{self.glyphs.explored} explored", "explored", "exploration")
        return Piece(f"{self.glyphs.exploited} exploited", "exploited", "exploitation")

    def _action(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        arrows = self.glyphs.dashed if step.explored else self.glyphs.solid
        part = "explored" if step.explored else "exploited"
        symbol = arrow(self.maze, step.action, arrows)
        return [Piece(f"{symbol} {action_name(self.maze, step.action)}", part)]

    def _next_state(self) -> Pieces:
        return [] if self.step is None else [Piece(place(self.maze, self.step.next_state))]

    def _reward(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        return [Piece(signed(step.reward), tone(step.reward))]

    def _environment(self) -> Pieces:
        step = self.step
        if step is None:
            return []
        symbol, word = ending(step, self.glyphs)
        if step.terminated:
            part = "good" if step.success else "bad"
            return [Piece(f"{symbol} {word}", part), muted("  "), term("terminated", "terminated")]
        part = "bad" if step.fell else "value"
        pieces = [Piece(result(self.maze, step), part)]
        if step.truncated:
            pieces += [muted(f"  {symbol} "), term("truncated", "truncated")]
        return pieces

    def learning(self, *, brief: bool) -> Pieces:
        """The update: error, target, estimate before and after."""
        step = self.step
        if step is None:
            return [muted("waiting for the first step")]
        if not_learned_from(step):
            waits = "waits for later rewards"
            return [term("δ" if brief else "TD error δ", "td-error"), muted(f"  {waits}")]
        step = without_noise(step)
        return [
            term("δ" if brief else "TD error δ", "td-error"),
            Piece(f" {signed(step.error)}", tone(step.error)),
            muted(" = "),
            term("target", "td-target"),
            Piece(f" {number(step.target)}"),
            muted(" - "),
            term(self.estimate[0] if brief else self.estimate, self.estimate_slug),
            Piece(f" {number(step.before)}"),
            muted(f"  now {number(step.after)}"),
        ]
