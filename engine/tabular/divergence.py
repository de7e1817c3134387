"""Divergence, noticed while values that are functions of features are learned.

No policy can earn more than the largest reward in every step, so values far beyond that are wrong
and grow. One note a run says so. No clock and no random numbers: a resumed run says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.env.mdp import MDP
from engine.learning.events import Note

TERM = "deadly-triad"
"""The glossary entry on it."""
FAR = 10.0
"""Values count as diverged beyond so many times what can be earned, or what they were at first: an
estimate that starts wrong, or overshoots, stays well below."""


class DivergenceWatch(NamedTuple):
    """What is remembered of one run."""

    said: Array  # [1] bool: whether the note was given


def make_watch() -> DivergenceWatch:
    """Before the first step."""
    return DivergenceWatch(said=np.zeros(1, np.bool_))


def most_earned(mdps: Sequence[MDP], gamma: float) -> float:
    """A bound on the size of any return: the largest reward in every step, without an end, or with
    γ = 1 within the longest time limit."""
    largest = max(float(np.abs(mdp.reward[mdp.probability > 0]).max()) for mdp in mdps)
    steps = 1.0 / (1.0 - gamma) if gamma < 1.0 else max(mdp.max_steps for mdp in mdps)
    return largest * steps


def look(
    watch: DivergenceWatch, step: int, values: Array, first: float, most: float, remedy: str
) -> list[Note]:
    """The note, if it is due: `values` [N,O] are far beyond `most` and their `first` size in half
    of the agents or more."""
    largest = float(np.median(np.abs(values).max(axis=1)))
    if watch.said[0] or largest <= FAR * max(first, most):
        return []
    watch.said[0] = True
    text = (
        f"The values diverge: in the median agent the largest stands at {largest:,.3g}, and no "
        f"policy can earn more than {most:,.3g} here. Most often each update then moves its own "
        "target too, by more than it closes the gap."
    )
    return [Note(step=step, level="warning", text=text, remedy=remedy, term=TERM)]
