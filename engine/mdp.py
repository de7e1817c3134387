"""A maze as plain arrays: what every learner, kernel and oracle works on.

`build_mdp` turns a `Maze` into an `MDP`. A transition has up to `K` branches; for the ice they are
the directions the slip can take, in the order left-of, along, right-of the chosen action, as in
Gymnasium's FrozenLake. Terminal cells (goals, holes that end the episode), walls and holes one only
passes through end in themselves for nothing, as FrozenLake's do.

Shapes: `S` states, `A` actions, `K` branches, `O` observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.gymnasium_table import read_table
from engine.maze import ACTION_NAMES, Maze, landings

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]

SIGHTS = ("ice", "hole", "prize", "wall", "bonus")  # digits of a neighbourhood's number
SIGHT_OF_TILE = {"S": 0, "F": 0, "H": 1, "G": 2, "#": 3, "B": 4}
PLACES = ("left", "below", "right", "above")  # digit places, in the order of the actions
N_NEIGHBOURHOODS = len(SIGHTS) ** len(PLACES)


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process.

    Branch k of action a in state s comes about with `probability` (unused branches 0), pays
    `reward` and leads to `next_state`; `terminal` says that the episode ends there, `success` that
    it ends at the prize, `fall` that it went through a hole. `start` is the distribution of the
    first state. `observation` is what an agent sees in each state; after `max_steps` steps an
    episode is truncated, which is not termination.
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

    @property
    def n_states(self) -> int:
        return int(self.next_state.shape[0])

    @property
    def n_actions(self) -> int:
        return int(self.next_state.shape[1])

    @property
    def n_branches(self) -> int:
        return int(self.next_state.shape[2])


def build_mdp(maze: Maze) -> MDP:
    """The arrays of one maze. Raises UserError where a Gymnasium env cannot be made here."""
    if maze.gymnasium is None:
        return _from_map(maze)
    table = read_table(maze.gymnasium, maze.kwargs, maze.success)
    return MDP(
        next_state=table.next_state,
        probability=table.probability,
        reward=table.reward,
        terminal=table.terminal,
        success=table.success,
        fall=table.fall,
        start=table.start,
        observation=np.arange(table.start.size, dtype=np.int32),
        n_observations=table.start.size,
        max_steps=maze.max_steps,
    )


def build_mdps(mazes: Sequence[Maze]) -> list[MDP]:
    """The arrays of several worlds of one run: equally many branches and observations.

    An observation means the same in every world: a cell's number, or a neighbourhood's pattern.
    """
    mdps = [build_mdp(maze) for maze in mazes]
    n_branches = max(mdp.n_branches for mdp in mdps)
    n_observations = max(mdp.n_observations for mdp in mdps)
    return [replace(with_branches(mdp, n_branches), n_observations=n_observations) for mdp in mdps]


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


def observation_text(maze: Maze, mdp: MDP, observation: int) -> str:
    """An observation in words: `row 1, column 3`, or `ice left, hole below, wall right, ice above`.

    Rows and columns count from 1. Raises IndexError for a number that is no observation.
    """
    if not 0 <= observation < mdp.n_observations:
        raise IndexError(f"observation {observation} is not below {mdp.n_observations}")
    if maze.observation == "neighbourhood":
        digits = np.unravel_index(observation, (len(SIGHTS),) * len(PLACES))
        return ", ".join(f"{SIGHTS[d]} {place}" for d, place in zip(digits, PLACES, strict=True))
    if not maze.rows:
        return f"state {observation}"
    row, column = maze.cell(observation)
    return f"row {row + 1}, column {column + 1}"


def _from_map(maze: Maze) -> MDP:
    tiles = maze.tiles
    landing, bumped = landings(maze)  # [S, D]
    directions, chance = _slippery(maze.slip)  # [A, K], [K]
    landed = tiles[landing]
    pay = maze.rewards
    paid = (
        pay.step
        + pay.goal * (landed == "G")
        + pay.hole * (landed == "H")
        + pay.bump * bumped
        + pay.bonus * (landed == "B")
    )
    next_state = landing[:, directions]  # [S, A, K]
    arrived, fell = tiles[next_state] == "G", tiles[next_state] == "H"
    mdp = MDP(
        next_state=next_state.astype(np.int32),
        probability=np.broadcast_to(chance, next_state.shape).copy(),
        reward=paid[:, directions],
        terminal=arrived | fell,
        success=arrived,
        fall=fell,
        start=(tiles == "S") / (tiles == "S").sum(),
        observation=_observations(maze),
        n_observations=N_NEIGHBOURHOODS if maze.observation == "neighbourhood" else tiles.size,
        max_steps=maze.max_steps,
    )
    if maze.fall == "restart" and fell.any():
        mdp = _restarting(mdp)
    return _at_rest(mdp, np.isin(tiles, ["G", "H", "#"]))


def _slippery(slip: float) -> tuple[NDArray[np.int64], Floats]:
    """Directions [A, K] each action can turn into, and their chances [K]."""
    action = np.arange(len(ACTION_NAMES))[:, None]
    if slip == 0:
        return action, np.ones(1)
    return (action + np.array([-1, 0, 1])) % len(ACTION_NAMES), np.array(
        [slip / 2, 1 - slip, slip / 2]
    )


def _restarting(mdp: MDP) -> MDP:
    """Falls lead back to the start: with several starts, one branch for each."""
    starts = np.flatnonzero(mdp.start).astype(np.int32)
    m = starts.size
    shape = (mdp.n_states, mdp.n_actions, mdp.n_branches, m)
    flat = (mdp.n_states, mdp.n_actions, mdp.n_branches * m)
    first = np.arange(m) == 0
    fall = np.broadcast_to(mdp.fall[..., None], shape)
    used = fall | first
    own = np.arange(mdp.n_states, dtype=np.int32)[:, None, None, None]
    split = np.where(fall, mdp.start[starts], first)  # a branch's share of its probability

    def spread(branch: Bools) -> Bools:
        wide: Bools = branch[..., None] & used
        return wide.reshape(flat)

    return replace(
        mdp,
        next_state=np.where(fall, starts, np.where(used, mdp.next_state[..., None], own)).reshape(
            flat
        ),
        probability=(mdp.probability[..., None] * split).reshape(flat),
        reward=np.where(used, mdp.reward[..., None], 0.0).reshape(flat),
        terminal=spread(mdp.terminal & ~mdp.fall),
        success=spread(mdp.success),
        fall=spread(mdp.fall),
    )


def _at_rest(mdp: MDP, cells: Bools) -> MDP:
    """`cells` [S] end in themselves for nothing, whatever the action."""
    here = cells[:, None, None]
    certain = np.arange(mdp.n_branches) == 0
    own = np.arange(mdp.n_states, dtype=np.int32)[:, None, None]
    return replace(
        mdp,
        next_state=np.where(here, own, mdp.next_state),
        probability=np.where(here, certain, mdp.probability),
        reward=np.where(here, 0.0, mdp.reward),
        terminal=np.where(here, certain, mdp.terminal),
        success=mdp.success & ~here,
        fall=mdp.fall & ~here,
    )


def _observations(maze: Maze) -> Ints:
    """[S] what is seen in each cell. The edge of the map looks like a wall."""
    height, width = maze.shape
    if maze.observation == "cell":
        return np.arange(height * width, dtype=np.int32)
    sight = np.array([SIGHT_OF_TILE[tile] for tile in maze.tiles]).reshape(height, width)
    around = np.pad(sight, 1, constant_values=SIGHT_OF_TILE["#"])
    digits = (around[1:-1, :-2], around[2:, 1:-1], around[1:-1, 2:], around[:-2, 1:-1])
    number = np.ravel_multi_index(digits, (len(SIGHTS),) * len(PLACES))
    return number.ravel().astype(np.int32)
