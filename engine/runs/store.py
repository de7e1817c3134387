"""The writing end of a run's store. One writer at a time: the worker that holds the lock."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.core import private
from engine.learning.events import (
    AnyEvent,
    Episode,
    Evaluation,
    Finished,
    Group,
    Live,
    Metric,
    Note,
    Pair,
    PerAgent,
    Policy,
    Preference,
    Tuned,
    Update,
    World,
    encode,
)
from engine.learning.learner import Counters, State
from engine.runs import checkpoints, commands, schema, stored
from engine.runs.checkpoints import FIRST, NEWEST, PREVIOUS
from engine.runs.disk.lock import LOCK_FILE
from engine.runs.machine.sampler import MachineSampler
from engine.runs.schema import RECORD

LIVE_STEPS = 2000
"""How many steps the live ring keeps."""

LAST = ", ".join(f"(SELECT coalesce(max(id), 0) FROM {table})" for table in RECORD)
"""SQL for the last row of each table, which a checkpoint remembers."""
REPLAYED = "name IN ('tune', 'edit', 'prefer', 'score')"


class Replay(msgspec.Struct, frozen=True):
    """A change or answer the checkpoint does not know of: to be applied again at exactly `step`."""

    id: int
    step: int
    command: commands.Command


class Restart(msgspec.Struct, frozen=True):
    """What a resumed run starts from."""

    step: int
    state: State
    replays: list[Replay]
    warnings: list[str]
    """What had to be passed over because it is damaged."""


class RunWriter:
    """Collects rows and writes them in one transaction at each `commit`.

    Nothing touches the file between commits, so that readers and senders of commands never wait
    for longer than one small transaction.
    """

    def __init__(self, run_dir: Path) -> None:
        """Open an existing store. Raises UserError when it cannot be opened for writing."""
        private.check_own(run_dir, "run")
        self.run_dir = run_dir
        self.connection = schema.open_to_write(run_dir)
        with schema.explained(run_dir):
            self.journal_note = schema.choose_journal(self.connection, run_dir)
            row = self.connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'live'"
            ).fetchone()
        file = run_dir / schema.DATABASE
        self._files = {name: _identity(run_dir / name) for name in (schema.DATABASE, LOCK_FILE)}
        self._live_id: int = stored.cells(file, tuple[stored.Id], row or (0,), "sqlite_sequence")[0]
        self._ring: deque[tuple[int, int]] = deque()
        self._ring_steps = 0
        self._queue: list[tuple[str, tuple[Any, ...]]] = []
        self._meta: dict[str, str] = {}
        self._known: dict[str, str] = {}  # what meta holds on disk, as far as set by this writer

    def missing_file(self) -> str:
        """The name of a file of the run that is no longer where it was, or is another; else ""."""
        changed = (n for n, f in self._files.items() if f and _identity(self.run_dir / n) != f)
        return next(changed, "")

    # ------------------------------------------------------------ meta

    def meta(self, key: str, default: Any = None) -> Any:
        """The committed value of a meta key."""
        file = self.run_dir / schema.DATABASE
        query = "SELECT key, value FROM meta WHERE key = ?"
        with schema.explained(file):
            rows = self.connection.execute(query, (key,)).fetchall()
        return stored.meta(file, rows).get(key, default)

    def set_meta(self, **values: Any) -> None:
        """Set keys (any JSON values) with the next commit; unchanged ones cost nothing."""
        for key, value in values.items():
            text = json.dumps(value)
            if self._known.get(key) != text or key in self._meta:
                self._meta[key] = text

    @property
    def has_rows(self) -> bool:
        """Whether there is anything for the next commit."""
        return bool(self._queue or self._meta)

    @property
    def generation(self) -> int:
        """How often the run was resumed."""
        return int(self.meta("generation", 0))

    def last_figures(self) -> list[tuple[str, float | None]]:
        """Name and mean of each figure of the newest committed evaluation on training worlds."""
        with schema.explained(self.run_dir / schema.DATABASE):
            return self.connection.execute(
                "SELECT name, mean FROM metrics WHERE split = 'train' AND world_id IS NOT NULL AND "
                "step = (SELECT max(step) FROM evaluations WHERE split = 'train')"
            ).fetchall()

    # ------------------------------------------------------------ events

    def write(self, events: list[AnyEvent]) -> None:
        """Take events of the record in order. They are on disk after the next commit."""
        for event in events:
            match event:
                case Update():
                    self._put("points", event.step, *_counts(event))
                    for name, metric in event.metrics.items():
                        self._put_metric(event.step, None, "train", name, metric)
                case Evaluation():
                    self._write_evaluation(event)
                case Episode():
                    self._write_episode(event)
                case Group():
                    which = (event.index, event.world_id, event.size)
                    self._put("groups", event.step, *which, encode(event))
                case Pair():
                    self._put("ratings", event.step, event.index, "pair", encode(event))
                case Preference():
                    self._put("ratings", event.step, event.index, "preference", encode(event))
                case PerAgent():
                    for name, values in event.figures.items():
                        for agent, value in enumerate(values.tolist()):
                            self._put("per_agent", event.step, name, agent, _real(value))
                case Policy():
                    keys = (event.world_id, event.agent)
                    self._put("policies", event.step, *keys, encode(event))
                case World():
                    self._put("worlds", event.step, event.id, event.split, encode(event))
                case Note():
                    words = (event.level, event.text, event.remedy, event.term)
                    self._put("notes", event.step, *words)
                case Tuned():
                    value = json.dumps(event.value)
                    self._put("tunes", event.step, event.key, value, encode(event))
                case Finished():
                    self._write_finished(event)
                case _:
                    # Steps reach the store inside episodes and live batches only.
                    raise TypeError(f"the record has no place for {type(event).__name__} events")

    def _put(self, table: str, *values: Any) -> None:
        marks = ", ".join("?" * len(values))
        self._queue.append((f"INSERT INTO {table} VALUES (NULL, {marks})", values))

    def _put_metric(
        self, step: int, world_id: int | None, split: str, name: str, metric: Metric
    ) -> None:
        numbers = (_real(metric.mean), _real(metric.low), _real(metric.high))
        self._put("metrics", step, world_id, split, name, *numbers, metric.n)

    def _write_evaluation(self, event: Evaluation) -> None:
        self._put(
            "evaluations",
            event.step,
            event.world_id,
            event.split,
            event.success_kind,
            _real(event.success_stderr),
            _real(event.optimal_return),
            _real(event.horizon_optimum),
            encode(event),
        )
        for name, metric in event.figures.items():
            self._put_metric(event.step, event.world_id, event.split, name, metric)

    def _write_episode(self, event: Episode) -> None:
        self._put(
            "episodes",
            event.step,
            event.index,
            event.agent,
            event.world_id,
            len(event.steps),
            _real(event.returns_to_go[0] if event.returns_to_go else 0.0),
            _real(event.score),
            int(event.success),
            int(event.terminated),
            int(event.truncated),
            encode(event),
        )

    def _write_finished(self, event: Finished) -> None:
        # It carries wall-clock seconds, so it lives in meta, outside the reproducible record.
        self.set_meta(state=event.status, finished=msgspec.to_builtins(event))

    def write_live(self, live: Live) -> None:
        """Append to the live ring and drop what is too old."""
        self._live_id += 1
        steps, late = live.steps[-LIVE_STEPS:], live.late[-LIVE_STEPS:]
        batch = msgspec.structs.replace(live, steps=steps, late=late, policy=None)
        self._queue.append(
            ("INSERT INTO live VALUES (?, ?, ?)", (self._live_id, live.step, encode(batch)))
        )
        if live.policy is not None:
            self._queue.append(
                ("REPLACE INTO live VALUES (0, ?, ?)", (live.step, encode(live.policy)))
            )
        self._ring.append((self._live_id, len(steps)))
        self._ring_steps += len(steps)
        dropped = 0
        while len(self._ring) > LIVE_STEPS or self._ring_steps - self._ring[0][1] >= LIVE_STEPS:
            dropped, count = self._ring.popleft()
            self._ring_steps -= count
        if dropped:
            self._queue.append(("DELETE FROM live WHERE id BETWEEN 1 AND ?", (dropped,)))

    def write_machine(self, sampler: MachineSampler, step: int) -> None:
        """Take what was seen of the machine since the last call."""
        seen = sampler.take()
        if seen:
            self.set_meta(machine=msgspec.to_builtins(sampler.devices))
        for sample in seen:
            for r in sample.readings:
                numbers = (r.busy, r.memory, r.own, r.power, r.temperature)
                row = (round(sample.at, 1), sample.phase, r.gpu, *map(_short, numbers))
                self._put("machine", step, *row)

    # ------------------------------------------------------------ commands

    def newest_command(self) -> int:
        """The id of the newest command; cheap enough to ask at every tick."""
        with schema.explained(self.run_dir / schema.DATABASE):
            row = self.connection.execute("SELECT coalesce(max(id), 0) FROM commands").fetchone()
        return int(row[0])

    def pending_commands(self, after: int = 0) -> list[commands.Written]:
        """Commands nobody answered yet, oldest first. Anybody can insert such rows."""
        with schema.explained(self.run_dir / schema.DATABASE):
            # As bytes, whatever they are: text that is not UTF-8 would spoil the whole answer.
            rows = self.connection.execute(
                f"SELECT id, {commands.COLUMNS} FROM commands "
                "WHERE id > ? AND status = 'pending' ORDER BY id",
                (after,),
            ).fetchall()
        return [commands.written(*row) for row in rows]

    def answer(self, command_id: int, status: str, reply: str, step: int) -> None:
        """Say what became of a command, with the next commit."""
        self._queue.append(
            (
                "UPDATE commands SET status = ?, reply = ?, applied_step = ? WHERE id = ?",
                (status, reply, step, command_id),
            )
        )

    # ------------------------------------------------------------ checkpoints

    def save_checkpoint(
        self,
        counters: Counters,
        state: State,
        *,
        first: bool = False,
        not_yet: Iterable[int] = (),
    ) -> None:
        """Save the state with everything written so far. The first and the two newest are kept.

        `not_yet` are the ids of commands that wait to be replayed at a later step.
        """
        values = (
            FIRST if first else NEWEST,
            counters.step,
            json.dumps(msgspec.to_builtins(counters)),
            checkpoints.pack(state),
        )
        if not first:
            older = "UPDATE OR REPLACE checkpoints SET id = ? WHERE id = ?"
            self._queue.append((older, (PREVIOUS, NEWEST)))
        self._queue.append((f"REPLACE INTO checkpoints VALUES (?, ?, ?, ?, {LAST})", values))
        waiting = ", ".join(str(int(i)) for i in not_yet)
        self._queue.append(
            (
                "UPDATE commands SET saved = min(saved + 1, 2) WHERE status = 'done' "
                f"AND {REPLAYED} AND id NOT IN ({waiting})",
                (),
            )
        )

    def kept(self) -> list[tuple[int, bytes]]:
        """The steps and packed states of the checkpoints that are kept to be forked from."""
        with schema.explained(self.run_dir / schema.DATABASE):
            rows = self.connection.execute("SELECT step, state FROM kept ORDER BY step").fetchall()
        return [row for row in rows if isinstance(row[0], int) and isinstance(row[1], bytes)]

    def keep(self, counters: Counters, packed: bytes) -> None:
        """Keep a packed state, to be forked from, with everything written so far."""
        values = (counters.step, json.dumps(msgspec.to_builtins(counters)), packed)
        self._queue.append((f"INSERT INTO kept VALUES (NULL, ?, ?, ?, {LAST})", values))

    def let_go(self, step: int) -> None:
        """Keep the state of a step no longer."""
        self._queue.append(("DELETE FROM kept WHERE step = ?", (step,)))

    def rewind(self, load: Callable[[State], object] = lambda state: None) -> Restart | None:
        """Go back to the newest good checkpoint, which `load` accepts by raising no UserError:
        delete what came after, start a new generation.

        One transaction, committed at once. None when the run never got as far as checkpoint 0.
        Raises UserError when no checkpoint is good; then nothing is deleted.
        """
        file = self.run_dir / schema.DATABASE
        saved = checkpoints.newest_good(self.run_dir, self.connection, load)
        with schema.explained(file):
            with self._transaction():
                last = saved.last if saved else (0,) * len(RECORD)
                for table, last_id in zip(RECORD, last, strict=True):
                    self.connection.execute(f"DELETE FROM {table} WHERE id > ?", (last_id,))
                self.connection.execute("DELETE FROM live")
                self.connection.execute("DELETE FROM meta WHERE key = 'finished'")
                self.connection.execute(
                    "DELETE FROM kept WHERE step > ?", (saved.step if saved else -1,)
                )
                if saved:
                    self._forget_newer(saved)
                    self.set_meta(generation=self.generation + 1, counters=saved.counters)
                    self._write_meta()
            self.discard()
            if saved is None:
                return None
            replays, warnings = self._replays()
        if saved.damage:
            warnings = [
                f"The newest checkpoint was passed over and the one of step {saved.step:,} was "
                f"used: {saved.damage}",
                *warnings,
            ]
        return Restart(saved.step, saved.state, replays, warnings)

    def _forget_newer(self, saved: checkpoints.Saved) -> None:
        """Delete the damaged checkpoints after the one that is used; what only they contained of
        tunes, edits and answers is to be replayed."""
        passed = {NEWEST: 0, PREVIOUS: 1, FIRST: 2}[saved.id]
        if not passed:
            return
        newer = (NEWEST,) if saved.id == PREVIOUS else (NEWEST, PREVIOUS)
        for which in newer:
            self.connection.execute("DELETE FROM checkpoints WHERE id = ?", (which,))
        if saved.id == PREVIOUS:
            move = "UPDATE checkpoints SET id = ? WHERE id = ?"
            self.connection.execute(move, (NEWEST, PREVIOUS))
        self.connection.execute("UPDATE commands SET saved = max(0, saved - ?)", (passed,))

    def _replays(self) -> tuple[list[Replay], list[str]]:
        """What is to be repeated, in order, and sentences about what cannot be."""
        with schema.explained(self.run_dir / schema.DATABASE):
            rows = self.connection.execute(
                f"SELECT id, {commands.COLUMNS}, applied_step FROM commands "
                f"WHERE status = 'done' AND saved = 0 AND {REPLAYED} ORDER BY applied_step, id"
            ).fetchall()
        replays, warnings = [], []
        for id_, name, args, step in rows:
            found = commands.written(id_, name, args)
            if found.command is None or not isinstance(step, int) or step < 0:
                problem = found.problem or f"its step is {step!r}"
                warnings.append(not_repeated(id_, problem))
            else:
                replays.append(Replay(id_, step, found.command))
        return replays, warnings

    # ------------------------------------------------------------ transactions

    @property
    def dirty(self) -> bool:
        """Whether something waits for a commit."""
        return bool(self._queue or self._meta)

    def commit(self) -> None:
        """Write everything collected in one transaction. Raises UserError (disk full, …); then
        nothing was written and everything is still collected."""
        if not self.dirty:
            return
        with schema.explained(self.run_dir / schema.DATABASE), self._transaction():
            for sql, group in itertools.groupby(self._queue, key=lambda item: item[0]):
                self.connection.executemany(sql, [values for _, values in group])
            self._write_meta()
        self._known.update(self._meta)
        self.discard()

    def write_at_once(self, note: Note) -> None:
        """Commit a note ahead of everything collected. Raises UserError."""
        with schema.explained(self.run_dir / schema.DATABASE), self._transaction():
            self.connection.execute(
                "INSERT INTO notes VALUES (NULL, ?, ?, ?, ?, ?)",
                (note.step, note.level, note.text, note.remedy, note.term),
            )

    def discard(self) -> None:
        """Forget what was collected since the last commit."""
        self._queue.clear()
        self._meta.clear()

    def _write_meta(self) -> None:
        self.connection.executemany("REPLACE INTO meta VALUES (?, ?)", list(self._meta.items()))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                self.connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close without committing, and leave WAL if no reader is connected."""
        self.connection.close()
        schema.leave_wal(self.run_dir)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others on this machine, whatever it is called; None: no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _counts(event: Update) -> tuple[int, int, int]:
    return event.updates, event.episodes, event.total_env_steps


def _real(number: float) -> float | None:
    """SQLite has no NaN: it becomes NULL."""
    return None if math.isnan(number) else float(number)


def _short(number: float | None) -> float | None:
    """A measured number in as many digits as it is good for."""
    return None if number is None else float(f"{number:.4g}")


def not_repeated(command_id: int, why: str) -> str:
    """The sentence about a tune, edit or answer that a resume cannot repeat."""
    return (
        f"A change made before the run was resumed (command {command_id}) was left out, because it "
        f"cannot be repeated: {why}"
    )
