"""Where something happened in a run: what a cursor that walks through its record can stop at.

Every question is answered by the index on steps, in a time that does not depend on how much was
recorded; the few marks that have words are read together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from engine.runs import schema, stored
from engine.runs.records import Record

Kind = Literal["update", "episode", "note", "checkpoint", "tune", "edit"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TOLD: tuple[Kind, ...] = ("note", "checkpoint", "tune", "edit")
"""The kinds that are rare: all of them are read, with their words."""
MANY: dict[Kind, str] = {"update": "points", "episode": "episodes"}
"""The tables of the kinds that may be millions. Of updates those are recorded that gave figures."""


class Mark(Record, frozen=True, kw_only=True):
    """Something that happened at a step. The words of a note may be a model's, and not clean."""

    step: int
    kind: Kind
    text: str = ""


class Counts(Record, frozen=True, kw_only=True):
    """How far a run was at a step, as far as that is recorded. All but the last are per agent."""

    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    total_env_steps: int = 0


STEPS = list[tuple[stored.Id]]
TEXTS = list[tuple[stored.Id, str]]
COUNTS = list[tuple[stored.Id, stored.Id, stored.Id]]


class Timeline:
    """Asks a run's store, through the connection of its reader."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self._db, self._file = connection, file

    def told(self) -> tuple[Mark, ...]:
        """Every note, checkpoint, tune and change of the map, by step."""
        notes = self._texts("SELECT step, text FROM notes")
        tunes = self._texts("SELECT step, key || ' = ' || value FROM tunes")
        # Mazes that are there from the start are no change of the map.
        edits = self._steps("SELECT step FROM worlds WHERE split = 'train' AND step > 0")
        marks = [Mark(step=step, kind="note", text=text) for step, text in notes]
        marks += [Mark(step=step, kind="tune", text=text) for step, text in tunes]
        marks += [Mark(step=step, kind="edit") for step in dict.fromkeys(edits)]
        marks += [Mark(step=step, kind="checkpoint") for step in self.checkpoints()]
        return tuple(sorted(marks, key=lambda mark: mark.step))

    def checkpoints(self) -> list[int]:
        """The steps of the checkpoints there are, ascending: what a fork can go on from."""
        found = set(self._steps("SELECT step FROM checkpoints"))
        if self._all("SELECT 1 FROM sqlite_master WHERE name = 'kept'"):  # not in older runs
            found.update(self._steps("SELECT step FROM kept"))
        return sorted(found)

    def beside(self, kinds: Iterable[Kind], step: int, by: int) -> int | None:
        """The nearest step after `step` (`by` > 0) or before it at which something of these kinds
        happened; None where nothing did."""
        sign, order, least = (">", "ASC", min) if by > 0 else ("<", "DESC", max)
        found: list[int] = []
        kinds = set(kinds)
        for kind in kinds & MANY.keys():
            found += self._steps(
                f"SELECT step FROM {MANY[kind]} WHERE step {sign} ? ORDER BY step {order} LIMIT 1",
                step,
            )
        if kinds & set(TOLD):
            steps = [mark.step for mark in self.told() if mark.kind in kinds]
            found += [at for at in steps if (at > step if by > 0 else at < step)]
        return least(found) if found else None

    def spread(self, kind: Kind, end: int, cells: int) -> tuple[int, ...]:
        """Of a kind that may be millions one step for each of `cells` equal parts of 0 to `end` in
        which there is one: found by leaping from part to part."""
        found: list[int] = []
        query = f"SELECT step FROM {MANY[kind]} WHERE step >= ? AND step <= ? ORDER BY step LIMIT 1"
        after = 0
        while step := self._steps(query, after, end):
            found.append(step[0])
            part = step[0] * cells // max(end, 1)
            after = max(-(-(part + 1) * end // cells), step[0] + 1)
        return tuple(found)

    def counts(self, step: int) -> Counts:
        """How far the run was at the newest recording point that is not after `step`."""
        rows = self._all(
            "SELECT updates, episodes, total_env_steps FROM points WHERE step <= ? "
            "ORDER BY step DESC, id DESC LIMIT 1",
            step,
        )
        for updates, episodes, total in stored.cells(self._file, COUNTS, rows, "points"):
            return Counts(updates=updates, episodes=episodes, total_env_steps=total)
        return Counts()

    def _steps(self, sql: str, *values: Any) -> list[int]:
        rows = self._all(sql, *values)
        return [step for (step,) in stored.cells(self._file, STEPS, rows, "a table of steps")]

    def _texts(self, sql: str) -> Sequence[tuple[int, str]]:
        found: Sequence[tuple[int, str]] = stored.cells(self._file, TEXTS, self._all(sql), "notes")
        return found

    def _all(self, sql: str, *values: Any) -> list[Any]:
        with schema.explained(self._file):
            return self._db.execute(sql, values).fetchall()
