"""The worker as a real background process: signals, imports, starts that fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_learner import make_preset
from run_tools import FAKE_WORKER, ask, launched, rows, wait_for

from engine.core.errors import UserError
from engine.runs import launch
from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow


def test_the_worker_imports_no_user_interface_and_no_compiler() -> None:
    code = (
        "import engine.runs.worker, engine.runs.launch, sys; "
        "print(sorted({'textual', 'rich', 'tui', 'numba', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("real_processes")
def test_a_stray_engine_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise SystemExit('the wrong engine')")
    monkeypatch.chdir(tmp_path)
    run_dir = launch.create_run(make_preset("budget.env_steps=5"), "a", runs_dir=tmp_path)
    launch.start_worker(run_dir, program=FAKE_WORKER)
    with RunReader(run_dir) as reader:
        assert wait_for(reader, lambda head: head.ended).state == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_with_a_checkpoint_and_a_hang_up_does_not(
    tmp_path: Path, number: signal.Signals
) -> None:
    with launched(make_preset("budget.env_steps=100000"), tmp_path, FAKE_WORKER) as reader:
        step = wait_for(reader, lambda head: head.step > 0).step
        pid = reader.meta()["pid"]
        os.kill(pid, signal.SIGHUP)
        step = wait_for(reader, lambda head: head.step > step).step
        assert os.getsid(pid) == pid, "its own session: no terminal can hang it up"
        os.kill(pid, number)
        head = wait_for(reader, lambda head: head.ended)
        assert head.state == "stopped"
        assert rows(reader.path, "checkpoints")[-1][1] == head.step >= step


def test_a_live_run_cannot_be_started_twice(tmp_path: Path) -> None:
    with launched(make_preset(), tmp_path, FAKE_WORKER, paused=True) as reader:
        with pytest.raises(UserError, match="already going"):
            launch.start_worker(reader.path, resume=True, program=FAKE_WORKER)
        assert ask(reader, "stop") == "done"


def test_a_worker_that_does_not_start_is_explained(tmp_path: Path) -> None:
    run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    program = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with pytest.raises(UserError, match="did not start: no such luck"):
        launch.start_worker(run_dir, program=program)
    with RunReader(run_dir) as reader:
        assert reader.state() == "failed"
        assert reader.error() == "no such luck"


def test_an_exception_becomes_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAIL_AT", "20")
    with launched(make_preset(), tmp_path, FAKE_WORKER) as reader:
        assert wait_for(reader, lambda head: head.ended).state == "failed"
        assert reader.error() == "RuntimeError: the ice broke"
        assert "Traceback" not in reader.notes()[-1].text
        deadline = time.monotonic() + 10
        while "Traceback" not in (reader.path / "worker.log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_no_zombie_is_left(tmp_path: Path) -> None:
    with launched(make_preset("budget.env_steps=5"), tmp_path, FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.ended)
        pid = reader.meta()["pid"]
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
