"""Live values of the terms about preferences; none in a run whose reward is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.llm.tasks.text.features import MEANING, NAMES
from tui import kinds
from tui.glossary.values.words import Value, latest, number
from tui.ui.text import percent, signed

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def of_text(say: Callable[[Snapshot], str | None]) -> Value:
    """What is said of a run that writes free text; nothing of others."""
    return lambda snapshot: say(snapshot) if kinds.of(snapshot.preset).asks_preferences else None


def newest(snapshot: Snapshot, metric: str) -> float:
    """The newest number of a curve up to the moment shown; NaN without any."""
    found = latest(snapshot, metric)
    return math.nan if found is None else found


def _preference(snapshot: Snapshot) -> str:
    choices = [given.choice for given in snapshot.preferences]
    ties, skipped = choices.count("tie"), choices.count("skip")
    missing = len(snapshot.pairs) - len(choices)
    return f"{len(choices)} answers, {ties} of them ties, {skipped} skipped; {missing} wanted now"


def _reward_model(snapshot: Snapshot) -> str | None:
    score = newest(snapshot, "reward_model_score")
    return None if math.isnan(score) else f"mean score of the newest completions {signed(score)}"


def _bradley_terry(snapshot: Snapshot) -> str | None:
    weights = {name: newest(snapshot, f"reward_weight_{name}") for name in NAMES}
    if any(math.isnan(weight) for weight in weights.values()):
        return None
    most = max(weights, key=lambda name: abs(weights[name]))
    return f"largest weight that can be read: {MEANING[most]}, {signed(weights[most])}"


def _rlhf(snapshot: Snapshot) -> str:
    text = getattr(snapshot.preset, "text", None)
    asked = len({pair.step for pair in snapshot.pairs})
    every = f", {text.every} updates between two" if text is not None else ""
    return f"{asked} rounds of questions{every}"


def _overoptimisation(snapshot: Snapshot) -> str | None:
    agreed, of = newest(snapshot, "judge_agreement"), newest(snapshot, "judge_agreement_of")
    if math.isnan(agreed):
        return None
    return f"right about {percent(agreed)} of {of:.0f} new pairs"


def _distinct(snapshot: Snapshot) -> str | None:
    value = newest(snapshot, "distinct_2")
    return None if math.isnan(value) else f"distinct-2 is {number(value)}"


VALUES: dict[str, Value] = {
    "preference": of_text(_preference),
    "reward-model": of_text(_reward_model),
    "bradley-terry": of_text(_bradley_terry),
    "rlhf": of_text(_rlhf),
    "over-optimisation": of_text(_overoptimisation),
    "distinct-n": of_text(_distinct),
}
