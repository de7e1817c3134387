"""The agent-environment loop with a language model as the policy."""

from __future__ import annotations

import math

from engine.learning.events import Step
from tui.features.trainer.loop_story import Piece, Pieces, Stop, Story, muted, term
from tui.kinds.llm_words import choice, rank
from tui.model.steps import arrow
from tui.ui.text import number, signed


class LlmStory(Story):
    """State, language model, action, environment, reward, with the numbers of one move.

    The moves of an episode are learned from together, so between the two halves stands what the
    update made of this move's probability.
    """

    def agent_side(self) -> list[Stop]:
        """State, language model, action."""
        first, _, last = super().agent_side()
        return [first, Stop(term("language model", "language-model"), self._policy()), last]

    def _choice(self, step: Step) -> Piece:
        part = "explored" if rank(step) > 1 else "exploited"
        return Piece(choice(step, self.glyphs), part, "policy")

    def learning(self, *, brief: bool) -> Pieces:
        """The advantage, the probability before and after, and the return it comes from."""
        step = self.step
        if step is None:
            return [muted("waiting for the first update")]
        advantage = step.advantage_estimate
        pieces: Pieces = []
        if not math.isnan(advantage):
            part = "good" if advantage > 0 else "bad" if advantage < 0 else "value"
            label = term("A" if brief else "advantage", "advantage")
            pieces += [label, Piece(f" {signed(advantage)}", part), muted("  ")]
        if step.probabilities:
            which = arrow(self.maze, step.action, self.glyphs.solid)
            chance = number(step.probabilities[step.action], 3)
            if step.probabilities_after:
                after = number(step.probabilities_after[step.action], 3)
                chance = f"{chance} {self.glyphs.solid[2]} {after}"
            pieces += [term(f"π({which}|s)", "policy"), Piece(f" {chance}"), muted("  ")]
        return [
            *pieces,
            term("return", "return") if step.probabilities else term("reward", "verifiable-reward"),
            Piece(f" {number(step.target)}"),
            muted("  "),
            term("group mean", "group"),
            Piece(f" {number(step.before)}"),
        ]
