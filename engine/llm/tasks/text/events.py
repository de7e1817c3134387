"""What is said of completions: figures that can be counted, what the reward model thinks of them,
and the groups of an update as events.

Shapes: `B` completions in groups of `G`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from engine.config.text import TextTask
from engine.core.arrays import Floats
from engine.learning.events import Group, Member
from engine.llm.tasks.recorded import KEPT_GROUPS, KEPT_MEMBERS
from engine.llm.tasks.text.batch import TextBatch, Written
from engine.llm.tasks.text.features import distinct, words
from engine.llm.tasks.text.preference_judge import true_score


def figures(task: TextTask, written: Sequence[Written]) -> dict[str, float]:
    """What can be counted in completions; with a rule also what it really wants, on average."""
    texts = [one.text for one in written]
    counted = {
        "words": float(np.mean([len(words(text)) for text in texts])),
        "completion_tokens": float(np.mean([len(one.tokens) for one in written])),
        "distinct_2": distinct(texts),
        "cut_off_share": float(np.mean([one.cut_off for one in written])),
    }
    if task.judge == "rule":
        counted["true_score"] = float(np.mean([true_score(task, text) for text in texts]))
    return counted


def opinion(task: TextTask, written: Sequence[Written], scores: Floats) -> dict[str, float]:
    """What the reward model says of completions, by its `scores` [B].

    With a rule also how often it orders two of them as the rule does: held out, for it was fitted
    to none of these.
    """
    told = {
        "reward_model_score": float(scores.mean()),
        "reward_model_spread": float(scores.std()),
    }
    if task.judge == "rule":
        wanted = np.array([true_score(task, one.text) for one in written])
        differ = wanted[:, None] > wanted[None, :]
        right = (scores[:, None] > scores[None, :])[differ]
        told["reward_model_accuracy"] = float(right.mean()) if differ.any() else math.nan
    return told


def group_events(clock: int, batch: TextBatch, scores: Floats, advantages: Floats) -> list[Group]:
    """The first completions of an update's groups. `scores` and `advantages` [B]."""
    size = batch.group_size
    return [
        Group(
            step=clock,
            world_id=0,
            index=first // size,
            size=size,
            prompt=batch.completions[first].prompt.asked,
            members=tuple(
                _member(batch.completions[b], float(scores[b]), float(advantages[b]))
                for b in range(first, first + min(size, KEPT_MEMBERS))
            ),
        )
        for first in range(0, len(batch.completions), size)[:KEPT_GROUPS]
    ]


def _member(one: Written, score: float, advantage: float) -> Member:
    return Member(
        actions=(),
        states=(),
        total=score,
        advantage=advantage,
        success=False,
        terminated=not one.cut_off,
        truncated=one.cut_off,
        text=one.text,
        cut_off=one.cut_off,
    )
