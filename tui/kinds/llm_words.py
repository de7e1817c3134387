"""What a language model did in a step, in words: its choice, and what its update made of it."""

from __future__ import annotations

import math

from engine.learning.events import Step
from tui.ui.glyphs import Glyphs
from tui.ui.text import number, signed

ORDINALS = ("1st", "2nd", "3rd")


def rank(step: Step) -> int:
    """How many actions the model found likelier than the one it took, plus one; 0 if not known."""
    if not step.probabilities:
        return 0
    taken = step.probabilities[step.action]
    return 1 + sum(chance > taken for chance in step.probabilities)


def choice(step: Step, glyphs: Glyphs) -> str:
    """Which of its choices the model took: a symbol and words such as "1st choice"."""
    place = rank(step)
    if not place:
        return "in its route"
    name = ORDINALS[place - 1] if place <= len(ORDINALS) else f"{place}th"
    return f"{choice_mark(step, glyphs)} {name} choice"


def choice_mark(step: Step, glyphs: Glyphs) -> str:
    """The symbol alone: full for the likeliest action, hollow for all others."""
    return glyphs.exploited if rank(step) <= 1 else glyphs.explored


def learned(step: Step) -> list[tuple[str, str, str]]:
    """What the update made of a step: label, glossary slug, and what to say."""
    advantage = step.advantage_estimate
    better = "better" if advantage > 0 else "worse" if advantage < 0 else "no better or worse"
    first = ("return", "return", f"{number(step.target)} for the whole episode")
    if not step.probabilities:
        first = ("reward", "verifiable-reward", f"{number(step.target)} for the whole route")
    told = [
        first,
        ("group mean", "group", f"{number(step.before)}: what the others earned on average"),
    ]
    if not math.isnan(advantage):
        than = "than what it is compared with"
        told.append(("advantage A(s,a)", "advantage", f"{signed(advantage)}: {better} {than}"))
    if step.probabilities:
        before = ", ".join(number(chance, 3) for chance in step.probabilities)
        after = ", ".join(number(chance, 3) for chance in step.probabilities_after)
        told.append(("π(·|s)", "policy", f"{before} when it moved" + _then(after)))
    told.append(
        (
            "update",
            "update",
            f"number {step.step}: learns from many episodes at once, this is the first of them; "
            "u shows the others",
        )
    )
    return told


def _then(after: str) -> str:
    return f", {after} after the update" if after else ""
