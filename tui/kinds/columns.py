"""The columns that the trajectory log can have, and how those of moves are laid out.

A layout is a row of columns; layouts stand from wide to narrow. Kinds of run that log something
else beside have theirs in their own file.
"""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column: what it shows, its title and glossary entry, and its width."""

    kind: str
    title: str
    slug: str
    width: int


Layouts = tuple[tuple[Column, ...], ...]

T = Column("t", "t", "time-step", 5)
STATE = Column("state", "state", "state", 9)
ACTION = Column("action", "action", "action", 9)
HOW = Column("how", "how", "exploration", 12)
REWARD = Column("reward", "reward", "reward", 8)
TARGET = Column("target", "target", "td-target", 8)
ERROR = Column("error", "error δ", "td-error", 9)
TO_GO = Column("to-go", "to go G", "return-to-go", 9)
ADVANTAGE = Column("advantage", "A(s,a)", "advantage", 8)
ARROW = Column("arrow", "a", "action", 2)
MARK = Column("mark", "?", "exploration", 2)
CHANCE = Column("chance", "π(a|s)", "policy", 8)
AFTER = Column("after", "then", "policy-gradient", 8)

NARROW = (T._replace(width=4), STATE._replace(width=8), ARROW, MARK, REWARD._replace(width=7))

MOVES: Layouts = (
    (T, STATE, ACTION, HOW, REWARD, TARGET, ERROR, TO_GO, ADVANTAGE),
    (T, STATE, ARROW, MARK, REWARD, TARGET, ERROR, TO_GO, ADVANTAGE),
    (T, STATE, ARROW, MARK, REWARD, ERROR, TO_GO, ADVANTAGE),
    (*NARROW, ERROR._replace(title="δ", width=7), TO_GO._replace(title="G", width=7)),
    (*NARROW, ERROR._replace(title="δ", width=7)),
)
"""Layouts for moves of an agent that chooses by its action values."""
