"""What a policy says, cell by cell: learned tables, which are indexed by observation, on the map.

With keys or memory a cell has several states, of which one is shown.

Shapes: S states, C cells, O observations, A actions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Bools, Floats, Index
from engine.env.maze import RESTING, Maze
from engine.env.mdp import MDP, reachable
from engine.learning.events import Policy


@lru_cache(maxsize=8)
def met(mdp: MDP) -> Bools:
    """[S] the states an episode can be in before it ends."""
    return reachable(mdp)


def by_state(table: NDArray[Any], mdp: MDP, maze: Maze) -> Floats:
    """A table by observation [O, …] as one by state [S, …], NaN where no decision is made."""
    values = np.asarray(table, dtype=np.float64)[mdp.observation]
    values[~decided(maze, mdp)] = np.nan
    return values


def decided(maze: Maze, mdp: MDP) -> Bools:
    """[S] where there is something to decide, and the table a row for it."""
    tiles = maze.tiles
    decided = np.ones(mdp.n_states, dtype=bool)
    if tiles.size == mdp.n_cells:
        decided = ~np.isin(tiles, list(RESTING))[mdp.cell]
    # Cells that cannot be reached have rows of their own; windows and keys that never are, do not.
    return decided if mdp.n_states == mdp.n_cells and mdp.pattern is None else decided & met(mdp)


def shown_states(mdp: MDP, policy: Policy | None, agent: int) -> Index:
    """[C] the state to be shown of each cell when the agent is in state `agent` (or -1)."""
    cells = np.arange(mdp.n_cells)
    if mdp.n_states == mdp.n_cells:
        return cells
    visits = np.zeros(mdp.n_states)
    if policy is not None:
        visits = policy.visits.reshape(len(policy.visits), -1).sum(axis=1)[mdp.observation]
    fitting = met(mdp) & (mdp.held == (mdp.held[agent] if agent >= 0 else 0))
    score = np.where(fitting, visits, -1).reshape(-1, mdp.n_cells)  # a state is layer · C + cell
    layer = score.argmax(axis=0)
    shown = np.where(score[layer, cells] < 0, -1, layer * mdp.n_cells + cells)
    if agent >= 0:
        shown[mdp.cell[agent]] = agent
    return shown


def by_cell(table: Floats | None, shown: Index) -> Floats | None:
    """A table [S, …] as one by cell [C, …]; NaN where nothing is `shown`."""
    if table is None:
        return None
    of_cell: Floats = table[shown]
    of_cell[shown < 0] = np.nan
    return of_cell
