"""A run can always be ended, also when its worker heeds nothing, and nobody else is hit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_tools import STUCK, STUCK_AT, STUCK_WORKER

# isort: split
from cli_tools import icemaze
from fake_learner import FakeLearner, make_preset
from home_tools import shown
from patience import eventually
from run_tools import FAKE_WORKER, ask, kill, launched, record, rows, run_here, wait_for
from trainer_tools import app_on, notified, opened

from engine.core.errors import UserError
from engine.experiments.jobs import Job, JobRunner
from engine.runs import ending, launch
from engine.runs.disk.lock import RunLock
from engine.runs.ending import end_worker
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter
from tui.app import IceMazeApp
from tui.cli import runs as runs_commands
from tui.cli.follow import Follower, Signals
from tui.cli.output import INTERRUPTED
from tui.library import run_actions
from tui.watching import run_screen

pytestmark = pytest.mark.slow

GRACE = 0.3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "GRACE_SECONDS", GRACE)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[RunReader]:
    """A run whose worker heeds nothing, with a checkpoint from before that."""
    with launched(make_preset(), tmp_path / "runs", STUCK_WORKER) as reader:
        wait_for(reader, lambda head: head.step > 20)
        assert ask(reader, "pause") == "done"  # which writes a checkpoint
        assert 20 < (reader.checkpoint_step() or 0) < STUCK_AT
        assert ask(reader, "resume") == "done"
        wait_for(reader, lambda head: (reader.path / STUCK).exists())
        reader.send("stop")
        yield reader


def state_of(pid: int) -> str:
    """A process's state, as `ps` shows it; nothing when there is none."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()


def is_there(pid: int) -> bool:
    return state_of(pid)[:1] not in ("", "Z")


def test_a_worker_that_heeds_nothing_is_killed_and_nothing_is_lost(
    stuck: RunReader, tmp_path: Path
) -> None:
    pid, kept = stuck.pid, stuck.checkpoint_step()
    said = end_worker(stuck.path)
    assert f"process {pid})" in said and f"checkpoint at step {kept:,} is kept" in said
    assert not is_there(pid)
    head, note = stuck.head(), stuck.notes()[-1]
    assert head.state == "stopped" and stuck.error() == ""
    assert (note.level, note.text) == ("warning", said) and "--resume" in note.remedy
    assert {row[4] for row in rows(stuck.path, "commands")} == {"done"}, "the stop is answered too"
    # What is resumed is the run that was never stuck, row for row.
    launch.start_worker(stuck.path, resume=True, program=FAKE_WORKER)
    assert wait_for(stuck, lambda head: head.ended).state == "finished"
    other = launch.create_run(make_preset(), "other", runs_dir=tmp_path / "other")
    assert run_here(other, FakeLearner)
    assert record(stuck.path) == record(other)


def test_a_worker_that_listens_ends_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "GRACE_SECONDS", 60.0)
    with launched(make_preset("budget.env_steps=1e6"), tmp_path, FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.step > 0)
        assert end_worker(reader.path) == ""
        head = reader.head()
        assert head.state == "stopped" and reader.checkpoint_step() == head.step > 0
        with pytest.raises(UserError, match="is stopped: there is no worker to end"):
            end_worker(reader.path)


DEAF_FROM_THE_START = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
from engine.runs.store import RunWriter
writer = RunWriter(pathlib.Path(sys.argv[1]))
writer.set_meta(pid=os.getpid())
writer.commit()
time.sleep(600)
"""


def test_one_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    program = [sys.executable, "-c", DEAF_FROM_THE_START]
    with launched(make_preset(), tmp_path, program) as reader:
        said = end_worker(reader.path)
        assert "No checkpoint had been written yet" in said
        assert "goes on from its start" in reader.notes()[-1].remedy
        launch.start_worker(reader.path, resume=True, program=FAKE_WORKER)
        assert wait_for(reader, lambda head: head.ended).state == "finished"


def test_a_worker_that_was_stopped_by_a_signal_is_ended_too(tmp_path: Path) -> None:
    with launched(make_preset("budget.env_steps=1e6"), tmp_path, FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.step > 0)
        os.kill(reader.pid, signal.SIGSTOP)
        assert "was killed" in end_worker(reader.path)
        assert reader.head().state == "stopped"


def test_a_worker_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    with launched(make_preset("budget.env_steps=1e6"), tmp_path, FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.step > 0)
        os.kill(reader.pid, signal.SIGSTOP)
        while "T" not in state_of(reader.pid):
            time.sleep(0.01)
        step = reader.head().step
        assert reader.head().state == "running"
        os.kill(reader.pid, signal.SIGCONT)
        wait_for(reader, lambda head: head.step > step)
        assert ask(reader, "stop") == "done"


# ---------------------------------------------------------------- never somebody else


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        assert process.poll() is None, "somebody else's process was hit"
        process.kill()


@pytest.mark.parametrize("alive", [True, False])
def test_a_number_that_is_somebody_elses_by_now_is_not_hit(
    tmp_path: Path, innocent: subprocess.Popen[bytes], alive: bool
) -> None:
    run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    with contextlib.closing(RunWriter(run_dir)) as writer:
        writer.set_meta(state="running", pid=innocent.pid)
        writer.commit()
    lock = RunLock.take(run_dir) if alive else None  # of a worker on another machine
    with pytest.raises(UserError, match="not it" if alive else "there is no worker to end"):
        end_worker(run_dir)
    if lock:
        lock.close()


def test_a_run_that_starts_again_forgets_the_old_number(tmp_path: Path) -> None:
    with launched(make_preset("budget.env_steps=1e6"), tmp_path, FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.step > 0)
        kill(reader)
        assert reader.pid
        with pytest.raises(UserError):
            launch.start_worker(reader.path, resume=True, program=[sys.executable, "-c", ""])
        assert reader.pid == 0


# ---------------------------------------------------------------- who asks for it


class Impatient:
    """A reporter whose user presses Ctrl-C when the run is shown, and again when it stops."""

    interval = 0.0

    def __init__(self) -> None:
        self.told: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def called(*what: Any) -> None:
            self.told += [name, *what]
            if name in ("started", "stopping"):
                signal.raise_signal(signal.SIGINT)

        return called


def test_a_second_ctrl_c_ends_the_worker(stuck: RunReader) -> None:
    pid, reporter = stuck.pid, Impatient()
    follower: Any = Follower(stuck.path, reporter)  # type: ignore[arg-type]
    with Signals() as signals:
        assert follower.follow(signals) == INTERRUPTED
    assert not is_there(pid)
    assert any(f"process {pid}) did not end" in getattr(what, "text", "") for what in reporter.told)
    assert reporter.told[-2]["status"] == "stopped"


def test_stop_says_how_to_end_it_and_stop_now_does(
    stuck: RunReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_dir, pid = stuck.path.parent, stuck.pid
    monkeypatch.setattr(runs_commands, "HINT_SECONDS", 0.1)
    monkeypatch.setattr(runs_commands, "STOP_SECONDS", 0.2)
    done = icemaze(runs_dir, "stop")
    assert done.returncode == 2
    assert done.stderr.count(f"process {pid}") == 2 and f"stop {stuck.id} --now" in done.stderr
    done = icemaze(runs_dir, "rm", stuck.id, "--yes")
    assert done.returncode == 2 and "--now" in done.stderr
    done = icemaze(runs_dir, "stop", stuck.id, "--now", "--json")
    assert done.returncode == 0 and '"state": "stopped"' in done.stdout
    assert f"process {pid}) did not end when asked, and was killed" in done.stderr
    assert not is_there(pid)
    assert icemaze(runs_dir, "stop", stuck.id, "--now").returncode == 2
    assert icemaze(runs_dir, "rm", stuck.id, "--yes").returncode == 0


def test_many_workers_are_ended_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUCK_AT", "5")

    class Runner(JobRunner[Job]):
        def _launch(self, job: Job) -> Path:
            run_dir = launch.create_run(make_preset(), "many", runs_dir=tmp_path)
            launch.start_worker(run_dir, program=STUCK_WORKER)
            return run_dir

        def _keep_results(self, job: Job, reader: RunReader) -> None:
            raise AssertionError("none comes to its end")

    with Runner([Job(), Job()], 2) as runner:
        runner.poll()
        readers = list(runner._readers.values())
        wait_for(readers[0], lambda head: all((r.path / STUCK).exists() for r in readers))
        assert runner.end() == []
        assert [reader.head().state for reader in readers] == ["stopped", "stopped"]
        assert len(runner.poll()) == 2 and runner.done


async def test_x_pressed_again_ends_the_worker(
    stuck: RunReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_screen, "STOP_SECONDS", 0.1)
    app = app_on(stuck.path)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot)
        await pilot.press("x", "y")
        await eventually(pilot, lambda: "x again ends its worker" in notified(pilot))
        await pilot.press("x")
        await eventually(pilot, lambda: "goes on. End its worker" in shown(app))
        await pilot.press("y")
        await eventually(pilot, lambda: screen.snapshot and screen.snapshot.head.state == "stopped")
        await eventually(pilot, lambda: f"process {stuck.pid}) did not end" in notified(pilot))
    assert not is_there(stuck.pid)


async def test_x_pressed_again_in_the_list_ends_the_worker(
    stuck: RunReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_actions, "STOP_SECONDS", 0.1)
    app = IceMazeApp(runs_dir=stuck.path.parent)
    async with app.run_test(size=(100, 40)) as pilot:
        await eventually(pilot, lambda: "A fake run" in shown(app))
        app.screen.query_one("#runs").focus()
        await pilot.press("x")
        await eventually(pilot, lambda: "x again ends its worker" in notified(pilot))
        await pilot.press("x")
        await eventually(pilot, lambda: "goes on. End its worker" in shown(app))
        await pilot.press("y")
        await eventually(pilot, lambda: f"process {stuck.pid}) did not end" in notified(pilot))
    assert not is_there(stuck.pid) and stuck.head().state == "stopped"
