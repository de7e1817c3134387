"""Forks: a new run that goes on from a checkpoint of another one, with some settings changed.

A fork is the parent as it was at the checkpoint, copied: its record up to there, its state, its
preset with the settings as they were tuned by then. So it goes on bit for bit as the parent did
where nothing is changed, both stand on one clock, and it needs the parent no more.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from engine import presets
from engine.config.preset import LlmPreset, Preset
from engine.core import child, private
from engine.core.errors import UserError
from engine.learning.custom_file import CUSTOM_PREFIX
from engine.learning.events import AnyEvent, Note, Tuned
from engine.learning.learner import Counters, State
from engine.learning.tuning import tunable, tuned_settings
from engine.runs import checkpoints, custom_algorithm, library, schema, stored
from engine.runs.launch import explained, new_folder, permitted_code
from engine.runs.reader import RunReader
from engine.runs.schema import RECORD
from engine.runs.store import RunWriter
from engine.tabular.custom import recorded

SETTINGS = "settings"
"""The entry of a state that holds the `[algorithm]` settings as they are then, as JSON."""
FIXED = {
    "algorithm.name": "a fork goes on with what its parent has learned, so with the same algorithm",
    "algorithm.initial_": "it says what is there before step 0, and that is past",
    "maze": "the maze is that of the checkpoint; a map can be edited while the fork runs (key E)",
    "deploy": "the rules of use are those of the checkpoint",
    "run.agents": "the checkpoint holds as many agents as it holds",
    "run.seed": "the random numbers go on from the checkpoint",
    "model": "the language model is that of the checkpoint",
    "text": "the prompts are those of the checkpoint",
    "warmup": "the warm-up came before step 0",
}
"""What a fork cannot change, by the beginning of its key, and why."""
CHECK_SECONDS = 120.0
MOST_TOLD = 6
"""Changes that the note of a fork names."""


class Change(NamedTuple):
    """A setting that a fork has otherwise than its parent had at the checkpoint."""

    key: str
    before: Any
    after: Any


class ForkPoint(NamedTuple):
    """A checkpoint to go on from."""

    run_dir: Path
    step: int
    table: Literal["checkpoints", "kept"]
    id: int
    counters: dict[str, int]
    preset: Preset
    """The parent's preset, with the settings as they were at the checkpoint."""


def find_point(run_dir: Path, at: int | None = None) -> ForkPoint:
    """The newest checkpoint of a run that is not after step `at` (default: of all).

    Raises UserError where the run has none, is damaged, or was not started by Ice Maze.
    """
    with RunReader(run_dir) as reader, reader.one_moment() as db:
        stored.check_started_here(reader.meta(), reader.id, "fork")
        chosen = _chosen(db, run_dir, at)
        saved = checkpoints.read(run_dir, db, chosen[2], chosen[1])
        preset = as_it_was(reader.info().preset, saved.state, run_dir / schema.DATABASE)
    return ForkPoint(run_dir, *chosen, saved.counters, preset)


def _chosen(
    db: sqlite3.Connection, run_dir: Path, at: int | None
) -> tuple[int, Literal["checkpoints", "kept"], int]:
    """Step, table and row of a checkpoint."""
    found: list[tuple[int, Literal["checkpoints", "kept"], int]] = []
    file = run_dir / schema.DATABASE
    tables: tuple[Literal["checkpoints", "kept"], ...] = ("checkpoints", "kept")
    with schema.explained(file):
        for table in tables:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                rows = db.execute(f"SELECT step, id FROM {table}").fetchall()
                rows = stored.cells(file, list[tuple[stored.Id, int]], rows, table)
                found += [(step, table, id_) for step, id_ in rows]
    fitting = [each for each in found if at is None or each[0] <= at]
    if not fitting:
        raise UserError(
            f"The run {run_dir.name} has no checkpoint yet that a fork could go on from; one is "
            "written before its first step."
        )
    return max(fitting, key=lambda each: (each[0], each[1] == "kept"))


def as_it_was(preset: Preset, state: State, file: Path) -> Preset:
    """The preset with the algorithm's settings as a state holds them."""
    if SETTINGS not in state:  # planners have none that change
        return preset
    try:
        data = json.loads(state[SETTINGS].tobytes())
        settings = msgspec.convert(data, type(preset.algorithm), strict=True)
    except (ValueError, RecursionError) as error:
        raise stored.damaged(file, f"a checkpoint's settings cannot be read ({error})") from error
    return msgspec.structs.replace(preset, algorithm=settings)


# ---------------------------------------------------------------- what is changed


def changed_preset(point: ForkPoint, overrides: Sequence[str]) -> Preset:
    """The parent's preset at a checkpoint with `--set` overrides. Raises UserError."""
    for override in overrides:
        _check_key(override.partition("=")[0].strip())
    if not overrides:
        return point.preset
    return presets.parse(
        presets.dump(point.preset),
        where="preset.toml",
        overrides=list(overrides),
        folder=point.run_dir,
        run=True,
    )


def changes(before: Preset, after: Preset) -> list[Change]:
    """What differs, each setting by its dotted key. Raises UserError for what a fork cannot
    change."""
    old, new = _leaves(presets.as_data(before)), _leaves(presets.as_data(after))
    found = [
        Change(key, old.get(key), new.get(key))
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
    for change in found:
        _check_key(change.key)
    return found


def changeable(key: str) -> bool:
    """Whether a fork may have another value of a setting."""
    return _fixed(key) is None


def check(point: ForkPoint, preset: Preset) -> list[Change]:
    """What a fork with this preset changes. Raises UserError where it cannot, or where its budget
    is used up before it begins."""
    found = changes(point.preset, preset)
    for key in ("env_steps", "episodes", "updates"):
        limit, done = getattr(preset.budget, key), point.counters.get(key, 0)
        if limit is not None and done >= limit:
            raise UserError(
                f"budget.{key}: at step {point.step:,} it is used up ({done:,} of {limit:,}); "
                f"raise it, as with --set budget.{key}={2 * done}, or fork earlier, with --at STEP."
            )
    return found


def _fixed(key: str) -> str | None:
    """Why a setting cannot be changed; None where it can."""
    for fixed, why in FIXED.items():
        inside = key.startswith((f"{fixed}.", f"{fixed}["))
        if key == fixed or inside or (fixed.endswith("_") and key.startswith(fixed)):
            return why
    return None


def _check_key(key: str) -> None:
    if (why := _fixed(key)) is not None:
        raise UserError(f"{key} cannot be changed in a fork: {why}. Start a new run to change it.")


def _leaves(data: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {path: data}
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _leaves(value, f"{path}.{key}" if path else key)
    return found


# ---------------------------------------------------------------- making it


def create_fork(point: ForkPoint, preset: Preset, *, runs_dir: Path | None = None) -> Path:
    """Make the folder of a run that goes on from a checkpoint with this preset; its worker is
    started like any other. Raises UserError."""
    found = check(point, preset)
    permitted_code(point.run_dir)
    with RunReader(point.run_dir) as parent:
        name = parent.info().preset_name
        run_dir = new_folder(runs_dir or point.run_dir.parent, f"{name}-fork")
        try:
            with explained(run_dir):
                _copy_files(point.run_dir, run_dir, preset)
                state = _copy_record(parent, point, preset, run_dir)
            _continue(point, preset, found, run_dir, state)
            _check_shape(found, preset, run_dir, point.step)
        except BaseException:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise
    return run_dir


def _copy_files(parent: Path, run_dir: Path, preset: Preset) -> None:
    """The preset, and the user's own algorithm with what it says of itself."""
    private.write_new(run_dir / "preset.toml", presets.dump(preset).encode())
    if name := custom_algorithm.named(parent / "preset.toml"):
        plain = Path(name.removeprefix(CUSTOM_PREFIX)).name
        for file in (plain, recorded.FILE):
            private.write_new(run_dir / file, (parent / file).read_bytes())


def _copy_record(
    parent: RunReader, point: ForkPoint, preset: Preset, run_dir: Path
) -> tuple[Counters, State]:
    """Copy the parent's record up to the checkpoint; gives the counters and the state there."""
    file = run_dir / schema.DATABASE
    private.write_new(file, b"")
    with contextlib.closing(sqlite3.connect(file)) as db, schema.explained(file):
        parent.copy_to(db)
    with contextlib.closing(schema.open_to_write(run_dir)) as db:
        # Folders of states stand with the parent, and are copied as one is needed.
        saved = checkpoints.read(point.run_dir, db, point.id, point.table)
        counters = msgspec.convert(saved.counters, Counters)
        with schema.explained(file):
            db.execute("BEGIN IMMEDIATE")
            for table, last in zip(RECORD, saved.last, strict=True):
                db.execute(f"DELETE FROM {table} WHERE id > ?", (last,))
            for table in ("live", "commands", "checkpoints"):
                db.execute(f"DELETE FROM {table}")
            # The state of the fork's step is its first checkpoint, with what is changed.
            gone = 0 if isinstance(preset, LlmPreset) else saved.step
            db.execute("DELETE FROM kept WHERE step >= ?", (gone,))
            for key, value in _meta(parent, point, preset, run_dir, saved.counters).items():
                db.execute("REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
            keys = ("pid", "finished", "waiting", "watched_episodes", "keep_every", "pace")
            db.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in keys])
            db.execute("COMMIT")
            db.execute("VACUUM")  # the parent may have gone on for long
    return counters, saved.state


def _meta(
    parent: RunReader, point: ForkPoint, preset: Preset, run_dir: Path, counters: dict[str, int]
) -> dict[str, Any]:
    now = datetime.now(UTC)
    order = library.next_in_order(run_dir.parent, now)
    return {
        "id": run_dir.name,
        "title": preset.title,
        "created": now.isoformat(timespec="microseconds"),
        "order": order.isoformat(timespec="microseconds"),
        "state": "starting",
        "generation": 0,
        "paused": False,
        "seconds": 0.0,
        "counters": counters,
        "forked_from": {"run": parent.id, "step": point.step},
    }


def _continue(
    point: ForkPoint,
    preset: Preset,
    found: list[Change],
    run_dir: Path,
    saved: tuple[Counters, State],
) -> None:
    """Note what was changed, and save the state with it as the fork's first checkpoint."""
    counters, state = saved
    if SETTINGS in state and any(change.key.startswith("algorithm.") for change in found):
        settings = msgspec.json.encode(preset.algorithm)
        state = {**state, SETTINGS: np.frombuffer(settings, np.uint8)}
    writer = RunWriter(run_dir)
    try:
        writer.write([*_tuned(point, preset, counters.step)])
        text = f"Forked from {point.run_dir.name} at step {point.step:,}, {_told(found)}."
        writer.write([Note(step=counters.step, level="info", text=text, term="fork")])
        if isinstance(preset, LlmPreset):
            state = checkpoints.save_folder(run_dir, counters.step, state, first=True)
        writer.save_checkpoint(counters, state, first=True)
        writer.commit()
    finally:
        writer.close()


def _tuned(point: ForkPoint, preset: Preset, step: int) -> Iterable[AnyEvent]:
    """What a tune could have changed is recorded as one."""
    before = msgspec.to_builtins(point.preset.algorithm)
    after = msgspec.to_builtins(preset.algorithm)
    for name in tunable(type(preset.algorithm)):
        if before.get(name) != after[name]:
            key = f"algorithm.{name}"
            _, value = tuned_settings(point.preset.algorithm, key, after[name])
            yield Tuned(step=step, key=key, value=value)


def _told(found: list[Change]) -> str:
    if not found:
        return "with nothing changed"
    words = [f"{change.key} = {change.after} (was {change.before})" for change in found]
    more = f" and {len(words) - MOST_TOLD} more" if len(words) > MOST_TOLD else ""
    return f"with {', '.join(words[:MOST_TOLD])}{more}"


def _check_shape(found: list[Change], preset: Preset, run_dir: Path, step: int) -> None:
    """Raise UserError where the state does not fit a learner with the changed settings.

    In a process of its own, as whoever asks for a fork has no learners loaded; and only for table
    learners, after changes that no tune could have made. Of a language model no setting that may
    change has to do with the size of what it has learned.
    """
    may_change = {f"algorithm.{name}" for name in tunable(type(preset.algorithm))}
    risky = [
        change.key
        for change in found
        if change.key.startswith("algorithm.")
        and ".".join(change.key.split(".")[:2]) not in may_change
    ]
    if not risky or isinstance(preset, LlmPreset):
        return
    if custom_algorithm.named(run_dir / "preset.toml"):
        return  # code of the user's own is run by the worker only; it says what does not fit
    command = [sys.executable, "-P", "-m", "engine.runs.past.fork_check", str(run_dir)]
    try:
        done = subprocess.run(
            command, env=child.environment(), cwd=run_dir, capture_output=True, text=True,
            timeout=CHECK_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return  # a busy machine; the worker looks at it again
    if done.returncode:
        raise UserError(
            f"{', '.join(risky)} cannot be changed in a fork: what the parent has learned by step "
            f"{step:,} does not fit ({done.stdout.strip()[-300:] or 'it failed'}). "
            "Start a new run to change it."
        )
