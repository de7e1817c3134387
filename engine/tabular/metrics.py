"""How far each agent has come: what it earned lately, its milestones, its regret.

Kept from one recording point to the next and saved with the rest, so that a resumed run says the
same. N agents, O observations, S states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.env.mdp import MDP, reachable
from engine.exact.shaping import distances
from engine.tabular.kernels import environment as environ

NEAR = 0.01
"""A policy counts as optimal when it lacks at most this share of what the optimum has over moving
at random."""
MOVED = 1e-9
"""Values of a policy are sums: differences below this, relative to the initial value, are rounding.
"""

_PER_EPISODE = (environ.RETURN, environ.SCORE, environ.LENGTH, environ.WINS)
_GATES = np.full(environ.N_STATS, environ.STEPS)
_GATES[[environ.EPISODES, *_PER_EPISODE]] = environ.EPISODES


class Progress(NamedTuple):
    """What is remembered of N agents."""

    optimal_step: Array  # [N] float64: steps until the target policy was first optimal, or NaN
    optimal_episode: Array  # [N] float64: episodes until then, or NaN
    recovery: Array  # [N] float64: steps from the newest change until it was optimal, or NaN
    changed_at: Array  # [1] int64: the step of the newest change of the map; 0 before the first
    regret: Array  # [N] float64: Σ over finished episodes of (optimal return − return)
    falls: Array  # [N] float64
    recent: Array  # [N,N_STATS] float64: the newest interval in which there was anything to count


def make_progress(n: int) -> Progress:
    """Before the first step."""
    return Progress(
        optimal_step=np.full(n, np.nan),
        optimal_episode=np.full(n, np.nan),
        recovery=np.full(n, np.nan),
        changed_at=np.zeros(1, np.int64),
        regret=np.zeros(n),
        falls=np.zeros(n),
        recent=np.zeros((n, environ.N_STATS)),
    )


def book(progress: Progress, stats: Array, optimal_return: float) -> None:
    """Add what the agents did since the last recording point, `stats` [N,N_STATS].

    `optimal_return` is the expected discounted return of π* where they played.
    """
    progress.regret[:] += optimal_return * stats[:, environ.EPISODES] - stats[:, environ.RETURN]
    progress.falls[:] += stats[:, environ.FALLS]
    np.copyto(progress.recent, stats, where=stats[:, _GATES] > 0)


def mark(progress: Progress, step: int, episodes: Array, near: Array, changed_at: int) -> None:
    """Note who has a policy that is optimal now: `near` [N] bool, `episodes` [N] finished so far.

    `changed_at` is the step of the newest change of the map that holds, 0 when there was none.
    """
    first = near & np.isnan(progress.optimal_step)
    progress.optimal_step[first] = step
    progress.optimal_episode[first] = episodes[first]
    if changed_at != progress.changed_at[0]:
        progress.changed_at[0] = changed_at
        progress.recovery[:] = np.nan
    if changed_at:
        progress.recovery[near & np.isnan(progress.recovery)] = step - changed_at


def online(stats: Array) -> dict[str, Array]:
    """What the agents really earned and did, [N] each, from `stats` [N,N_STATS]; NaN where an agent
    finished no episode, or took no step."""
    with np.errstate(invalid="ignore", divide="ignore"):
        episodes = np.where(stats[:, environ.EPISODES] > 0, stats[:, environ.EPISODES], np.nan)
        steps = np.where(stats[:, environ.STEPS] > 0, stats[:, environ.STEPS], np.nan)
    return {
        "online_return": stats[:, environ.RETURN] / episodes,
        "online_score": stats[:, environ.SCORE] / episodes,
        "online_length": stats[:, environ.LENGTH] / episodes,
        "online_success_rate": stats[:, environ.WINS] / episodes,
        "falls_per_1000_steps": 1000.0 * stats[:, environ.FALLS] / steps,
        "exploring_share": stats[:, environ.EXPLORED] / steps,
        "td_error": stats[:, environ.ABS_ERROR] / steps,
    }


def counted(agents: environ.Agents) -> dict[str, Array]:
    """[N] how far each agent has come."""
    return {
        "env_steps": agents.steps.astype(np.float64),
        "episodes": agents.episode.astype(np.float64),
        "updates": agents.updates.astype(np.float64),
    }


def milestones(progress: Progress) -> dict[str, Array]:
    """[N] each, NaN for agents that are not there yet. `recovery_steps` only after a change."""
    found = {
        "first_optimal_step": progress.optimal_step.copy(),
        "first_optimal_episode": progress.optimal_episode.copy(),
        "regret": progress.regret.copy(),
    }
    if progress.changed_at[0]:
        found["recovery_steps"] = progress.recovery.copy()
    return found


def moves_away(mdps: Sequence[MDP]) -> Array:
    """[O] how many moves from the prize the farthest state is that looks like each observation.

    0 where no state that can be met and leads to the prize looks like it.
    """
    far = np.zeros(mdps[0].n_observations)
    for mdp in mdps:
        distance = distances(mdp)
        counted = np.isfinite(distance) & reachable(mdp)
        np.maximum.at(far, mdp.observation[counted], distance[counted])
    return far


def value_reach(values: Array, initial: float, away: Array) -> Array:
    """[N] how many moves away from the prize news of it has come: those to the farthest state whose
    value in `values` [N,O] is not `initial` any more; `away` [O] is of `moves_away`."""
    moved = np.abs(values - initial) > MOVED * max(1.0, abs(initial))
    reach: Array = (moved * away).max(axis=1)
    return reach
