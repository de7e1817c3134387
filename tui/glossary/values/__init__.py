"""What each term is worth in the run that is shown: one small function per entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.glossary.values import (
    bandits,
    challenges,
    features,
    figures,
    language_models,
    learning,
    loop,
    maze,
    planning,
    policy_gradient,
    post_training,
    preferences,
    rules,
    runs,
    solution,
    states,
    td_and_monte_carlo,
)
from tui.glossary.values.words import Value

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

VALUES: dict[str, Value] = {
    **loop.VALUES,
    **maze.VALUES,
    **states.VALUES,
    **solution.VALUES,
    **learning.VALUES,
    **figures.VALUES,
    **runs.VALUES,
    **rules.VALUES,
    **challenges.VALUES,
    **planning.VALUES,
    **policy_gradient.VALUES,
    **td_and_monte_carlo.VALUES,
    **language_models.VALUES,
    **preferences.VALUES,
    **post_training.VALUES,
    **features.VALUES,
    **bandits.VALUES,
}
"""By slug. A term that is missing here has no value of its own (a checkpoint, a note's remedy)."""


def current_value(slug: str, snapshot: Snapshot) -> str | None:
    """The term's value at the moment shown, in words and units.

    None when the term has no value, or none yet (no step was taken, nothing was evaluated).
    """
    value = VALUES.get(slug)
    return value(snapshot) if value else None
