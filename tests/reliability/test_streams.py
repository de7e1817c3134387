"""Standard streams may be closed, full, or read by nobody: quiet, and the exit status is right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import worker_tools  # noqa: F401  (the way to the tools of the other rooms)

# isort: split
from cli_tools import DEADLINE, ENDLESS, LAKE, environment, kill_workers, objects
from run_tools import wait_for

from engine.runs import library
from engine.runs.disk.lock import is_alive
from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow

FULL = "icemaze: stdout: No space left on device. What follows is not written.\n"


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    kill_workers(tmp_path / "runs")


def shell(runs_dir: Path, line: str) -> tuple[int, str, str]:
    """Have a shell carry out a line in which `icemaze` is ours: its status, stdout and stderr."""
    done = subprocess.run(
        ["bash", "-c", f'icemaze() {{ "{sys.executable}" -m tui.start "$@"; }}; {line}'],
        env=environment(runs_dir),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "errors"),
    [
        ("icemaze --version >&-", 0, ""),
        ("icemaze presets list <&- >&- 2>&-", 0, ""),
        ("icemaze runs --bad >&-", 2, "icemaze: There is no option --bad."),
        ("icemaze --version >/dev/full", 1, FULL),
        ("icemaze runs --bad 2>/dev/full", 2, ""),
        ("icemaze --help | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("icemaze presets list | true; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_what_a_command_did_is_its_status(
    runs_dir: Path, line: str, code: int, errors: str
) -> None:
    found, said, complained = shell(runs_dir, line)
    assert (found, said) == (code, "")
    assert complained.startswith(errors) and "Traceback" not in complained
    assert complained.count("\n") <= 1


def test_what_is_said_on_a_closed_stderr_is_not_said_on_stdout(runs_dir: Path) -> None:
    assert shell(runs_dir, "icemaze nonsense 2>&-") == (2, "", "")


@pytest.mark.parametrize(("streams", "errors"), [("<&- >&- 2>&-", ""), (">/dev/full", FULL)])
def test_a_run_is_followed_to_its_end(runs_dir: Path, streams: str, errors: str) -> None:
    assert shell(runs_dir, f"icemaze train {LAKE} --json {streams}") == (0, "", errors)
    (run,) = library.list_runs(runs_dir)
    assert run.state == "finished"


# ---------------------------------------------------------------- a reader who does not read


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_heard_by_who_waits_for_a_reader(
    runs_dir: Path, number: signal.Signals
) -> None:
    """A write to a full pipe goes on after a signal as if nothing had been, for ever."""
    reading, writing = full_pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.start", "train", LAKE, "--json", *ENDLESS],
        env=environment(runs_dir),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    try:
        while not library.run_folders(runs_dir) or not is_alive(library.find_run(None, runs_dir)):
            assert process.poll() is None
            time.sleep(0.05)
        with RunReader(library.find_run(None, runs_dir)) as reader:
            wait_for(reader, lambda head: head.step > 0)
            process.send_signal(number)
            _, errors = process.communicate(timeout=DEADLINE)
            assert errors == b""
            if number == signal.SIGHUP:
                assert process.returncode == 129
                step = reader.head().step
                wait_for(reader, lambda head: head.step > step)
            else:
                assert process.returncode == 130 and reader.head().state == "stopped"
    finally:
        process.kill()
        process.wait()
        os.close(reading)


def test_a_follower_that_was_stopped_goes_on(runs_dir: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.start", "train", LAKE, "--json", *ENDLESS],
        env=environment(runs_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert '"started"' in process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        process.send_signal(signal.SIGTERM)  # which waits until it goes on
        process.send_signal(signal.SIGCONT)
        rest, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130
        assert objects(rest)[-1]["status"] == "stopped"
    finally:
        process.kill()
        process.wait()
