"""A maze as plain arrays: what every learner, kernel and oracle works on.

`build_mdp` turns a `Maze` into an `MDP`. A transition has up to `K` branches; for the ice they are
the directions the slip can take, in the order left-of, along, right-of the chosen action, as in
Gymnasium's FrozenLake. Terminal cells (goals, holes that end the episode), walls and holes one only
passes through end in themselves for nothing, as FrozenLake's do.

A state is a cell, and which keys are held, and with `memory` what was seen last. It is numbered
`layer · C + cell`: without memory the layer is the mask of keys held (see `engine.maze_map`), with
memory see `engine.remembering`. So a state's cell is always its number modulo C, and without keys
and memory states are cells.

Shapes: `C` cells, `S` states, `A` actions, `K` branches, `O` observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.gymnasium_table import read_table
from engine.maze import ACTION_NAMES, RESTING, Maze, keyed_landings
from engine.maze_rules import guarded
from engine.observations import code_in_words, codes, in_words
from engine.remembering import with_memory

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process.

    Branch k of action a in state s comes about with `probability` (unused branches 0), pays
    `reward` and leads to `next_state`; `terminal` says that the episode ends there, `success` that
    it ends at the prize, `fall` that it went through a hole. `start` is the distribution of the
    first state. `observation` is what an agent sees in each state; after `max_steps` steps an
    episode is truncated, which is not termination.

    `cell` is where in the map a state is and `held` the mask of the keys that are held in it.
    `pattern` says what each observation is: the last codes of `engine.observations`, the newest
    last; None where an observation is just the number of a state.

    With potential-based shaping a learner is paid for differences of `potential` besides; no figure
    counts that.
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
    """The arrays of one maze. Raises UserError where a Gymnasium env cannot be made here, or where
    memory makes too many states."""
    return build_mdps([maze])[0]


def build_mdps(mazes: Sequence[Maze]) -> list[MDP]:
    """The arrays of several worlds of one run: equally many states, branches and observations.

    An observation means the same in every world. With `observation = "cell"` it is the state's
    number. Otherwise what can occur in the first world is numbered first, then what is new in the
    second, and so on: further worlds add numbers and change none.
    """
    unnumbered = [_unnumbered(maze) for maze in mazes]
    n_branches = max(mdp.n_branches for mdp, _ in unnumbered)
    mdps = [with_branches(mdp, n_branches) for mdp, _ in unnumbered]
    seen = [patterns for _, patterns in unnumbered if patterns is not None]
    if len(seen) == len(mdps):
        mdps = _numbered(mdps, seen)
    n_states = max(mdp.n_states for mdp in mdps)
    n_observations = max(mdp.n_observations for mdp in mdps)
    return [replace(_with_states(mdp, n_states), n_observations=n_observations) for mdp in mdps]


def _unnumbered(maze: Maze) -> tuple[MDP, Ints | None]:
    """The arrays of one maze and the codes [S, k] seen in its states, which `observation` does not
    number yet; None where it does."""
    if maze.gymnasium is not None:
        return _from_gymnasium(maze), None
    if maze.memory > 1:
        return _remembering(msgspec.json.encode(maze))
    mdp = _from_map(maze)
    return mdp, None if maze.observation == "cell" else codes(maze)[:, None]


@lru_cache(maxsize=8)
def _remembering(encoded: bytes) -> tuple[MDP, Ints]:
    """`_unnumbered` of an encoded maze with memory; to find its states takes time."""
    maze = msgspec.json.decode(encoded, type=Maze)
    return with_memory(_from_map(maze), codes(maze), maze.memory)


def _numbered(mdps: Sequence[MDP], seen: Sequence[Ints]) -> list[MDP]:
    """The MDPs with their observations numbered, from the patterns [S, k] seen in each.

    States that cannot occur have the number of what would be seen there, or 0 where that never is.
    """
    number: dict[bytes, int] = {}
    found = []
    for mdp, patterns in zip(mdps, seen, strict=True):
        occurring = np.unique(patterns[_occurring(mdp)], axis=0)
        for row in occurring:
            number.setdefault(row.tobytes(), len(number))
        distinct, which = np.unique(patterns, axis=0, return_inverse=True)
        numbers = np.array([number.get(row.tobytes(), 0) for row in distinct], dtype=np.int32)
        found.append(numbers[which.ravel()])
    pattern = np.array([np.frombuffer(row, np.int32) for row in number])
    return [
        replace(mdp, observation=observation, n_observations=len(pattern), pattern=pattern)
        for mdp, observation in zip(mdps, found, strict=True)
    ]


def _occurring(mdp: MDP) -> Bools:
    """[S] the states an episode can be in, also those in which it ends."""
    met = reachable(mdp)
    ends = (mdp.probability > 0) & mdp.terminal & met[:, None, None]
    met[mdp.next_state[ends]] = True
    return met


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


def _with_states(mdp: MDP, n_states: int) -> MDP:
    """The same MDP with room for `n_states` states: the new ones end in themselves."""
    more = n_states - mdp.n_states
    if more <= 0:
        return mdp
    new = np.arange(mdp.n_states, n_states, dtype=np.int32)
    wide = ((0, more), (0, 0), (0, 0))
    certain = np.broadcast_to(np.arange(mdp.n_branches) == 0, (more, *mdp.next_state.shape[1:]))
    itself = np.broadcast_to(new[:, None, None], certain.shape)
    # Of observations that are numbers of states the new ones have their own.
    observation = new if mdp.pattern is None else np.zeros(more, dtype=np.int32)
    return replace(
        mdp,
        next_state=np.concatenate([mdp.next_state, itself]),
        probability=np.concatenate([mdp.probability, certain.astype(np.float64)]),
        reward=np.pad(mdp.reward, wide),
        terminal=np.concatenate([mdp.terminal, certain]),
        success=np.pad(mdp.success, wide),
        fall=np.pad(mdp.fall, wide),
        start=np.pad(mdp.start, (0, more)),
        observation=np.concatenate([mdp.observation, observation]),
        cell=np.concatenate([mdp.cell, (new % mdp.n_cells).astype(np.int32)]),
        held=np.pad(mdp.held, (0, more)),
    )


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

    With memory the newest comes first: `…; before: …`. Rows and columns count from 1. Raises
    IndexError for a number that is no observation.
    """
    if not 0 <= observation < mdp.n_observations:
        raise IndexError(f"observation {observation} is not below {mdp.n_observations}")
    if mdp.pattern is None:
        return code_in_words(maze, observation)
    return in_words(maze, mdp.pattern[observation])


def _from_gymnasium(maze: Maze) -> MDP:
    assert maze.gymnasium is not None
    table = read_table(maze.gymnasium, maze.kwargs, maze.success)
    states = np.arange(table.start.size, dtype=np.int32)
    mdp = MDP(
        next_state=table.next_state,
        probability=table.probability,
        reward=table.reward,
        terminal=table.terminal,
        success=table.success,
        fall=table.fall,
        start=table.start,
        observation=states,
        n_observations=states.size,
        max_steps=maze.max_steps,
        cell=states,
        held=np.zeros_like(states),
        n_cells=states.size,
    )
    return guarded(mdp, maze.shield)


def _from_map(maze: Maze) -> MDP:
    """States are cells and keys held; observations are states."""
    cells = maze.n_cells
    state = np.arange(maze.n_states, dtype=np.int32)
    held, cell = np.divmod(state, cells)
    tiles = maze.tiles
    landing, bumped = keyed_landings(maze)  # [S, D]
    directions, chance = _slippery(maze.slip)  # [A, K], [K]
    landed = tiles[landing % cells]
    pay = maze.rewards
    paid = (
        pay.step
        + pay.goal * (landed == "G")
        + pay.lesser * (landed == "g")
        + pay.hole * (landed == "H")
        + pay.bump * bumped
        + pay.bonus * (landed == "B")
        + pay.key * (landing // cells != held[:, None])
    )
    next_state = landing[:, directions]  # [S, A, K]
    there = tiles[next_state % cells]
    arrived, fell = there == "G", there == "H"
    mdp = MDP(
        next_state=next_state.astype(np.int32),
        probability=np.broadcast_to(chance, next_state.shape).copy(),
        reward=paid[:, directions],
        terminal=arrived | fell | (there == "g"),
        success=arrived,
        fall=fell,
        start=((tiles[cell] == "S") & (held == 0)) / (tiles == "S").sum(),
        observation=state,
        n_observations=state.size,
        max_steps=maze.max_steps,
        cell=cell,
        held=held,
        n_cells=cells,
    )
    if maze.fall == "restart" and fell.any():
        mdp = _restarting(mdp)
    resting = np.isin(tiles, list(RESTING))[cell] | _impossible(maze, held, cell)
    return guarded(_at_rest(mdp, resting), maze.shield)


def _impossible(maze: Maze, held: Ints, cell: Ints) -> Bools:
    """[S] the states in a door that is shut, or on a key that was not taken."""
    keys = np.zeros(maze.n_cells, dtype=np.int64)
    keys[list(maze.key_cells)] = 1 << np.arange(maze.n_keys)
    shut: Bools = (maze.tiles == "D")[cell] & (held != (1 << maze.n_keys) - 1)
    untaken: Bools = (keys[cell] & ~held) != 0
    return shut | untaken


def _slippery(slip: float) -> tuple[NDArray[np.int64], Floats]:
    """Directions [A, K] each action can turn into, and their chances [K]."""
    action = np.arange(len(ACTION_NAMES))[:, None]
    if slip == 0:
        return action, np.ones(1)
    return (action + np.array([-1, 0, 1])) % len(ACTION_NAMES), np.array(
        [slip / 2, 1 - slip, slip / 2]
    )


def _restarting(mdp: MDP) -> MDP:
    """Falls lead back to the start, keys in hand: with several starts, one branch for each."""
    starts = np.flatnonzero(mdp.start).astype(np.int32)
    m = starts.size
    shape = (mdp.n_states, mdp.n_actions, mdp.n_branches, m)
    flat = (mdp.n_states, mdp.n_actions, mdp.n_branches * m)
    first = np.arange(m) == 0
    fall = np.broadcast_to(mdp.fall[..., None], shape)
    restart = starts + (mdp.next_state // mdp.n_cells * mdp.n_cells)[..., None]  # [S, A, K, m]
    used = fall | first
    own = np.arange(mdp.n_states, dtype=np.int32)[:, None, None, None]
    split = np.where(fall, mdp.start[starts], first)  # a branch's share of its probability

    def spread(branch: Bools) -> Bools:
        wide: Bools = branch[..., None] & used
        return wide.reshape(flat)

    return replace(
        mdp,
        next_state=np.where(fall, restart, np.where(used, mdp.next_state[..., None], own)).reshape(
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
