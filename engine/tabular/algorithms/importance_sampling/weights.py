"""What both methods share: the two ways to weigh a return, and how that is told."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from engine.learning.events import Step

Weighting = Annotated[
    Literal["weighted", "ordinary"],
    Meta(
        description='how returns are averaged: "weighted" divides by the sum of the importance '
        'ratios (biased, less and less, but tame), "ordinary" by the number of returns (unbiased '
        "for first visits, but its variance may be unbounded)"
    ),
]

NO_RATIO = "the episode must be over first, so that the importance ratio is known"


def ratio_numbers(step: Step) -> str:
    """The importance ratio of a step that was learned from, in numbers."""
    return f"ρ = Π π/b over the steps that count = {step.importance_ratio:.4g}"


def ratio_words(step: Step, since: str) -> str:
    """The same in words, of what was done `since` that step."""
    ratio = step.importance_ratio
    if ratio == 0.0:
        return f" The target policy would not have done what was done {since}: the ratio is 0."
    likely = "just as likely" if ratio == 1.0 else f"{ratio:.4g} times as likely"
    return f" What was done {since} is {likely} under the target policy as under the other."
