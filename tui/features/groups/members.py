"""The members of a group in words and symbols: their moves, how they ended, how likely each was."""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.env.maze import Maze
from engine.learning.events import Member, Step
from tui.model.source import ShownGroup
from tui.model.steps import arrow
from tui.ui.glyphs import Glyphs
from tui.ui.text import clean

LEVELS = (0.1, 0.5, 0.9)
"""Between them lie the four grades of probability."""
GRADES = "▁▃▅▇"
ASCII_GRADES = ".:|#"


class Outcome(NamedTuple):
    """How an episode or a completion ended: a symbol, words, and whether that is good or bad."""

    symbol: str
    words: str
    part: str


UNKNOWN = Outcome("", "-", "muted")
"""Nobody has told how it ended."""


def by_advantage(shown: ShownGroup) -> list[Member]:
    """The recorded members, the one that was made likelier most first."""
    members = shown.group.members
    return sorted(members, key=lambda m: math.inf if math.isnan(m.advantage) else -m.advantage)


def one_line(text: str) -> str:
    """A completion as one line of a table; an empty one says so."""
    return " ".join(clean(text).split()) or "(nothing: the model ended at once)"


def outcome(member: Member, maze: Maze | None, glyphs: Glyphs) -> Outcome:
    """How it ended; a completion that was cut off or cannot be read says so too."""
    if maze is None:
        if member.cut_off:
            return Outcome(glyphs.timeout, "cut off", "bad")
        return Outcome(glyphs.ended, "its end", "muted") if member.terminated else UNKNOWN
    if member.unreadable:
        return Outcome("?", "unreadable", "bad")
    cut = ", cut off" if member.cut_off else ""
    if member.success:
        return Outcome(glyphs.success, f"prize{cut}", "good")
    last = member.states[-1] if member.states else -1
    tiles = "".join(maze.rows)
    if member.terminated:
        fell = 0 <= last < len(tiles) and tiles[last] == "H"
        symbol, word = (glyphs.fell, "hole") if fell else (glyphs.ended, "ended")
        return Outcome(symbol, word + cut, "bad")
    if member.truncated:
        return Outcome(glyphs.timeout, f"time limit{cut}", "bad")
    if member.cut_off:
        return Outcome(glyphs.ended, "cut off", "bad")
    return Outcome(glyphs.ended, "stopped early", "bad")


def moves(member: Member, maze: Maze, glyphs: Glyphs) -> str:
    """The moves that were made, an arrow each."""
    return "".join(arrow(maze, action, glyphs.solid) for action in member.actions)


def grade(log_prob: float, glyphs: Glyphs) -> tuple[str, int]:
    """A probability as one of four symbols, and the number of its grade from 0."""
    chance = math.exp(min(log_prob, 0.0)) if not math.isnan(log_prob) else 0.0
    place = sum(chance >= level for level in LEVELS)
    return (ASCII_GRADES if glyphs.ascii else GRADES)[place], place


def way(member: Member, shown: ShownGroup) -> tuple[Step, ...]:
    """The member's moves as steps, to be drawn on the maze; their arithmetic is not known."""
    last = len(member.actions) - 1
    observation = shown.mdp.observation
    return tuple(
        Step(
            step=shown.group.step,
            world_id=shown.group.world_id,
            episode=0,
            t=t,
            state=member.states[t],
            observation=int(observation[member.states[t]]),
            action=action,
            reward=0.0,
            next_state=member.states[t + 1],
            next_observation=int(observation[member.states[t + 1]]),
            terminated=t == last and member.terminated,
            truncated=t == last and member.truncated,
            success=t == last and member.success,
            before=0.0,
            target=0.0,
            error=0.0,
            after=0.0,
            step_size=0.0,
            gamma=0.0,
        )
        for t, action in enumerate(member.actions)
    )
