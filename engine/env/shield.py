"""The shield: moves that would fall too likely are replaced by the safest move there.

Pure functions from an MDP's arrays to those of the MDP with the shield. Shapes: `S` states,
`A` actions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.core.arrays import Bools, Floats
from engine.env.mdp import MDP
from engine.env.settings import Shield

ROUNDING = 1e-12
"""Chances of falling are sums of products: so far apart they still count as equal."""


def fall_chance(mdp: MDP) -> Floats:
    """P(fall | s, a) [S, A]."""
    chance: Floats = (mdp.probability * mdp.fall).sum(axis=2)
    return chance


def vetoed(mdp: MDP, max_fall: float) -> Bools:
    """[S, A] the moves a shield replaces: riskier than `max_fall` and than the safest move there.

    `mdp` is the one without the shield; where all moves are equally risky none is replaced.
    """
    chance = fall_chance(mdp)
    least = chance.min(axis=1, keepdims=True)
    risky: Bools = (chance > max_fall + ROUNDING) & (chance > least + ROUNDING)
    return risky


def shielded(mdp: MDP, max_fall: float) -> MDP:
    """The MDP in which every vetoed move does what the safest move there does.

    Of equally safe moves the lowest number counts.
    """
    veto = vetoed(mdp, max_fall)
    chance = fall_chance(mdp)
    safest = (chance <= chance.min(axis=1, keepdims=True) + ROUNDING).argmax(axis=1)
    done = np.where(veto, safest[:, None], np.arange(mdp.n_actions))  # [S, A] what is really done
    state = np.arange(mdp.n_states)[:, None]
    return replace(
        mdp,
        next_state=mdp.next_state[state, done],
        probability=mdp.probability[state, done],
        reward=mdp.reward[state, done],
        terminal=mdp.terminal[state, done],
        success=mdp.success[state, done],
        fall=mdp.fall[state, done],
    )


def guarded(mdp: MDP, shield: Shield | None) -> MDP:
    """The MDP with the shield, if there is one."""
    return mdp if shield is None else shielded(mdp, shield.max_fall)
