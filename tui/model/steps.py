"""How a step is told in a few characters: where, which way, on purpose or not, and what came of it.

The log, the loop figure, the grid and the explanation use the same words and symbols.
"""

from __future__ import annotations

from msgspec.structs import replace

from engine.env.maze import ACTION_ARROWS, ACTION_NAMES, Maze
from engine.learning.events import Step
from tui.ui.glyphs import Glyphs
from tui.ui.text import clean

NOISE = 1e-12
"""Beside numbers of size 1, less than this is what float64 loses in a sum, not a difference."""


def without_noise(step: Step) -> Step:
    """The step with an error of exactly 0 where what is left of it is rounding noise.

    The same for the advantage. Words such as "better than expected" need this; tables do not.
    """
    changes: dict[str, float] = {}
    scale = NOISE * max(abs(step.before), abs(step.target), abs(step.reward))
    if 0 < abs(step.error) <= scale:
        changes = {"error": 0.0, "target": step.before, "after": step.before}
    if 0 < abs(step.advantage_estimate) <= scale:
        changes["advantage_estimate"] = 0.0
    return replace(step, **changes) if changes else step


def place(maze: Maze, state: int) -> str:
    """A state as (row,column) counted from 1, or its number where the maze has no map."""
    if not maze.rows:
        return f"s{state}"
    row, column = maze.cell(state)
    return f"({row + 1},{column + 1})"


def _tile(maze: Maze, state: int) -> str:
    """The character of a state's cell on the map; nothing without a map."""
    if not maze.rows:
        return ""
    row, column = maze.cell(state)
    return maze.rows[row][column]


def direction(maze: Maze, action: int) -> int:
    """0 left, 1 down, 2 right, 3 up; -1 for an action that is no direction."""
    arrows = maze.arrows
    if not 0 <= action < len(arrows) or arrows[action] not in ACTION_ARROWS:
        return -1
    return ACTION_ARROWS.index(arrows[action])


def arrow(maze: Maze, action: int, arrows: str) -> str:
    """The action's arrow out of `arrows` (a set of `Glyphs`), else its first letter."""
    way = direction(maze, action)
    if way >= 0:
        return arrows[way]
    return clean(maze.actions[action])[:1].upper() if 0 <= action < len(maze.actions) else "?"


def action_name(maze: Maze, action: int) -> str:
    """The action in a word."""
    return clean(maze.actions[action]) if 0 <= action < len(maze.actions) else "?"


def went(maze: Maze, step: Step) -> int:
    """The direction of the net displacement: 0 to 3, -1 when it stayed, -2 when it is none."""
    if not maze.rows:
        return -1 if step.next_state == step.state else -2
    (row, column), (next_row, next_column) = maze.cell(step.state), maze.cell(step.next_state)
    if (row, column) == (next_row, next_column):  # what is remembered may have changed
        return -1
    moves = {(0, -1): 0, (1, 0): 1, (0, 1): 2, (-1, 0): 3}
    return moves.get((next_row - row, next_column - column), -2)


def not_learned_from(step: Step) -> bool:
    """Whether its rewards still have to come in (or its pair does not count in this episode)."""
    return step.kind == "real" and step.step_size == 0 and step.target == step.before


def result(maze: Maze, step: Step) -> str:
    """What the environment made of the action, in a few words."""
    if step.success:
        return "reached the prize" if maze.rows else "success"
    if step.fell:
        return "fell into a hole" if step.terminated else "fell, back to start"
    if step.terminated and _tile(maze, step.next_state) == "g":
        return "reached the lesser prize"
    way, meant = went(maze, step), direction(maze, step.action)
    if not maze.rows:  # what its states mean, and where a move should lead, is not known
        return "stayed" if way == -1 else "moved on"
    if way == -1:
        return "did not move"
    if way == meant:
        return "went as meant"
    if maze.wind and maze.wind[maze.cell(step.state)[1]]:
        return "blown off course"
    return f"slipped {ACTION_NAMES[way]}" if way >= 0 else "carried off"


def ending(step: Step, glyphs: Glyphs) -> tuple[str, str]:
    """How the episode stands after the step: a symbol and a word."""
    if step.success:
        return glyphs.success, "prize"
    if step.terminated:
        return (glyphs.fell, "hole") if step.fell else (glyphs.ended, "ended")
    return (glyphs.timeout, "time limit") if step.truncated else (glyphs.running, "running")
