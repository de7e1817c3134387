"""What of an update is recorded: its figures, and more of its episodes than anybody reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from engine.core.arrays import Array, Floats
from engine.core.errors import UserError
from engine.env.mdp import MDP
from engine.exact.evaluate import state_values
from engine.learning.events import Group, Member, Metric, Update
from engine.llm.tasks.base import RunState

KEPT_GROUPS = 4
KEPT_MEMBERS = 16
"""Most groups of an update, and most members of a group, that are recorded."""

TIMED = (
    "seconds_per_update",
    "seconds_sampling",
    "seconds_training",
    "tokens_per_second",
    "memory_gib",
    "gpu_memory_gib",
)
"""Metrics that depend on the machine and its load; all others depend on preset and seed alone."""


def recorded_members(totals: Array) -> list[int]:
    """Which members of a group are recorded, by what they are compared by, [G]: the best, the
    worst, and between them at even distances in rank."""
    best_first = np.argsort(-totals, kind="stable")
    places = np.linspace(0, len(totals) - 1, min(len(totals), KEPT_MEMBERS)).round().astype(int)
    return sorted(int(n) for n in best_first[places])


def update_event(run: RunState, metrics: dict[str, float]) -> Update:
    """Figures as an event; those of one model have no band."""
    return Update(
        step=run.clock,
        updates=run.clock,
        episodes=run.episodes,
        total_env_steps=run.env_steps,
        metrics={
            name: Metric(value, value, value, 0 if math.isnan(value) else 1)
            for name, value in metrics.items()
        },
    )


def group_events(
    run: RunState,
    size: int,
    totals: Array,
    group: Callable[[int], tuple[int, str]],
    member: Callable[[int], Member],
) -> list[Group]:
    """The first groups of `size` of an update; without groups, the batch is one.

    `totals` [B]: what episodes are compared by. `group` gives the world and the prompt of the group
    whose first episode that is, `member` an episode.
    """
    events = []
    for index in range(min(KEPT_GROUPS, len(totals) // size)):
        first = index * size
        own, (world, prompt) = totals[first : first + size], group(first)
        events.append(
            Group(
                step=run.clock,
                world_id=world,
                index=index,
                size=size,
                prompt=prompt,
                members=tuple(member(first + n) for n in recorded_members(own)),
                mean=float(own.mean()),
                spread=float(own.std()),
            )
        )
    return events


def exact_values(mdp: MDP, policy: Array, gamma: float) -> Floats:
    """[O] the exact values of a policy [O, A], by what is observed; 0 everywhere for γ = 1 and a
    policy that may never end."""
    values = np.zeros(mdp.n_observations)
    with suppress(UserError):
        values[mdp.observation] = state_values(mdp, policy, gamma)
    return values
