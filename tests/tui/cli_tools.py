"""What the tests of the `icemaze` command share: running it, and reading what it says."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import tui
from tui.cli.main import run

ROOT = Path(tui.__file__).parents[1]
DEADLINE = 120.0
"""Seconds after which a test gives up; the first compile on a slow machine takes a while."""
LAKE = str(Path(__file__).with_name("lake.toml"))
"""FrozenLake without slip, learned within a second by every agent."""
ENDLESS = ("--set", "budget.env_steps=1e12")
FINISHED_KEYS = [
    "event", "run", "path", "status", "env_steps", "total_env_steps", "episodes", "updates",
    "seconds", "success_rate", "success_kind", "greedy_success_rate", "expected_return",
    "expected_score", "expected_length", "optimal_return", "horizon_optimum", "metrics",
]  # fmt: skip


def command(*arguments: str) -> list[str]:
    """`icemaze ARGUMENTS` as this interpreter runs it."""
    return [sys.executable, "-m", "tui.cli.main", *arguments]


def environment(runs_dir: Path) -> dict[str, str]:
    """Ours, with another folder for runs."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "ICEMAZE_RUNS_DIR": str(runs_dir),
    }


def icemaze(runs_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in this process: starting one costs more than most commands do.

    With `settings`, environment variables that may count when a process starts, see `as_process`.
    """
    if settings:
        return as_process(runs_dir, *arguments, **settings)
    # ICEMAZE_RUNS_DIR is also what `--runs-dir` sets.
    with (
        mock.patch.dict(os.environ, environment(runs_dir)),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(pipe()) as stdout,
        contextlib.redirect_stderr(pipe()) as stderr,
    ):
        code = run(list(arguments))
    said = [stream.buffer.getvalue().decode("utf-8") for stream in (stdout, stderr)]
    return subprocess.CompletedProcess(command(*arguments), code, *said)


def pipe() -> Any:
    """What stdout is for a process whose output is read: no terminal, UTF-8, written at once."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)


def as_process(
    runs_dir: Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a process of its own, as a shell does."""
    return subprocess.run(
        command(*arguments),
        env={**environment(runs_dir), **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def objects(text: str) -> list[dict[str, Any]]:
    """Every line as a JSON object. Fails on NaN, which is not JSON, and on anything else."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    found = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert all(isinstance(item, dict) for item in found)
    return found


def status(runs_dir: Path, run: str) -> dict[str, Any]:
    """`icemaze status RUN --json`."""
    (found,) = objects(icemaze(runs_dir, "status", run, "--json").stdout)
    return found


def wait_until(
    runs_dir: Path, run: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Poll a run's status until it is as wanted."""
    deadline = time.monotonic() + DEADLINE
    while not wanted(found := status(runs_dir, run)):
        assert time.monotonic() < deadline, f"still {found} after {DEADLINE} s"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def training(runs_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`icemaze train` in the background; whatever is left of it and its worker ends with us."""
    process = subprocess.Popen(
        command("train", *arguments),
        env=environment(runs_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        kill_workers(runs_dir)


def kill_workers(runs_dir: Path) -> None:
    """End every worker in a folder of runs."""
    from engine.runs.disk.lock import is_alive
    from engine.runs.reader import RunReader

    for folder in runs_dir.glob("*-*"):
        if is_alive(folder):
            with RunReader(folder) as reader, contextlib.suppress(ProcessLookupError):
                os.kill(reader.meta()["pid"], signal.SIGKILL)


def read_until(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read JSON lines up to the first with that `event`."""
    assert process.stdout is not None
    for line in process.stdout:
        (found,) = objects(line)
        if found["event"] == event:
            return found
    raise AssertionError(f"no {event!r} event; stderr: {process.stderr and process.stderr.read()}")
