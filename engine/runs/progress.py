"""What a run had done at each step of its clock: the other units its curves can be drawn over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from engine.core.arrays import Floats
from engine.runs import stored
from engine.runs.curves import Curve

POINT_ROWS = list[tuple[stored.Id, stored.Id, stored.Id, stored.Id]]
"""step, updates, episodes, total_env_steps"""


class Progress(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Counters at each recording point, all arrays [points] and rising; `step` strictly."""

    step: Floats
    updates: Floats
    """Updates of each agent's tables, or of the language model."""
    episodes: Floats
    """Finished episodes of each agent."""
    total_env_steps: Floats
    """Environment steps of all agents together."""


class Spent(NamedTuple):
    """What a language model's updates had taken by each `step`, in all: arrays [updates]."""

    step: Floats
    seconds: Floats
    """Wall time of the updates themselves, evaluations included; pauses and the start are not."""
    tokens: Floats
    """Tokens computed to sample and to train; what goes backward too counts three times."""


def progress(rows: POINT_ROWS) -> Progress:
    """The counters of the rows of `points`, in order; of several at one step the last counts."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    table = np.maximum.accumulate(table, axis=0)  # a record that was tampered with may not rise
    last = np.append(np.diff(table[:, 0]) > 0, True)[: len(table)]
    step, updates, episodes, total = table[last].T
    return Progress(step=step, updates=updates, episodes=episodes, total_env_steps=total)


def spent(curves: Mapping[str, Curve]) -> Spent | None:
    """The sums of what each update took; None where that was not recorded of every single one."""
    seconds, speed = curves.get("seconds_per_update"), curves.get("tokens_per_second")
    if seconds is None or speed is None or not np.array_equal(seconds.x, speed.x):
        return None
    step = seconds.x
    if not step.size:
        return None
    gaps = np.diff(step, prepend=step[0] - 1) != 1
    taken, read = seconds.mean, seconds.mean * speed.mean
    if gaps.any() or not np.isfinite(taken + read).all() or (taken < 0).any() or (read < 0).any():
        return None
    return Spent(step, np.cumsum(taken), np.cumsum(read))
