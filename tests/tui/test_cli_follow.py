"""Following a run: no signal is lost, whatever the follower is doing when it comes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import LAKE
from typer.testing import CliRunner

from engine import presets
from engine.runs import launch
from engine.runs.disk.lock import RunLock
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter
from tui.cli import follow
from tui.cli.follow import HUNG_UP, Follower, Signals
from tui.cli.main import app
from tui.cli.output import INTERRUPTED


class SignallingReporter:
    """A reporter that gets signals at the moments named in `at`."""

    interval = 0.0

    def __init__(self, at: dict[str, list[int]]) -> None:
        self.at = at
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def called(*_: Any) -> None:
            self.calls.append(name)
            for number in self.at.pop(name, []):
                signal.raise_signal(number)

        return called


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A run that is alive as far as anybody can see, and does nothing."""
    run_dir = launch.create_run(presets.load(LAKE), LAKE, runs_dir=tmp_path)
    lock = RunLock.take(run_dir)
    assert lock is not None
    writer = RunWriter(run_dir)
    writer.set_meta(state="running", counters={"step": 9, "env_steps": 9})
    writer.commit()
    writer.close()
    yield run_dir
    lock.close()


def follow_it(run_dir: Path, **at: list[int]) -> tuple[int, list[str]]:
    """Follow the run with signals at some moments; gives the exit status and what was told."""
    reporter: Any = SignallingReporter(at)
    with Signals() as signals:
        code = Follower(run_dir, reporter).follow(signals)
    return code, reporter.calls


@pytest.mark.parametrize("moment", ["started", "progress"])
def test_a_hang_up_is_noticed_whatever_is_told(running: Path, moment: str) -> None:
    code, calls = follow_it(running, **{moment: [signal.SIGHUP]})
    assert code == HUNG_UP
    assert calls[-2:] == [moment, "close"]


def test_a_hang_up_while_asking_to_stop(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = RunReader.send

    def hung_up(reader: RunReader, name: str, **args: Any) -> int:
        signal.raise_signal(signal.SIGHUP)
        return sent(reader, name, **args)

    monkeypatch.setattr(RunReader, "send", hung_up)
    code, calls = follow_it(running, started=[signal.SIGINT])
    assert code == HUNG_UP and "stopping" in calls
    with RunReader(running) as reader:
        assert reader.reply(1) is not None  # the worker is asked to stop all the same


def test_a_hang_up_while_the_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before the worker's start on, the signals are counted."""
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(tmp_path))
    locks = []

    def started(run_dir: Path, **_: Any) -> None:
        locks.append(RunLock.take(run_dir))
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(launch, "start_worker", started)
    done = CliRunner().invoke(app, ["train", LAKE, "--json"])
    assert done.exit_code == HUNG_UP and '"started"' in done.stdout
    locks[0].close()


def test_a_hang_up_while_it_sleeps(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(time, "sleep", nap)
    code, _ = follow_it(running)
    assert (code, len(naps)) == (HUNG_UP, 1)


def test_two_interrupts_in_one_moment_leave_the_run_to_itself(running: Path) -> None:
    code, calls = follow_it(running, started=[signal.SIGINT], stopping=[signal.SIGTERM])
    assert code == INTERRUPTED
    assert calls.count("stopping") == 1


def test_without_a_terminal_to_lose_there_is_no_hang_up() -> None:
    """Under nohup, SIGHUP is ignored, and whoever started it so wants it to go on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGHUP)
            assert not signals.hung_up
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_signals_meant_before_they_mean_again() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
    assert signals.interrupts == 1
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


def test_many_runs_are_left_to_their_workers_at_a_hang_up() -> None:
    class Runner:
        done = False

        def poll(self) -> list[str]:
            signal.raise_signal(signal.SIGHUP)
            return ["one"]

        def stop(self) -> None:
            raise AssertionError("nobody asked for it")

    reporter = SignallingReporter({})
    with Signals() as signals:
        code = follow.follow_all(Runner(), reporter, signals)
    assert (code, reporter.calls) == (HUNG_UP, ["ended", "progress"])
