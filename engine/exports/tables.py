"""The tables of a run that exports write: their columns, and their rows in bounded pieces.

Rows are read by their ids, a piece in a short transaction each, so that the writer of a live run
never waits and a run of any length takes the same memory. A live run is cut at the rows it had when
the export began.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from engine.core.errors import UserError
from engine.runs import schema, stored
from engine.runs.curves import BINDING
from engine.runs.reader import RunReader

PIECE = 8_192
"""Rows that are in memory at a time."""
OLD_NAME = "clip_fraction_low"
"""A step with this metric is of an older version, see `engine.runs.curves.BINDING`."""

Kind = Literal["int", "float", "text", "bool"]
Split = Literal["train", "test", "deploy"]
Flag = Literal[0, 1]
Row = Sequence[Any]


class Column(NamedTuple):
    """A column of an exported table; floats may be unknown (None)."""

    name: str
    kind: Kind
    meaning: str


class Table(NamedTuple):
    """A table of `run.db` as it is exported. `types` check what is read; the first is the id."""

    name: str
    columns: tuple[Column, ...]
    select: str
    types: Any

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]


METRICS = Table(
    "metrics",
    (
        Column("step", "int", "environment steps per agent, sweeps or updates: the run's clock"),
        Column("name", "text", "which figure"),
        Column("split", "text", "train, test (held-out mazes) or deploy"),
        Column("world_id", "int", "the maze an evaluation is of; empty for the learner's own"),
        Column("mean", "float", "mean over the agents"),
        Column("low", "float", "10th percentile over the agents"),
        Column("high", "float", "90th percentile over the agents"),
        Column("n", "int", "how many agents have the figure"),
    ),
    "SELECT id, step, name, split, world_id, mean, low, high, n FROM metrics",
    list[
        tuple[
            stored.Id, stored.Id, str, Split, int | None,
            float | None, float | None, float | None, stored.Id,
        ]
    ],
)  # fmt: skip
EPISODES = Table(
    "episodes",
    (
        Column("step", "int", "the run's clock when the episode ended"),
        Column("episode", "int", "the number of the episode, counted for each agent"),
        Column("agent", "int", "whose episode"),
        Column("world_id", "int", "in which maze"),
        Column("length", "int", "moves"),
        Column("return", "float", "discounted sum of rewards"),
        Column("score", "float", "undiscounted sum of rewards"),
        Column("success", "bool", "it reached the goal"),
        Column("terminated", "bool", "it came to an end of its own"),
        Column("truncated", "bool", "the time limit cut it off"),
    ),
    'SELECT id, step, idx, agent, world_id, length, "return", score, success, terminated, '
    "truncated FROM episodes",
    list[
        tuple[
            stored.Id, stored.Id, stored.Id, stored.Id, int, stored.Id,
            float | None, float | None, Flag, Flag, Flag,
        ]
    ],
)  # fmt: skip
POINTS = Table(
    "points",
    (
        Column("step", "int", "the run's clock"),
        Column("updates", "int", "TD steps, sweeps or optimizer batches per agent"),
        Column("episodes", "int", "episodes per agent"),
        Column("total_env_steps", "int", "environment steps of all agents together"),
    ),
    "SELECT id, step, updates, episodes, total_env_steps FROM points",
    list[tuple[stored.Id, stored.Id, stored.Id, stored.Id, stored.Id]],
)
TABLES = (METRICS, EPISODES, POINTS)
"""What is exported, in this order."""


class Exported:
    """A run that is being exported: its reader, and its tables as they were at the beginning."""

    def __init__(self, run_dir: Path) -> None:
        """Raises UserError when there is no readable run."""
        with contextlib.ExitStack() as opened:
            self.reader = opened.enter_context(RunReader(run_dir))
            self._file = run_dir / schema.DATABASE
            self._db = opened.enter_context(contextlib.closing(schema.open_to_read(run_dir)))
            with schema.explained(self._file):
                self._ends = {table.name: self._last(table) for table in TABLES}
                old = self._db.execute(
                    "SELECT DISTINCT step FROM metrics WHERE name = ?", [OLD_NAME]
                )
                self._old_steps = {step for (step,) in old}
            self._generation = self.reader.head().generation
            self.info = self.reader.info()
            self._opened = opened.pop_all()

    def __enter__(self) -> Exported:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def _last(self, table: Table) -> int:
        (last,) = self._db.execute(f"SELECT coalesce(max(id), 0) FROM {table.name}").fetchone()
        return int(last)

    def pieces(self, table: Table) -> Iterator[list[Row]]:
        """The rows of a table, in the order they were recorded, at most `PIECE` at a time; unknown
        numbers are None. Raises UserError for damage, and when the run is resumed meanwhile."""
        after, end = 0, self._ends[table.name]
        sql = f"{table.select} WHERE id > ? AND id <= ? ORDER BY id LIMIT {PIECE}"
        while after < end:
            with schema.explained(self._file):
                rows = self._db.execute(sql, (after, end)).fetchall()
            self._check_not_resumed()
            if not rows:
                return
            found = stored.cells(self._file, table.types, rows, table.name)
            after = found[-1][0]
            yield [self._todays(table, row) for row in found]

    def _todays(self, table: Table, row: Row) -> Row:
        if table is METRICS:
            _, step, name, *rest = row
            return [step, BINDING.get(name, name) if step in self._old_steps else name, *rest]
        if table is EPISODES:
            return [*row[1:8], *map(bool, row[8:])]
        return row[1:]

    def _check_not_resumed(self) -> None:
        if self.reader.head().generation != self._generation:
            raise UserError(
                f"{self.reader.id} was resumed while it was exported, which takes rows back; "
                "export it again."
            )

    def policy_steps(self) -> list[tuple[int, int]]:
        """The steps at which a policy was recorded, in order, each with the maze that is shown: the
        first where a run has several at a time."""
        with schema.explained(self._file):
            rows = self._db.execute(
                "SELECT step, min(world_id) FROM policies GROUP BY step ORDER BY step"
            ).fetchall()
        found: list[tuple[int, int]] = stored.cells(
            self._file, list[tuple[stored.Id, stored.Id]], rows, "policies"
        )
        return found
