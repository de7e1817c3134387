"""What the maze grid shows, as arrays: the layers by state, and of them a picture by cell.

Learned tables are indexed by observation; here they are looked up for every state. With keys or
memory a cell has several states, of which the picture shows one: that of the agent in its own cell,
else the most visited one with the keys that the agent holds. No colours and no characters:
`maze_paint` turns a `Picture` into text.

Shapes: S states, C cells, O observations, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.core.arrays import Bools, Floats, Index
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.exact.solve import Solution
from engine.learning.by_cell import by_cell, by_state, decided, shown_states
from engine.learning.events import Policy, Step

Kind = Literal["map", "state", "actions", "policy"]

TRAIL = 14
"""How many of the newest moves leave a mark."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One thing the grid can show."""

    name: str
    symbol: str
    term: str
    kind: Kind
    meaning: str
    """How to read the colours, for the legend."""
    table: Floats | None = None
    """[S] or [S, A]; NaN where there is nothing to show; None when it is not known (yet)."""
    scale: Literal["signed", "count", "share"] = "signed"

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest number; NaN twice when there is none."""
        if self.table is None or np.isnan(self.table).all():
            return float("nan"), float("nan")
        return float(np.nanmin(self.table)), float(np.nanmax(self.table))


@dataclass(frozen=True, slots=True)
class Move:
    """A move of the current episode that left a mark on the cell it started from."""

    action: int
    explored: bool
    age: int
    """0 is the newest."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What lies on top of a layer."""

    agent: int = -1
    """The cell the agent is in, or -1."""
    state: int = -1
    """The state it is in there, or -1."""
    backup: bool = False
    """No agent moves: a sweep updates this state."""
    trail: dict[int, Move] = field(default_factory=dict)
    """By cell."""
    route: dict[int, int] = field(default_factory=dict)
    """The action of the optimal policy in each cell of the optimal path."""

    def by_row(self, columns: int) -> dict[int, list[object]]:
        """What is marked in each row of cells, where there is anything."""
        rows: dict[int, list[object]] = {}
        for marks in (self.trail, self.route, {self.agent: self.backup}):
            for cell, mark in marks.items():
                rows.setdefault(cell // columns, []).append((cell, mark))
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One moment of one layer: everything the painter needs."""

    maze: Maze
    layer: Layer
    tiles: tuple[str, ...]
    """[C] the character of each cell, with the keys that are held taken; ice without a map."""
    numbers: Floats | None
    """What is printed, [C] or [C, A]."""
    heat: Floats
    """Colour from -1 to 1, [C] or [C, A]; NaN for none."""
    best: Bools | None
    """[C, A] which actions are the best by `numbers`."""
    target: Floats | None
    behaviour: Floats | None
    optimal_values: Floats | None
    """[C] V*, when it is to be printed beside."""
    marks: Marks
    shown: Index
    """[C] the state that is shown of each cell, -1 where there is none with these keys."""
    held: int = 0
    """Mask of the keys that are held."""

    def signatures(self) -> list[tuple[object, ...]]:
        """One for each row of cells: equal ones mean that the rows look the same."""
        rows, columns = self.maze.shape
        tables = (self.numbers, self.heat, self.target, self.behaviour, self.optimal_values)
        rounded = [np.round(table, 4) for table in tables if table is not None]
        marks = self.marks.by_row(columns)
        return [
            (
                self.layer.name,
                self.tiles[cut],
                tuple(table[cut].tobytes() for table in rounded),
                tuple(marks.get(row, ())),
            )
            for row in range(rows)
            for cut in [slice(row * columns, (row + 1) * columns)]
        ]


def layers(maze: Maze, mdp: MDP, policy: Policy | None) -> list[Layer]:
    """The layers in the order of their digits; what the method learns besides comes last."""

    def table(values: NDArray[Any] | None) -> Floats | None:
        return None if values is None else by_state(values, mdp, maze)

    v = q = visits = target = advantage = None
    how = "Q − V: 0 is best"
    extra: dict[str, NDArray[Any]] = {}
    if policy is not None:
        v, q, target = table(policy.values), table(policy.q), table(policy.target)
        visits = table(policy.visits.sum(axis=1) if policy.visits.ndim == 2 else policy.visits)
        extra = dict(policy.layers)
        if v is not None and q is not None:
            advantage = q - v[:, None]
        elif "advantage" in extra:
            advantage, how = table(extra.pop("advantage")), "newest advantage of each move"
    known = [
        Layer("map", "", "environment", "map", ""),
        Layer("state value", "V(s)", "state-value", "state", "return expected from here", v),
        Layer("action values", "Q(s,a)", "action-value", "actions", "return expected after a", q),
        Layer("policy", "π(a|s)", "policy", "policy", "", target, "share"),
        Layer("visits", "N(s)", "visits", "state", "updates made here", visits, "count"),
        Layer("advantage", "A(s,a)", "advantage", "actions", how, advantage),
    ]
    for name, values in extra.items():
        kind: Kind = "actions" if values.ndim == 2 else "state"
        known.append(Layer(name, "", _slug(name), kind, "", table(values)))
    return known


def _slug(name: str) -> str:
    return name.strip().lower().replace(" ", "-").replace("_", "-")


def picture(
    layer: Layer,
    maze: Maze,
    policy: Policy | None,
    mdp: MDP,
    optimum: Solution | None,
    marks: Marks,
    *,
    beside: bool,
    compare: bool,
) -> Picture:
    """The layer as arrays. With `optimum`, V* is printed `beside` V, or V - V* is the colour.

    On the map layer the optimum's values are shown themselves.
    """
    numbers, scale = layer.table, layer.scale
    best = None if optimum is None else _optimal_values(optimum, mdp, maze)
    if layer.kind == "map" and best is not None:
        numbers = best
    heat = _heat(numbers, scale, best if layer.name == "state value" else None)
    if compare and best is not None and layer.name == "state value" and numbers is not None:
        heat = _heat(numbers - best, "signed", None)
    shows_policy = layer.kind == "policy" and policy is not None
    shown = shown_states(mdp, policy, marks.state)
    held = int(mdp.held[marks.state]) if marks.state >= 0 else 0
    numbers, coloured = by_cell(numbers, shown), by_cell(heat, shown)

    def chances(table: NDArray[Any]) -> Floats | None:
        return by_cell(by_state(table, mdp, maze), shown)

    return Picture(
        maze=maze,
        layer=layer,
        tiles=tuple(maze.tiles_with(held).tolist()) or ("F",) * mdp.n_cells,
        numbers=numbers,
        heat=np.full(mdp.n_cells, np.nan) if coloured is None else coloured,
        best=_best(numbers),
        target=chances(policy.target) if policy and shows_policy else None,
        behaviour=chances(policy.behaviour) if policy and shows_policy else None,
        optimal_values=by_cell(best, shown) if beside and layer.name == "state value" else None,
        marks=marks,
        shown=shown,
        held=held,
    )


def _optimal_values(optimum: Solution, mdp: MDP, maze: Maze) -> Floats:
    """V* [S], NaN where no decision is made and where no episode can come."""
    known = optimum.reachable & decided(maze, mdp)
    return np.where(known, optimum.values, np.nan)


def _best(numbers: Floats | None) -> Bools | None:
    if numbers is None or numbers.ndim != 2:
        return None
    top = numbers.max(axis=1, keepdims=True)
    best: Bools = np.isclose(numbers, top, rtol=1e-12, atol=0.0)
    return best


def _heat(numbers: Floats | None, scale: str, also: Floats | None) -> Floats | None:
    """Colour [-1, 1]; the scale covers `also`, so that V's colours grow towards V*'s."""
    if numbers is None:
        return None
    if scale == "share":
        return numbers
    if scale == "count":
        numbers, also = np.log1p(np.maximum(numbers, 0.0)), None
    sizes = [np.abs(t[np.isfinite(t)]).max(initial=0.0) for t in (numbers, also) if t is not None]
    largest = max(sizes)
    if largest == 0:
        return np.where(np.isnan(numbers), np.nan, 0.0)
    # A root, because small values would else look like none.
    heat: Floats = np.sign(numbers) * (np.abs(numbers) / largest) ** 0.7
    return heat


def marks_of(
    steps: Sequence[Step], mdp: MDP, optimum: Solution | None, path: Sequence[int]
) -> Marks:
    """Where the agent is and what it did lately: `steps` of one episode, oldest first.

    With `optimum`, the cells of the optimal `path` are marked with its actions: those of its states
    in which the keys are held that the agent holds.
    """
    now = steps[-1] if steps else None
    backup = now is not None and now.kind == "backup"
    real = [step for step in steps if step.kind == "real"]
    state = int(mdp.start.argmax())
    if backup and now is not None:
        state = now.state
    elif real:
        state = real[-1].next_state
    route = {}
    if optimum is not None:
        held = mdp.held[state]
        fitting = [s for s in path[:-1] if mdp.held[s] == held]
        route = {int(mdp.cell[s]): int(optimum.policy[s].argmax()) for s in fitting}
    trail = {
        int(mdp.cell[step.state]): Move(step.action, step.explored, age)
        for age, step in reversed(list(enumerate(reversed(real[-TRAIL:]))))
    }
    return Marks(
        agent=int(mdp.cell[state]),
        state=state,
        backup=backup,
        trail={} if backup else trail,
        route=route,
    )
