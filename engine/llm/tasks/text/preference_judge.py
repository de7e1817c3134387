"""Whoever prefers: a rule that stands in for a person, and what an answer says in numbers."""

from __future__ import annotations

from typing import Literal

from engine.config.text import TextTask
from engine.llm.tasks.text.features import words
from engine.llm.tasks.text.preference_model import sigmoid

Choice = Literal["first", "second", "tie", "skip"]

TARGETS: dict[str, float] = {"first": 1.0, "second": 0.0, "tie": 0.5}
"""The chance that the first completion is preferred, by answer; a skipped pair has none."""


def true_score(task: TextTask, text: str) -> float:
    """What the rule really wants, as a number: more is better.

    Words saved or written; 1 where the word is said, else 0.
    """
    found = words(text)
    if task.rule == "word":
        return float(task.word.lower() in found)
    return float(len(found)) if task.rule == "longer" else -float(len(found))


def ruled(task: TextTask, texts: tuple[str, str]) -> Choice:
    """What the rule answers about a pair: exactly what it says, and a tie where both are equal."""
    first, second = (true_score(task, text) for text in texts)
    if first == second:
        return "tie"
    return "first" if first > second else "second"


def scored_target(scores: tuple[float, float]) -> float:
    """The preference that two typed scores stand for: a point more is one unit of reward."""
    return float(sigmoid(scores[0] - scores[1]))


def in_words(task: TextTask) -> str:
    """The rule as a sentence's end: "the shorter completion"."""
    if task.rule == "word":
        return f"the completion with the word “{task.word}”"
    return f"the {task.rule} completion"
