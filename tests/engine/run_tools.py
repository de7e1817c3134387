"""What the tests of runs share: waiting without guessing, and comparing two runs row for row."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine import factory
from engine.config.preset import Preset
from engine.runs import launch
from engine.runs.reader import RunReader
from engine.runs.records import Head
from engine.runs.session import MakeLearner, Session
from engine.runs.store import RunWriter

FAKE_WORKER = [sys.executable, "-P", str(Path(__file__).with_name("fake_learner.py"))]
DEADLINE = 60.0
COMPARED = (
    "worlds", "points", "metrics", "evaluations", "episodes", "policies", "tunes", "per_agent",
)  # fmt: skip

LAKE = """
title = "Interrupted"
[maze]
map = '''
SFFF
FHFH
FFFH
HFFG
'''
slip = 0.3
max_steps = 50
changes = [{step = 40_000, map = "SFFF\\nFFFH\\nFHFH\\nHFFG"}]
[algorithm]
name = "q-learning"
exploration = {kind = "epsilon-greedy", start = 1.0, end = 0.05, steps = 30_000}
[budget]
env_steps = 60_000
[run]
agents = 3
seed = 5
"""
"""A run on ice whose map changes, long enough to be interrupted."""


def wait_for(reader: RunReader, condition: Callable[[Head], bool]) -> Head:
    """Poll the run until the condition holds; fail loudly when it never does."""
    deadline = time.monotonic() + DEADLINE
    while not condition(head := reader.head()):
        if time.monotonic() > deadline:
            log = (reader.path / "worker.log").read_text()
            raise AssertionError(f"still {head} after {DEADLINE} s; worker.log:\n{log}")
        time.sleep(0.005)
    return head


def ask(reader: RunReader, name: str, **args: Any) -> str:
    """Send a command and wait for its answer: "done", or why it was refused."""
    answer = reader.wait_reply(reader.send(name, **args), DEADLINE)
    return answer.reply if answer.refused else answer.status


def kill(reader: RunReader) -> None:
    """kill -9 the worker, and wait until it is gone."""
    os.kill(reader.meta()["pid"], signal.SIGKILL)
    wait_for(reader, lambda head: head.state == "dead")


def rows(run_dir: Path, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table, read with plain SQLite."""
    with contextlib.closing(sqlite3.connect(run_dir / "run.db")) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()


def record(run_dir: Path) -> dict[str, Any]:
    """Everything two runs of one preset and seed must agree on."""
    tables: dict[str, Any] = {table: rows(run_dir, table) for table in COMPARED}
    with contextlib.closing(sqlite3.connect(run_dir / "run.db")) as connection:
        tables["checkpoints"] = connection.execute(
            # When the one before the newest was taken depends on the clock.
            "SELECT id, step, counters, state FROM checkpoints WHERE id >= 0 ORDER BY id"
        ).fetchall()
    return tables


def run_here(run_dir: Path, make_learner: MakeLearner, **session: Any) -> bool:
    """Carry out a run in this process; gives whether it succeeded."""
    writer = RunWriter(run_dir)
    try:
        return Session(writer, make_learner, **session).run()
    finally:
        writer.close()


def unbroken(preset: Preset, runs_dir: Path) -> Path:
    """The same run, never interrupted, in this process."""
    run_dir = launch.create_run(preset, "unbroken", runs_dir=runs_dir)
    assert run_here(run_dir, factory.make_learner)
    return run_dir


@contextlib.contextmanager
def launched(
    preset: Preset, runs_dir: Path, program: list[str] | None = None, **start: Any
) -> Iterator[RunReader]:
    """A run in a real background process, killed at the end if it still lives."""
    run_dir = launch.create_run(preset, "test", runs_dir=runs_dir)
    launch.start_worker(run_dir, program=program, **start)
    with RunReader(run_dir) as reader:
        try:
            yield reader
        finally:
            if not reader.head().ended:
                kill(reader)
