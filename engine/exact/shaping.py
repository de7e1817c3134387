"""Potential-based shaping of an MDP (Ng, Harada & Russell 1999). Shapes: `S` states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.core.arrays import Floats
from engine.env.mdp import MDP, reachable
from engine.env.settings import Shaping
from engine.exact.solve import solve


def distances(mdp: MDP) -> Floats:
    """[S] the fewest moves from each state to success if the ice is kind; inf where none leads.

    Any branch that can come about counts as a way, except falls. Breadth-first from the prize.
    """
    possible = (mdp.probability > 0) & ~mdp.fall
    wins = possible & mdp.success
    onward = possible & ~mdp.terminal
    distance = np.full(mdp.n_states, np.inf)
    distance[wins.any(axis=(1, 2))] = 1.0
    moves = 1.0
    while True:
        near = (onward & (distance == moves)[mdp.next_state]).any(axis=(1, 2))
        found = near & np.isinf(distance)
        if not found.any():
            return distance
        moves += 1.0
        distance[found] = moves


def potential(mdp: MDP, shaping: Shaping, gamma: float) -> Floats:
    """Φ [S]: the larger, the closer to the prize; 0 where an episode ends or never comes.

    `distance`: 1 − (moves to the prize)/(moves from the farthest reachable state), so a state one
    move from the prize has nearly 1. `value`: V* at `gamma`. Both times `shaping.weight`.
    """
    if shaping.potential == "value":
        return shaping.weight * solve(mdp, gamma).values
    distance = distances(mdp)
    counted = np.isfinite(distance) & reachable(mdp)
    farthest = distance[counted].max(initial=1.0)
    return shaping.weight * np.where(counted, 1.0 - distance / farthest, 0.0)


def shaped(mdp: MDP, shaping: Shaping | None, gamma: float) -> MDP:
    """The MDP with `potential` filled in; its `reward` stays the true one."""
    if shaping is None:
        return mdp
    return replace(mdp, potential=potential(mdp, shaping, gamma))
