"""Numbers, cells and actions in words, and what the live values ask of a snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.env.observation import held_in_words
from engine.learning.events import Step
from tui.ui.text import NOISE

if TYPE_CHECKING:
    from engine.core.arrays import Floats
    from tui.model.snapshot import Snapshot

Value = Callable[["Snapshot"], str | None]
LONGEST_WAY = 12
"""Cells of a way that are written out before it is cut."""


def number(value: float) -> str:
    """Four significant digits; counts in full: `0.9510`, `12,000`."""
    if math.isnan(value):
        return "not known"
    if abs(value) < NOISE:
        return "0"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def share(part: int, whole: int) -> str:
    """`12 of 100 (12 %)`."""
    return f"{part:,} of {whole:,} ({part / whole:.0%})" if whole else "none so far"


def plural(count: int, noun: str) -> str:
    """`1 hole`, `4 holes`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def place(snapshot: Snapshot, state: int) -> str:
    """A state with where it is: `6 = row 2, column 3`, counted from 1 as everywhere on screen."""
    maze = snapshot.world.maze
    if not maze.rows:
        return f"{state} (of {maze.n_states})"
    row, column = maze.cell(state)
    held = f", {held_in_words(maze, int(snapshot.mdp.held[state]))}" if maze.n_keys else ""
    return f"{state} = row {row + 1}, column {column + 1}{held}"


def cells(snapshot: Snapshot, states: Iterable[int]) -> str:
    """The cells of states: `15 = row 4, column 4`; or, when there are several, only how many and
    their numbers."""
    numbers = sorted({int(snapshot.mdp.cell[state]) for state in states})
    maze = snapshot.world.maze
    if len(numbers) == 1 and maze.rows:
        row, column = maze.cell(numbers[0])
        return f"{numbers[0]} = row {row + 1}, column {column + 1}"
    if len(numbers) == 1:
        return place(snapshot, numbers[0])
    some = ", ".join(map(str, numbers[:LONGEST_WAY]))
    return f"{len(numbers)} cells: {some}{', …' if len(numbers) > LONGEST_WAY else ''}"


def action(snapshot: Snapshot, number_: int) -> str:
    """`right →`."""
    maze = snapshot.world.maze
    return f"{maze.actions[number_]} {maze.arrows[number_]}"


def per_action(snapshot: Snapshot, values: Iterable[float]) -> str:
    """`left 0.1, down 0.85, right 0, up 0.2`."""
    names = snapshot.world.maze.actions
    return ", ".join(
        f"{name} {number(float(value))}" for name, value in zip(names, values, strict=True)
    )


def real_step(snapshot: Snapshot) -> Step | None:
    """The step shown as now, if the agent really moved (and did not just compute)."""
    step = snapshot.step
    return step if step is not None and step.kind == "real" else None


def real_steps(snapshot: Snapshot) -> list[Step]:
    """The moves on the screen, oldest first."""
    return [step for step in snapshot.steps if step.kind == "real"]


def shown_state(snapshot: Snapshot) -> int:
    """The state that is shown as now; before the first step a start cell."""
    if snapshot.step is not None:
        return snapshot.step.state
    return int(np.argmax(snapshot.mdp.start))


def shown_observation(snapshot: Snapshot) -> int:
    """What the agent sees in that state."""
    return int(snapshot.mdp.observation[shown_state(snapshot)])


def latest(snapshot: Snapshot, metric: str) -> float | None:
    """The newest value of a curve up to the moment shown, if it has any."""
    curve = snapshot.curves.get(metric)
    if curve is None:
        return None
    means = curve.mean[: past_points(snapshot, curve.x)]
    known = means[~np.isnan(means)]
    return float(known[-1]) if known.size else None


def past_points(snapshot: Snapshot, x: Floats) -> int:
    """How many points of a curve at steps `x` [points] are not after the moment shown."""
    return len(x) if snapshot.following else int(np.searchsorted(x, snapshot.at, side="right"))


def figure(snapshot: Snapshot, name: str) -> str | None:
    """An exact figure with its band: `0.74 (agents: 0.62 to 0.82)`."""
    if snapshot.evaluation is None or name not in snapshot.evaluation.figures:
        return None
    metric = snapshot.evaluation.figures[name]
    if metric.n < 2 or metric.low == metric.high:
        return number(metric.mean)
    return f"{number(metric.mean)} (agents: {number(metric.low)} to {number(metric.high)})"


@dataclass(frozen=True, slots=True)
class Finished:
    """The newest finished episode that can be seen."""

    index: int
    total_return: float
    score: float
    length: int
    success: bool


def last_episode(snapshot: Snapshot) -> Finished | None:
    """The newest finished episode: from the steps on the screen, else from the record."""
    row = snapshot.episodes[0] if snapshot.episodes else None
    steps = real_steps(snapshot)
    for i in range(len(steps) - 1, -1, -1):
        end = steps[i]
        first = i - end.t
        if not (end.terminated or end.truncated):
            continue
        if first >= 0 and steps[first].t == 0 and (row is None or end.step >= row.step):
            taken = steps[first : i + 1]
            return Finished(
                index=end.episode,
                total_return=discounted(taken),
                score=sum(step.reward for step in taken),
                length=len(taken),
                success=end.success,
            )
        break
    if row is None:
        return None
    return Finished(row.index, row.total_return, row.score, row.length, row.success)


def discounted(steps: list[Step]) -> float:
    """The return of these steps, seen from the first."""
    total = 0.0
    for step in reversed(steps):
        total = step.reward + step.gamma * total
    return total
