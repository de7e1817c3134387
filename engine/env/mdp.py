"""A maze as plain arrays: what every learner, kernel and oracle works on.

`build_mdp` turns a `Maze` into an `MDP`. A transition has up to `K` branches; for the ice they are
the directions the slip can take, in the order left-of, along, right-of the chosen action, as in
Gymnasium's FrozenLake. Terminal cells (goals, holes that end the episode), walls and holes one only
passes through end in themselves for nothing, as FrozenLake's do.

A state is a cell, and which keys are held, and with `memory` what was seen last. It is numbered
`layer · C + cell`: without memory the layer is the mask of keys held (see `engine.env.maze`), with
memory see `engine.env.history`. So a state's cell is always its number modulo C, and without keys
and memory states are cells.

Shapes: `C` cells, `S` states, `A` actions, `K` branches, `O` observations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Bools, Floats, Ints


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process.

    Branch k of action a in state s comes about with `probability` (unused branches 0), pays
    `reward` and leads to `next_state`; `terminal` says that the episode ends there, `success` that
    it ends at the prize, `fall` that it went through a hole. `start` is the distribution of the
    first state. `observation` is what an agent sees in each state; after `max_steps` steps an
    episode is truncated, which is not termination.

    `cell` is where in the map a state is and `held` the mask of the keys that are held in it.
    `pattern` says what each observation is: the last codes of `engine.env.observation`, the newest
    last; None where an observation is just the number of a state.

    With potential-based shaping a learner is paid for differences of `potential` besides; no figure
    counts that.

    Each reward that is paid is normally distributed around `reward` with the standard deviation
    `noise`. What is expected of it does not depend on that, so no exact figure does.
    """

    next_state: Ints  # [S, A, K]
    probability: Floats  # [S, A, K]
    reward: Floats  # [S, A, K]
    terminal: Bools  # [S, A, K]
    success: Bools  # [S, A, K]
    fall: Bools  # [S, A, K]
    start: Floats  # [S]
    observation: Ints  # [S]
    n_observations: int
    max_steps: int
    cell: Ints  # [S]
    held: Ints  # [S]
    n_cells: int
    pattern: Ints | None = None  # [O, k]
    potential: Floats | None = None  # [S]
    noise: float = 0.0

    @property
    def n_states(self) -> int:
        return int(self.next_state.shape[0])

    @property
    def n_actions(self) -> int:
        return int(self.next_state.shape[1])

    @property
    def n_branches(self) -> int:
        return int(self.next_state.shape[2])


def reachable(mdp: MDP) -> Bools:
    """[S] states an episode can be in before it ends, under some policy."""
    reached: Bools = mdp.start > 0
    onward = (mdp.probability > 0) & ~mdp.terminal
    frontier: NDArray[np.integer] = np.flatnonzero(reached)
    while frontier.size:
        found = np.unique(mdp.next_state[frontier][onward[frontier]])
        frontier = found[~reached[found]]
        reached[frontier] = True
    return reached


def with_branches(mdp: MDP, n_branches: int) -> MDP:
    """The same MDP with room for `n_branches` branches: the new ones have probability 0."""
    more = n_branches - mdp.n_branches
    if more <= 0:
        return mdp
    own = np.arange(mdp.n_states, dtype=np.int32)[:, None, None]
    wide = [(0, 0), (0, 0), (0, more)]
    return replace(
        mdp,
        next_state=np.concatenate(
            [mdp.next_state, np.broadcast_to(own, (*mdp.next_state.shape[:2], more))], axis=2
        ),
        probability=np.pad(mdp.probability, wide),
        reward=np.pad(mdp.reward, wide),
        terminal=np.pad(mdp.terminal, wide),
        success=np.pad(mdp.success, wide),
        fall=np.pad(mdp.fall, wide),
    )
