"""Words for the choices of a language model, what it learned from them, and its settings."""

from __future__ import annotations

import math

from engine.learning.events import Step
from tui.ui.fact import Fact
from tui.ui.glyphs import Glyphs
from tui.ui.text import number, signed

ORDINALS = ("1st", "2nd", "3rd")


def rank(step: Step) -> int:
    """The place of the action taken among all, the likeliest first: from 1; 0 if not known."""
    if not step.probabilities:
        return 0
    taken = step.probabilities[step.action]
    return 1 + sum(chance > taken for chance in step.probabilities)


def choice(step: Step, glyphs: Glyphs) -> str:
    """The choice that the model took: a symbol and words such as "1st choice"."""
    taken = rank(step)
    if not taken:
        return "in its route"
    name = ORDINALS[taken - 1] if taken <= len(ORDINALS) else f"{taken}th"
    return f"{choice_mark(step, glyphs)} {name} choice"


def choice_mark(step: Step, glyphs: Glyphs) -> str:
    """The symbol of a choice alone: full for the likeliest action, hollow for all others."""
    return glyphs.exploited if rank(step) <= 1 else glyphs.explored


def learned(step: Step) -> list[Fact]:
    """Facts about what the update made of a step."""
    advantage = step.advantage_estimate
    better = "better" if advantage > 0 else "worse" if advantage < 0 else "no better or worse"
    first = Fact("return", "return", f"{number(step.target)} for the whole episode")
    if not step.probabilities:
        first = Fact("reward", "verifiable-reward", f"{number(step.target)} for the whole route")
    others = f"{number(step.before)}: what the others earned on average"
    facts = [first, Fact("group mean", "group", others)]
    if not math.isnan(advantage):
        text = f"{signed(advantage)}: {better} than what it is compared with"
        facts.append(Fact("advantage A(s,a)", "advantage", text))
    if step.probabilities:
        before = ", ".join(number(chance, 3) for chance in step.probabilities)
        after = ", ".join(number(chance, 3) for chance in step.probabilities_after)
        then = f", {after} after the update" if after else ""
        facts.append(Fact("π(·|s)", "policy", f"{before} when it moved{then}"))
    text = (
        f"number {step.step}: learns from many episodes at once, this is the first of them; "
        "u shows the others"
    )
    return [*facts, Fact("update", "update", text)]


MEANINGS = {
    "environment steps": "updates",
    "at step 0": "at update 0",
    "from step `steps`": "from update `steps`",
    "steps per second": "updates per second",
    "TD steps, sweeps or optimizer batches": "how often it learns from a batch of episodes",
}
"""Words for what schedules, pace and budget count, by what descriptions say of tables."""


def meaning(text: str) -> str:
    """The meaning of a setting for a language model, whose clock is the update."""
    for words, instead in MEANINGS.items():
        text = text.replace(words, instead)
    return text
