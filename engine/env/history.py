"""Memory: the last k observations become one, so states are what an agent may remember there.

The process an agent with a window of k observations meets is a Markov decision process over
(state, window) pairs (a finite-history controller: Singh, Jaakkola & Jordan 1994 for k = 1; Littman
1994; McCallum's fixed history windows, 1996, chapter 2). Only pairs that can come about exist.

A pair's number is `slot · C + cell`: the pairs of a cell take its slots in the order they are
found. So a state's cell is its number modulo C, and slot 0 holds the starts. Slots that a cell does
not need end in themselves.

Shapes: `s` states without memory, `S` with, `N` pairs, `A` actions, `K` branches, `C` cells.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Index, Ints
from engine.core.errors import UserError
from engine.env.mdp import MDP
from engine.env.observation import NOTHING
from engine.env.settings import MAX_OBSERVATIONS, MAX_STATES


def with_memory(mdp: MDP, codes: Ints, memory: int) -> tuple[MDP, Ints]:
    """The MDP [S] over pairs of a state and the last `memory` codes, and those codes [S, memory].

    `codes` [s] is what is seen in each state. Where the episode ends nothing more is remembered:
    there is one pair for each such state. The window goes on through a fall that leads back to the
    start. Raises UserError where that makes too many states or observations.
    """
    windows = _Windows(memory)
    pairs, onward = _explored(mdp, codes, windows)
    state = pairs % mdp.n_states
    number = _numbered(mdp.cell[state], mdp.n_cells)
    n_states = int(-(-(number.max() + 1) // mdp.n_cells) * mdp.n_cells)
    _refuse_above(n_states, MAX_STATES, memory, "states")

    cell = np.tile(np.arange(mdp.n_cells, dtype=np.int32), n_states // mdp.n_cells)
    source = cell.astype(np.int64)  # what an unused slot is a copy of, at rest
    source[number] = state
    used = np.zeros(n_states, dtype=bool)
    used[number] = True
    first = np.arange(mdp.n_branches) == 0
    idle = ~used[:, None, None]
    next_state = np.broadcast_to(
        np.arange(n_states, dtype=np.int32)[:, None, None], (n_states, *mdp.next_state.shape[1:])
    ).copy()
    next_state[number] = number[onward]
    starts = np.flatnonzero(mdp.start)
    start = np.zeros(n_states)
    start[number[: starts.size]] = mdp.start[starts]  # the pairs that are found first
    seen = np.full((n_states, memory), NOTHING, dtype=np.int32)
    seen[:, -1] = codes[source]
    seen[number] = windows.rows()[pairs // mdp.n_states]
    expanded = replace(
        mdp,
        next_state=next_state,
        probability=np.where(idle, first, mdp.probability[source]),
        reward=np.where(idle, 0.0, mdp.reward[source]),
        terminal=np.where(idle, first, mdp.terminal[source]),
        success=mdp.success[source] & ~idle,
        fall=mdp.fall[source] & ~idle,
        start=start,
        observation=np.zeros(n_states, dtype=np.int32),
        cell=cell,
        held=mdp.held[source],
    )
    return expanded, seen


class _Windows:
    """Numbers the windows of codes as they come up."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._number: dict[tuple[int, ...], int] = {}
        self._window: list[tuple[int, ...]] = []
        self._shifted: dict[tuple[int, int], int] = {}

    def of(self, window: tuple[int, ...]) -> int:
        """The number of a window."""
        if window not in self._number:
            _refuse_above(len(self._window) + 1, MAX_OBSERVATIONS, self.memory, "observations")
            self._number[window] = len(self._window)
            self._window.append(window)
        return self._number[window]

    def fresh(self, codes: NDArray[np.integer]) -> Index:
        """Windows [n] that hold one code each, and nothing before."""
        empty = (NOTHING,) * (self.memory - 1)
        distinct, which = np.unique(codes, return_inverse=True)
        numbers = np.array([self.of((*empty, code)) for code in distinct.tolist()], dtype=np.int64)
        return numbers[which]

    def shifted(self, windows: Index, codes: NDArray[np.integer]) -> Index:
        """The windows [n] after one more code each."""
        both = np.stack([windows, codes.astype(np.int64)])
        distinct, which = np.unique(both, axis=1, return_inverse=True)
        numbers = []
        for key in zip(*distinct.tolist(), strict=True):
            if key not in self._shifted:
                self._shifted[key] = self.of((*self._window[key[0]][1:], key[1]))
            numbers.append(self._shifted[key])
        return np.array(numbers, dtype=np.int64)[which.ravel()]

    def rows(self) -> Ints:
        """[windows, memory] all of them, the newest code last."""
        return np.array(self._window, dtype=np.int32)


def _explored(mdp: MDP, codes: Ints, windows: _Windows) -> tuple[Index, Index]:
    """The pairs [N] as `window · s + state`, the starts first, and where each branch leads [N,A,K].

    Breadth first. A branch that cannot come about leads back to its pair.
    """
    s = mdp.n_states
    starts = np.flatnonzero(mdp.start)
    frontier = windows.fresh(codes[starts]) * s + starts
    place = {pair: i for i, pair in enumerate(frontier.tolist())}
    levels, leads = [frontier], []
    while frontier.size:
        window, state = np.divmod(frontier, s)
        landing = mdp.next_state[state].astype(np.int64)  # [n, A, K]
        ends, possible = mdp.terminal[state], mdp.probability[state] > 0
        to = np.broadcast_to(frontier[:, None, None], landing.shape).copy()
        going = possible & ~ends
        before = np.broadcast_to(window[:, None, None], landing.shape)[going]
        to[going] = windows.shifted(before, codes[landing[going]]) * s + landing[going]
        over = possible & ends
        to[over] = windows.fresh(codes[landing[over]]) * s + landing[over]
        leads.append(to)
        new = [pair for pair in dict.fromkeys(np.unique(to).tolist()) if pair not in place]
        _refuse_above(len(place) + len(new), MAX_STATES, windows.memory, "states")
        place.update((pair, len(place) + i) for i, pair in enumerate(new))
        frontier = np.array(new, dtype=np.int64)
        levels.append(frontier)
    pairs = np.concatenate(levels)
    order = np.argsort(pairs)
    onward = np.concatenate(leads)
    return pairs, order[np.searchsorted(pairs[order], onward)]


def _numbered(cells: NDArray[np.integer], n_cells: int) -> Index:
    """[N] `slot · C + cell`: the pairs of a cell [N] take its slots in order."""
    order = np.argsort(cells, kind="stable")
    count = np.bincount(cells, minlength=n_cells)
    first = np.cumsum(count) - count
    slot = np.empty(cells.size, dtype=np.int64)
    slot[order] = np.arange(cells.size) - first[cells[order]]
    return slot * n_cells + cells


def _refuse_above(found: int, most: int, memory: int, what: str) -> None:
    if found > most:
        raise UserError(
            f"maze.memory = {memory} makes more than {most:,} {what} of this maze (each way to "
            "have come to a cell is one); remember less, or take a smaller maze, fewer keys or "
            "less slip."
        )
