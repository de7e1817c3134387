"""The verifiable reward of a written route: read the moves, make them, and say what each part pays.

A completion is never dropped: one that cannot be read, or was cut off, is walked as far as it was
understood, and flagged. Shapes: `S` states, `A` actions, `K` branches, `M` moves made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from engine.config.rewards import PlanRewards
from engine.core.arrays import Floats
from engine.env.maze import ACTION_ARROWS, ACTION_NAMES
from engine.env.mdp import MDP

Mode = Literal["exact", "tolerant"]

FILLERS = frozenset({"and", "then", "go", "move", "step", "to", "the"})
"""Words between two moves that the tolerant reader walks over."""

WORD = re.compile(r"[^\W\d_]+|[←↓→↑]")
SEPARATORS = re.compile(r"[\s,;.:>*()\[\]\d\-]*")


class Parsed(NamedTuple):
    """The moves that were read, and where reading stopped."""

    moves: tuple[int, ...]  # actions
    spans: tuple[tuple[int, int], ...]  # the characters [from, to) of each move, for showing it
    stopped: int  # first character that was not understood; the text's length if all was
    complete: bool  # the text is moves, at least one, and nothing else


class Walk(NamedTuple):
    """What making the moves led to. M of the moves were made before the episode ended."""

    states: tuple[int, ...]  # M + 1 cells, the first is the start
    rewards: tuple[float, ...]  # M, paid by the environment
    success: bool
    terminated: bool
    truncated: bool  # the maze's max_steps were used up; a route that is over is neither
    fell: bool


class RouteReward(NamedTuple):
    """The total and its named parts, each already weighed; and the flags to be counted."""

    total: float
    parts: dict[str, float]
    unparseable: bool  # not a single move could be read
    cut_off: bool  # the completion ran into the token limit


def parse_moves(text: str, mode: Mode = "tolerant", names: Sequence[str] = ACTION_NAMES) -> Parsed:
    """Read `text` as moves, given by their `names` in the order of the actions.

    `exact`: names in lower case with one space or one newline between them; spaces around it all
    are allowed. `tolerant`: any case, arrows, and between the moves punctuation, numbering and
    words such as "then". Other words before the first move ("Sure! …") are walked over, but such a
    text is not `complete`. Reading stops at the first thing behind a move that is neither, so that
    chatter about a route cannot add moves to it.
    """
    return _parse_exactly(text, names) if mode == "exact" else _parse_tolerantly(text, names)


def walk(mdp: MDP, moves: Sequence[int], start: int, rng: np.random.Generator) -> Walk:
    """Make the `moves` in `mdp` from cell `start`; where the ice is slippery, `rng` decides."""
    states, rewards = [start], []
    success = terminated = fell = False
    for action in moves[: mdp.max_steps]:
        state = states[-1]
        chance = mdp.probability[state, action].cumsum()
        branch = int((rng.random() * chance[-1] >= chance[:-1]).sum())
        states.append(int(mdp.next_state[state, action, branch]))
        rewards.append(float(mdp.reward[state, action, branch]))
        success = bool(mdp.success[state, action, branch])
        fell = bool(mdp.fall[state, action, branch])
        terminated = bool(mdp.terminal[state, action, branch])
        if terminated:
            break
    made = len(rewards)
    truncated = not terminated and made == mdp.max_steps
    return Walk(tuple(states), tuple(rewards), success, terminated, truncated, fell)


def reward_route(
    mdp: MDP,
    parsed: Parsed,
    walked: Walk,
    distance: Floats,
    weights: PlanRewards,
    cut_off: bool = False,
) -> RouteReward:
    """Score one route. `distance` [S] is `routes.distances(mdp)`; `cut_off`: no end was written."""
    made = len(walked.rewards)
    parts = {
        "prize": weights.prize * walked.success,
        "steps": -weights.steps * made / mdp.max_steps,
        "format": weights.format * (parsed.complete and not cut_off),
        "progress": weights.progress * progress(walked, distance),
    }
    return RouteReward(sum(parts.values()), parts, not parsed.moves, cut_off)


def progress(walked: Walk, distance: Floats) -> float:
    """Share of the shortest way that was gained, −1 to 1. `distance` [S] in moves, inf: no way.

    A fall counts from the cell before it: there is no way back from a hole, and what was gained on
    the way there still says in which direction the route went.
    """
    if walked.success:
        return 1.0
    end = walked.states[-2] if walked.terminated else walked.states[-1]
    first, last = float(distance[walked.states[0]]), float(distance[end])
    if not np.isfinite(first):
        return 0.0
    if not np.isfinite(last):
        return -1.0
    return max((first - last) / first, -1.0)


def _parse_exactly(text: str, names: Sequence[str]) -> Parsed:
    number = {name: action for action, name in enumerate(names)}
    moves: list[int] = []
    spans: list[tuple[int, int]] = []
    at = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    while at < end:
        word = re.compile(r"\S+").match(text, at)
        if word is None or word.group() not in number:
            return Parsed(tuple(moves), tuple(spans), at, False)
        moves.append(number[word.group()])
        spans.append(word.span())
        at = word.end() + (word.end() < end)
    return Parsed(tuple(moves), tuple(spans), len(text), bool(moves))


def _parse_tolerantly(text: str, names: Sequence[str]) -> Parsed:
    number = {name.lower(): action for action, name in enumerate(names)}
    if tuple(names) == ACTION_NAMES:
        number |= {arrow: action for action, arrow in enumerate(ACTION_ARROWS)}
    moves: list[int] = []
    spans: list[tuple[int, int]] = []
    found = [word for word in WORD.finditer(text) if word.group().lower() in number]
    at = found[0].start() if found else 0
    while at < len(text):
        at = _skip(text, at)
        word = WORD.match(text, at)
        if word is None or word.group().lower() not in number:
            break
        moves.append(number[word.group().lower()])
        spans.append(word.span())
        at = word.end()
    if not moves:
        return Parsed((), (), 0, False)
    nothing_else = at == len(text) and _skip(text, 0) == spans[0][0]
    return Parsed(tuple(moves), tuple(spans), at, nothing_else)


def _skip(text: str, at: int) -> int:
    """The next character from `at` on that is neither a separator nor part of a filler word."""
    while True:
        gap = SEPARATORS.match(text, at)
        at = gap.end() if gap else at
        word = WORD.match(text, at)
        if word is None or word.group().lower() not in FILLERS:
            return at
        at = word.end()
