"""Runs whose agents learn a policy itself: chances of actions, by policy gradients."""

from __future__ import annotations

from typing import ClassVar

from engine.learning.events import Step
from tui.kinds.columns import (
    ACTION,
    ADVANTAGE,
    AFTER,
    ARROW,
    CHANCE,
    HOW,
    MARK,
    NARROW,
    REWARD,
    STATE,
    TO_GO,
    Layouts,
    T,
)
from tui.kinds.loop import Piece, Pieces, Story, muted, term, tone
from tui.kinds.step_facts import policy_ended, policy_learned
from tui.kinds.tabular import TabularKind
from tui.model.steps import arrow
from tui.ui.fact import Fact
from tui.ui.glyphs import Glyphs
from tui.ui.text import number, signed


class PolicyStory(Story):
    """One step of an agent whose policy is what it learns."""

    def learning(self, *, brief: bool) -> Pieces:
        """The advantage, and what it made of the chance of the action taken."""
        step = self.step
        if step is None:
            return super().learning(brief=brief)
        which, onward = arrow(self.maze, step.action, self.glyphs.solid), self.glyphs.solid[2]
        chance = [
            term(f"π({which}|s)", "policy"),
            Piece(f" {number(step.probabilities[step.action], 3)}"),
        ]
        if not step.probabilities_after:
            waits = "not learned from yet" if brief else "not learned from yet: its batch goes on"
            return [*chance, muted(f"  {waits}")]
        advantage = step.advantage_estimate
        pieces = [
            term("A" if brief else "advantage", "advantage"),
            Piece(f" {signed(advantage)}", tone(advantage)),
            muted("  "),
            *chance,
            Piece(f" {onward} {number(step.probabilities_after[step.action], 3)}"),
        ]
        if step.step_size:
            value = Piece(f" {number(step.before)} {onward} {number(step.after)}")
            pieces += [muted("  "), term("V(s)", "state-value"), value]
        return pieces


class PolicyKind(TabularKind):
    """REINFORCE, actor-critic, PPO and GRPO for tables."""

    columns: ClassVar[Layouts] = (
        (T, STATE, ACTION, HOW, REWARD, CHANCE, AFTER, TO_GO, ADVANTAGE),
        (T, STATE, ARROW, MARK, REWARD, CHANCE, AFTER, TO_GO, ADVANTAGE),
        (T, STATE, ARROW, MARK, REWARD, CHANCE, AFTER, ADVANTAGE),
        (*NARROW, CHANCE, AFTER._replace(width=7)),
    )
    """The chance of the action taken, before and after it was learned from."""
    story = PolicyStory
    first_layer = 4  # π(a|s)
    learns_policy = True

    def learned(self, step: Step) -> list[Fact]:
        return policy_learned(step)

    def ended(self, step: Step, glyphs: Glyphs) -> Fact:
        return policy_ended(step, glyphs)
