"""Runs that judge a given policy: its agents learn V(s) and have no choice of their own."""

from __future__ import annotations

import math
from typing import ClassVar

from engine.learning.events import Step
from tui.kinds.columns import (
    ACTION,
    ARROW,
    ERROR,
    NARROW,
    REWARD,
    STATE,
    TARGET,
    TO_GO,
    Layouts,
    T,
)
from tui.kinds.loop import Piece, Story
from tui.kinds.tabular import TabularKind
from tui.ui.glyphs import Glyphs
from tui.ui.text import number


class PredictionStory(Story):
    """One step of an agent that follows a given policy and learns what states are worth."""

    estimate = "V(s)"
    estimate_slug = "state-value"

    def _choice(self, step: Step) -> Piece:
        return Piece("as given", "muted", "prediction")


class PredictionKind(TabularKind):
    """TD(0) and its relatives."""

    columns: ClassVar[Layouts] = (
        (T, STATE, ACTION, REWARD, TARGET, ERROR, TO_GO),
        (T, STATE, ARROW, REWARD, TARGET, ERROR, TO_GO),
        (T, STATE, ARROW, REWARD, ERROR._replace(title="δ", width=7), TO_GO._replace(title="G")),
        (*(c for c in NARROW if c.kind != "mark"), ERROR._replace(title="δ", width=7)),
    )
    story = PredictionStory
    first_layer = 2  # V(s)
    policy_given = True

    def chosen(self, step: Step, glyphs: Glyphs) -> str:
        return f" (chance of this action here {number(math.exp(step.log_prob), 2)})"
