"""The reading end of a run's store: live view, replay and exports all go through it.

Every method reads in one short transaction or statement, so that the writer never waits. Use a
reader from one thread at a time.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, cast

import msgspec

from engine import presets
from engine.config.preset import Preset, algorithm_name
from engine.core import private
from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.learning.events import (
    Episode,
    Evaluation,
    Event,
    Group,
    Live,
    Pair,
    Policy,
    Preference,
    Step,
    Tuned,
    World,
)
from engine.runs import commands, outcome, schema, stored
from engine.runs.curves import TIMES, Curve, GrowingCurve, Reached, Row, todays_names
from engine.runs.disk.lock import is_alive
from engine.runs.machine.readings import Device
from engine.runs.past.timeline import Timeline
from engine.runs.progress import POINT_ROWS, Progress, progress
from engine.runs.records import (
    ENDED,
    EpisodeRow,
    GroupRow,
    Head,
    MachineRow,
    NoteRow,
    RunInfo,
    RunState,
)
from engine.runs.store import LIVE_STEPS

Split = Literal["train", "test"]
E = TypeVar("E", bound=Event)

METRIC_ROWS = list[
    tuple[stored.Id, str, stored.Id, int | None, float | None, float | None, float | None]
]
"""id, name, step, world id, mean, low, high"""
COUNT_ROWS = list[tuple[stored.Id, str, stored.Id, stored.Id]]

EPISODE_COLUMNS = (
    "id, step, idx, agent, world_id, length, return, score, success, terminated, truncated"
)
"""What `EpisodeRow` has, in its order."""

LAUNCH_GRACE = timedelta(seconds=10)
"""How long a run just created may be without a worker before it counts as dead."""

NEWEST = 2**62
"""A step after every other: SQLite's integers end at 2^63 - 1."""


class RunReader:
    """Reads a run, whether it is live or ended. Close it, or use it in a `with`."""

    def __init__(self, run_dir: Path | str) -> None:
        """Raises UserError when the folder holds no readable run, one of a newer version, or
        another user's."""
        self.path = Path(run_dir)
        self.id = self.path.name
        self._file = self.path / schema.DATABASE
        private.check_own(self.path, "run")
        if not self._file.is_file():
            raise UserError(f"{self.path}: there is no run here (no {schema.DATABASE}).")
        if not is_alive(self.path):
            schema.refuse_newer(self.path)
            schema.leave_wal(self.path)
        self._db = schema.open_to_read(self.path)
        self.timeline = Timeline(self._db, self._file)
        self._data_version = -1
        self._generation = -1
        self._curves: dict[str, dict[str, GrowingCurve]] = {}
        self._curve_cursor: dict[str, int] = {}
        self._reached: dict[str, Reached] = {}
        self._reached_cursor = 0
        self._points: POINT_ROWS = []
        self._points_cursor = 0
        self._batches: dict[int, Live] = {}
        self._policy: Policy | None = None
        self._info: tuple[int, RunInfo] | None = None

    def close(self) -> None:
        """Close; the last reader of an ended run folds its write-ahead log away."""
        self._db.close()
        if not is_alive(self.path):
            schema.leave_wal(self.path)

    def __enter__(self) -> RunReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------ where it stands

    def info(self) -> RunInfo:
        """The run's preset and origin. Read again only after a resume (which may raise budgets)."""
        meta = self.meta()
        generation = int(meta.get("generation", 0))
        if self._info is None or self._info[0] != generation:
            info = RunInfo(
                id=self.id,
                path=self.path,
                preset_name=stored.fact(self._file, meta, "preset_name"),
                preset=self._preset(meta),
                created=stored.instant(self._file, stored.fact(self._file, meta, "created")),
                parent=stored.parent(meta),
            )
            self._info = (generation, info)
        return self._info[1]

    def _preset(self, meta: dict[str, Any]) -> Preset:
        file = self.path / "preset.toml"
        with stored.trusted_by_nobody(file):
            preset = presets.convert(stored.toml(file), str(file), self.path, run=True)
        stored.check_algorithm(file, algorithm_name(preset), meta.get("algorithm"))
        return preset

    def meta(self) -> dict[str, Any]:
        """The `meta` table: state, counters and whatever else has no step."""
        return stored.meta(self._file, self._all("SELECT key, value FROM meta"))

    def state(self) -> RunState:
        """What the run is doing, including `dead`: a worker that ended without saying so."""
        return self._state(self.meta())

    def _state(self, meta: dict[str, Any]) -> RunState:
        state = meta.get("state", "starting")
        if state in ENDED or is_alive(self.path):
            return cast(RunState, state)
        if state == "starting" and meta.get("pid") is None:  # with one it has lived
            created = stored.instant(self._file, stored.fact(self._file, meta, "created"))
            if abs(datetime.now(UTC) - created) < LAUNCH_GRACE:  # the clock may be put back
                return "starting"
        # It may have ended properly between the two looks.
        now = self.meta().get("state", "starting")
        return cast(RunState, now) if now in ENDED else "dead"

    @property
    def pid(self) -> int:
        """The number of the newest worker's process, on its machine; 0 when it has none yet."""
        pid = self.meta().get("pid")
        return pid if isinstance(pid, int) and pid > 1 else 0

    def checkpoint_step(self) -> int | None:
        """The step a resume would go on from; None when no checkpoint was written yet."""
        row = self._first("SELECT step FROM checkpoints ORDER BY id DESC LIMIT 1")
        return None if row is None else int(row[0])

    def head(self) -> Head:
        """Counters and cursors, in one look."""
        with self._snapshot():
            meta = self.meta()
            (point,) = self._first("SELECT coalesce(max(id), 0) FROM points")
            (live,) = self._first("SELECT coalesce(max(id), 0) FROM live")
        return Head(
            state=self._state(meta),
            **meta.get("counters", {}),
            watched_episodes=meta.get("watched_episodes", 0),
            seconds=meta.get("seconds", 0.0),
            pace=meta.get("pace"),
            generation=meta.get("generation", 0),
            last_point_id=point,
            live_id=live,
            waiting=meta.get("waiting", 0),
        )

    def changed(self) -> bool:
        """Whether anybody wrote since the last call. True at the first call."""
        (version,) = self._first("PRAGMA data_version")
        before, self._data_version = self._data_version, version
        return bool(before != version)

    def error(self) -> str:
        """Why a failed run failed, or what is known of a worker's death; else nothing."""
        meta = self.meta()
        if text := meta.get("finished", {}).get("error", ""):
            return str(text)
        if self._state(meta) != "dead":
            return ""
        if not (self.path / schema.DATABASE).exists():
            return f"The run's folder {self.path} is gone: it was moved or deleted."
        return outcome.last_log_line(self.path) or (
            "The worker ended without a word: it was killed, or the machine went down."
        )

    def final(self) -> dict[str, Any]:
        """The figures of the run so far, under the names of the command's JSON lines.

        `status` is the state; figures no evaluation has given are NaN; `metrics` are the means of
        the last recording point. Where success is not to reach the goal, `success_rule` says what
        it is; of a run that Ice Maze did not start, `external` says who trains.
        """
        head = self.head()
        with self._snapshot():
            found = outcome.final(self._db, head, self._file)
        row = self._first("SELECT payload FROM worlds ORDER BY id LIMIT 1")
        world = self._event(World, "worlds", row)
        if world is not None and world.maze.success_rule:
            found["success_rule"] = world.maze.success_rule
        if other := self.meta().get("external"):
            found["external"] = other["trainer"]
        return found

    def per_agent(self) -> dict[str, Floats]:
        """The last value of each figure for each of the N agents: float64 [N] by name, NaN where
        an agent has none. Empty before the run has ended."""
        with self._snapshot():
            return outcome.per_agent(self._db, self._file)

    def success_rate(self) -> float | None:
        """The newest success rate on training worlds; None before the first evaluation."""
        with self._snapshot():
            return outcome.success_rate(self._db, self._file)

    def figures(self) -> dict[str, float]:
        """The newest figures on training worlds, as lists show them, those that there are."""
        with self._snapshot():
            return outcome.figures(self._db, self._file)

    # ------------------------------------------------------------ the record

    def worlds(self) -> list[World]:
        """Every maze the run has met, in order."""
        return self._events(World, "worlds", self._all("SELECT payload FROM worlds ORDER BY id"))

    def world(self, world_id: int) -> World | None:
        """The world of that id."""
        row = self._first("SELECT payload FROM worlds WHERE world_id = ?", world_id)
        return self._event(World, "worlds", row)

    def world_at(self, step: int) -> World | None:
        """The training world that holds at `step`: the newest one from then or before."""
        row = self._first(
            "SELECT payload FROM worlds WHERE split = 'train' AND step <= ? "
            "ORDER BY step DESC, id DESC LIMIT 1",
            step,
        )
        return self._event(World, "worlds", row)

    def curves(
        self, names: list[str] | None = None, split: Split = "train", until: int | None = None
    ) -> dict[str, Curve]:
        """Every metric (or those of `names`) over steps, up to step `until`.

        `split` chooses between evaluations on training and on held-out mazes; the learner's own
        metrics belong to "train". Only rows not seen before are read.
        """
        with self._snapshot():
            self._forget_if_resumed()
            rows = self._all(
                "SELECT id, name, step, world_id, mean, low, high FROM metrics "
                "WHERE id > ? AND +split = ? ORDER BY id",  # + : by id, not by the index on split
                self._curve_cursor.get(split, 0),
                split,
            )
            (newest,) = self._first("SELECT coalesce(max(id), 0) FROM metrics")
        grown = self._curves.setdefault(split, {})
        self._grow(grown, rows)
        self._curve_cursor[split] = newest
        wanted = grown if names is None else [name for name in names if name in grown]
        return {name: grown[name].curve(until) for name in wanted}

    def progress(self) -> Progress:
        """The counters at each recording point, so that curves can be drawn over other units. Only
        rows not seen before are read."""
        with self._snapshot():
            self._forget_if_resumed()
            rows = self._all(
                "SELECT step, updates, episodes, total_env_steps FROM points WHERE id > ? "
                "ORDER BY id",
                self._points_cursor,
            )
            (newest,) = self._first("SELECT coalesce(max(id), 0) FROM points")
        self._points += stored.cells(self._file, POINT_ROWS, rows, "points")
        self._points_cursor = newest
        return progress(self._points)

    def curves_of(self, names: Sequence[str]) -> dict[str, Curve]:
        """The curves of some metrics on training mazes, without reading the others: for a look."""
        marks = ", ".join("?" * len(names))
        rows = self._all(
            "SELECT id, name, step, world_id, mean, low, high FROM metrics WHERE split = 'train' "
            f"AND name IN ({marks}) ORDER BY id",
            *names,
        )
        grown: dict[str, GrowingCurve] = {}
        self._grow(grown, rows)
        return {name: curve.curve() for name, curve in grown.items()}

    def _grow(self, grown: dict[str, GrowingCurve], rows: list[Any]) -> None:
        """Add rows of `metrics` to the curves they belong to."""
        rows = stored.cells(self._file, METRIC_ROWS, rows, "metrics")
        by_name: dict[str, list[Row]] = {}
        for name, row in zip(todays_names([row[1:3] for row in rows]), rows, strict=True):
            by_name.setdefault(name, []).append(row[2:])
        for name, new in by_name.items():
            grown.setdefault(name, GrowingCurve()).extend(new)

    def reached(self) -> dict[str, Reached]:
        """How many agents are behind each of `TIMES` that the run records, by name."""
        with self._snapshot():
            self._forget_if_resumed()
            rows = self._all(
                "SELECT id, name, step, n FROM metrics WHERE id > ? AND +split = 'train' "
                "AND name IN (?, ?, ?) ORDER BY id",
                self._reached_cursor,
                *TIMES,
            )
            (newest,) = self._first("SELECT coalesce(max(id), 0) FROM metrics")
        self._reached_cursor = newest
        new: dict[str, tuple[list[int], list[int]]] = {}
        for _, name, step, count in stored.cells(self._file, COUNT_ROWS, rows, "metrics"):
            steps, counts = new.setdefault(name, ([], []))
            steps.append(step)
            counts.append(count)
        for name, (steps, counts) in new.items():
            before = self._reached.get(name, Reached((), ()))
            self._reached[name] = Reached((*before.steps, *steps), (*before.counts, *counts))
        return dict(self._reached)

    def _forget_if_resumed(self) -> None:
        generation = self.meta().get("generation", 0)
        if generation != self._generation:
            self._generation = generation
            self._curves.clear()
            self._curve_cursor.clear()
            self._reached.clear()
            self._reached_cursor = 0
            self._points.clear()
            self._points_cursor = 0
            self._batches.clear()
            self._policy = None

    def evaluation_at(
        self, step: int | None = None, split: Split = "train", world_id: int | None = None
    ) -> Evaluation | None:
        """The newest evaluation at or before `step` (default: of all)."""
        row = self._first(
            "SELECT payload FROM evaluations WHERE split = ? AND step <= ? "
            "AND (?3 IS NULL OR world_id = ?3) ORDER BY step DESC, id DESC LIMIT 1",
            split,
            NEWEST if step is None else step,
            world_id,
        )
        return self._event(Evaluation, "evaluations", row)

    def policy_at(self, step: int | None = None, world_id: int | None = None) -> Policy | None:
        """The newest recorded policy at or before `step` (default: of all)."""
        row = self._first(
            "SELECT payload FROM policies WHERE step <= ?1 AND (?2 IS NULL OR world_id = ?2) "
            "ORDER BY step DESC, id DESC LIMIT 1",
            NEWEST if step is None else step,
            world_id,
        )
        return self._event(Policy, "policies", row)

    def episodes(self, until: int | None = None, limit: int = 50) -> list[EpisodeRow]:
        """Recorded episodes ended at or before step `until`, newest first."""
        until = NEWEST if until is None else until
        return self._episode_rows("step <= ? ORDER BY step DESC, id DESC LIMIT ?", until, limit)

    def episode_beside(self, step: int, episode_id: int, by: int) -> EpisodeRow | None:
        """The recorded episode next after (`by` > 0) or before the place of an episode that ended
        at `step`; None at the ends. An id beyond all others is the place behind that step."""
        sign, order = (">", "ASC") if by > 0 else ("<", "DESC")
        rows = self._episode_rows(
            f"(step, id) {sign} (?, ?) ORDER BY step {order}, id {order} LIMIT 1", step, episode_id
        )
        return rows[0] if rows else None

    def episode_row(self, episode_id: int) -> EpisodeRow | None:
        """A recorded episode in one line."""
        rows = self._episode_rows("id = ?", episode_id)
        return rows[0] if rows else None

    def _episode_rows(self, which: str, *values: int) -> list[EpisodeRow]:
        rows = self._all(f"SELECT {EPISODE_COLUMNS} FROM episodes WHERE {which}", *values)
        return stored.rows(self._file, EpisodeRow, [_episode_row(row) for row in rows], "episodes")

    def episode(self, episode_id: int) -> Episode:
        """A whole episode. Raises UserError when a resume has deleted it."""
        row = self._first("SELECT payload FROM episodes WHERE id = ?", episode_id)
        if (episode := self._event(Episode, "episodes", row)) is None:
            raise UserError(f"{self.id}: there is no episode {episode_id}; the run was resumed.")
        return episode

    def groups(self, until: int | None = None) -> list[GroupRow]:
        """The groups recorded up to update `until` (default: all), in order."""
        return self._groups("step <= ? ORDER BY step, id", NEWEST if until is None else until)

    def _groups(self, which: str, *values: int) -> list[GroupRow]:
        if not self._first("SELECT 1 FROM sqlite_master WHERE name = 'groups'"):
            return []  # a run of an older version, which knew no language models
        rows = self._all(f"SELECT id, step, idx, world_id, size FROM groups WHERE {which}", *values)
        return stored.rows(self._file, GroupRow, rows, "groups")

    def newest_group(self, until: int | None = None) -> GroupRow | None:
        """The last group recorded up to update `until` (default: of all)."""
        rows = self._groups(
            "step <= ? ORDER BY step DESC, id DESC LIMIT 1", NEWEST if until is None else until
        )
        return rows[0] if rows else None

    def groups_of(self, update: int) -> list[GroupRow]:
        """The recorded groups of one update, in order."""
        return self._groups("step = ? ORDER BY id", update)

    def update_with_groups(self, update: int, by: int) -> int | None:
        """The next update after (`by` > 0) or before this one that has recorded groups."""
        sign, order = (">", "ASC") if by > 0 else ("<", "DESC")
        rows = self._groups(f"step {sign} ? ORDER BY step {order} LIMIT 1", update)
        return rows[0].step if rows else None

    def group(self, group_id: int) -> Group:
        """A group with its members. Raises UserError when a resume has deleted it."""
        row = self._first("SELECT payload FROM groups WHERE id = ?", group_id)
        if (group := self._event(Group, "groups", row)) is None:
            raise UserError(f"{self.id}: there is no group {group_id}; the run was resumed.")
        return group

    def notes(self, after_id: int = 0) -> list[NoteRow]:
        """Notes newer than `after_id`, oldest first."""
        rows = self._all(
            "SELECT id, step, level, text, remedy, term FROM notes WHERE id > ? ORDER BY id",
            after_id,
        )
        return stored.rows(self._file, NoteRow, rows, "notes")

    def machine(self, newest: int = 1000) -> list[MachineRow]:
        """How busy the worker's machine was: the newest rows, oldest first."""
        if not self._first("SELECT 1 FROM sqlite_master WHERE name = 'machine'"):
            return []  # a run of an older version, which did not look
        rows = self._all("SELECT * FROM machine ORDER BY id DESC LIMIT ?", newest)
        return stored.rows(self._file, MachineRow, rows[::-1], "machine")

    def devices(self) -> list[Device]:
        """The devices that `machine` speaks of."""
        return msgspec.convert(self.meta().get("machine", []), list[Device])

    def tunes(self) -> list[Tuned]:
        """What was changed while the run was going, in order."""
        return self._events(Tuned, "tunes", self._all("SELECT payload FROM tunes ORDER BY id"))

    def pairs(self, until: int | None = None) -> list[Pair]:
        """Every pair of completions shown up to update `until` (default: all), in order."""
        return self._events(Pair, "ratings", self._ratings("pair", until))

    def preferences(self, until: int | None = None) -> list[Preference]:
        """Every answer about a pair up to update `until` (default: all), in order."""
        return self._events(Preference, "ratings", self._ratings("preference", until))

    def _ratings(self, kind: str, until: int | None) -> list[Any]:
        if not self._first("SELECT 1 FROM sqlite_master WHERE name = 'ratings'"):
            return []  # a run of an older version, which asked nobody
        return self._all(
            "SELECT payload FROM ratings WHERE kind = ? AND step <= ? ORDER BY id",
            kind,
            NEWEST if until is None else until,
        )

    # ------------------------------------------------------------ the live edge

    def live(self) -> Live | None:
        """The watched agent's newest steps (oldest first) and tables; None before there are any."""
        with self._snapshot():
            self._forget_if_resumed()
            (oldest,) = self._first("SELECT coalesce(min(id), 0) FROM live WHERE id > 0")
            newest = max(self._batches, default=0)
            rows = self._all("SELECT id, payload FROM live WHERE id > ? ORDER BY id", newest)
            policy = self._first("SELECT payload FROM live WHERE id = 0") if rows else None
        self._batches = {id_: batch for id_, batch in self._batches.items() if id_ >= oldest}
        for id_, payload in rows:
            self._batches[id_] = stored.event(self._file, Live, payload, "live")
        if policy is not None:
            self._policy = stored.event(self._file, Policy, policy[0], "live")
        if not self._batches:
            return None
        # By episode and t: all moves of a language model's update have the same step.
        late = {(s.episode, s.t): s for batch in self._batches.values() for s in batch.late}
        steps: list[Step] = [
            late.get((step.episode, step.t), step) if step.kind == "real" else step
            for batch in self._batches.values()
            for step in batch.steps
        ]
        last = self._batches[max(self._batches)]
        return Live(
            step=last.step,
            updates=last.updates,
            episodes=last.episodes,
            total_env_steps=last.total_env_steps,
            steps=tuple(steps[-LIVE_STEPS:]),
            policy=self._policy,
        )

    # ------------------------------------------------------------ commands

    def send(self, name: str, **args: Any) -> int:
        """Send a command to the worker; gives its id for `reply`.

        Raises UserError when the arguments do not fit, or nobody is there to do it.
        """
        commands.parse(name, args)
        stored.check_started_here(self.meta(), self.id, name)
        if (state := self.state()) in ENDED:
            raise UserError(
                f"The run {self.id} is {state}: it cannot {name}. "
                f"`icemaze train --resume {self.id}` goes on with it."
            )
        with contextlib.closing(schema.open_to_write(self.path)) as connection:
            with schema.explained(self._file):
                cursor = connection.execute(
                    "INSERT INTO commands (name, args, sent_at) VALUES (?, ?, ?)",
                    (name, json.dumps(args), time.time()),
                )
            return int(cursor.lastrowid or 0)

    def reply(self, command_id: int) -> commands.CommandReply | None:
        """What became of a command; None when there is no such command."""
        row = self._first(
            "SELECT id, name, status, reply, applied_step FROM commands WHERE id = ?", command_id
        )
        found = stored.rows(self._file, commands.CommandReply, [row] if row else [], "commands")
        return found[0] if found else None

    def wait_reply(self, command_id: int, timeout: float = 10.0) -> commands.CommandReply:
        """Wait for the answer. Raises UserError when none came in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            answer = self.reply(command_id)
            if answer is not None and not answer.pending:
                return answer
            if answer is None or time.monotonic() > deadline or self.state() in ENDED:
                answer = self.reply(command_id)  # it may have come with the worker's last words
                if answer is not None and not answer.pending:
                    return answer
                raise UserError(
                    f"The run {self.id} did not answer within {timeout:g} seconds; it is "
                    f"{self.state()}. {self.how_to_end()}"
                )
            time.sleep(0.01)

    def how_to_end(self) -> str:
        """What to do about a worker that does not answer."""
        return (
            f"Its worker is process {self.pid}; {self.path / 'worker.log'} says what it is at. "
            f"`icemaze stop {self.id} --now` ends it whatever it does, and keeps the last "
            "checkpoint."
        )

    # ------------------------------------------------------------ helpers

    @contextlib.contextmanager
    def one_moment(self) -> Iterator[sqlite3.Connection]:
        """The connection, for several looks at the same moment. Keep it short."""
        with self._snapshot():
            yield self._db

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the whole store, also one that is being written, into an empty database."""
        with schema.explained(self._file):
            self._db.backup(target)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One short read transaction, so that several looks see the same moment."""
        with schema.explained(self._file):
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

    def _events(self, kind: type[E], table: str, rows: list[Any]) -> list[E]:
        return [stored.event(self._file, kind, row[0], table) for row in rows]

    def _event(self, kind: type[E], table: str, row: Any) -> E | None:
        return stored.event(self._file, kind, row[0], table) if row else None

    def _all(self, sql: str, *values: Any) -> list[Any]:
        with schema.explained(self._file):
            return self._db.execute(sql, values).fetchall()

    def _first(self, sql: str, *values: Any) -> Any:
        with schema.explained(self._file):
            return self._db.execute(sql, values).fetchone()


def _real(number: Any) -> Any:
    return math.nan if number is None else number


def _episode_row(row: Any) -> list[Any]:
    """A row with NaN for what SQLite has as null, and flags for its ones and zeros."""
    reals, flags = [_real(number) for number in row[6:8]], [flag == 1 for flag in row[8:]]
    return [*row[:6], *reals, *flags]
