"""What the maze grid shows, as arrays by state: the layers, and the marks that move over them.

Learned tables are indexed by observation; here they are looked up for every state. No colours and
no characters: `maze_paint` turns a `Picture` into text.

Shapes: S states, O observations, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.events import Policy, Step
from engine.maze import Maze
from engine.mdp import MDP
from engine.solve import Solution

Floats = NDArray[np.float64]
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
    """The state the agent is in, or -1."""
    backup: bool = False
    """No agent moves: a sweep updates this state."""
    trail: dict[int, Move] = field(default_factory=dict)
    route: dict[int, int] = field(default_factory=dict)
    """The action of the optimal policy in each state of the optimal path."""

    def by_row(self, columns: int) -> dict[int, list[object]]:
        """What is marked in each row of cells, where there is anything."""
        rows: dict[int, list[object]] = {}
        for marks in (self.trail, self.route, {self.agent: self.backup}):
            for state, mark in marks.items():
                rows.setdefault(state // columns, []).append((state, mark))
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One moment of one layer: everything the painter needs."""

    maze: Maze
    layer: Layer
    tiles: tuple[str, ...]
    """[S] the character of each state on the map; ice where there is no map."""
    numbers: Floats | None
    """What is printed, [S] or [S, A]."""
    heat: Floats
    """Colour from -1 to 1, [S] or [S, A]; NaN for none."""
    best: NDArray[np.bool_] | None
    """[S, A] which actions are the best by `numbers`."""
    target: Floats | None
    behaviour: Floats | None
    optimal_values: Floats | None
    """[S] V*, when it is to be printed beside."""
    marks: Marks

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


def by_state(table: NDArray[Any], mdp: MDP, maze: Maze) -> Floats:
    """A table by observation [O, …] as one by state [S, …], NaN where no decision is made."""
    values = np.asarray(table, dtype=np.float64)[mdp.observation]
    tiles = maze.tiles
    if tiles.size == values.shape[0]:
        values[np.isin(tiles, ["H", "G", "#"])] = np.nan
    return values


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
    best = None if optimum is None else _optimal_values(optimum, maze)
    if layer.kind == "map" and best is not None:
        numbers = best
    heat = _heat(numbers, scale, best if layer.name == "state value" else None)
    if compare and best is not None and layer.name == "state value" and numbers is not None:
        heat = _heat(numbers - best, "signed", None)
    shows_policy = layer.kind == "policy" and policy is not None
    return Picture(
        maze=maze,
        layer=layer,
        tiles=tuple("".join(maze.rows)) or ("F",) * mdp.n_states,
        numbers=numbers,
        heat=np.full(mdp.n_states, np.nan) if heat is None else heat,
        best=_best(numbers),
        target=by_state(policy.target, mdp, maze) if policy and shows_policy else None,
        behaviour=by_state(policy.behaviour, mdp, maze) if policy and shows_policy else None,
        optimal_values=best if beside and layer.name == "state value" else None,
        marks=marks,
    )


def _optimal_values(optimum: Solution, maze: Maze) -> Floats:
    """V* [S], NaN where no decision is made and where no episode can come."""
    values = np.where(optimum.reachable, optimum.values, np.nan)
    if maze.tiles.size == values.size:
        values[np.isin(maze.tiles, ["H", "G", "#"])] = np.nan
    return values


def _best(numbers: Floats | None) -> NDArray[np.bool_] | None:
    if numbers is None or numbers.ndim != 2:
        return None
    top = numbers.max(axis=1, keepdims=True)
    best: NDArray[np.bool_] = np.isclose(numbers, top, rtol=1e-12, atol=0.0)
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

    With `optimum`, the states of the optimal `path` are marked with its actions.
    """
    route = {}
    if optimum is not None:
        route = {s: int(optimum.policy[s].argmax()) for s in path[:-1]}
    now = steps[-1] if steps else None
    if now is not None and now.kind == "backup":
        return Marks(agent=now.state, backup=True, route=route)
    real = [step for step in steps if step.kind == "real"]
    trail = {
        step.state: Move(step.action, step.explored, age)
        for age, step in reversed(list(enumerate(reversed(real[-TRAIL:]))))
    }
    agent = real[-1].next_state if real else int(mdp.start.argmax())
    return Marks(agent=agent, trail=trail, route=route)
