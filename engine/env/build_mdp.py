"""From a maze to the MDP that every learner, kernel and oracle works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Bools, Floats, Ints
from engine.env.gymnasium_table import read_table
from engine.env.history import with_memory
from engine.env.maze import ACTION_NAMES, RESTING, Maze, keyed_landings
from engine.env.mdp import MDP, reachable, with_branches
from engine.env.observation import code_in_words, codes, in_words
from engine.env.shield import guarded, vetoed


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
        noise=table.noise,
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


def vetoed_moves(maze: Maze, mdp: MDP) -> Bools:
    """[S, A] the moves that the shield of `maze` replaces in its `mdp`, with memory or without."""
    if maze.shield is None:
        return np.zeros((mdp.n_states, mdp.n_actions), dtype=np.bool_)

    bare = msgspec.structs.replace(maze, shield=None, memory=1, observation="cell")
    veto = vetoed(build_mdp(bare), maze.shield.max_fall)
    seen: Bools = veto[mdp.held * mdp.n_cells + mdp.cell]
    return seen
