"""A worker whose run folder is gone, or another's, ends by itself and says so where it can."""

from __future__ import annotations

import errno
import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import worker_tools  # noqa: F401  (the way to the tools of the other rooms)

# isort: split
from fake_learner import FakeLearner, make_preset
from run_tools import FAKE_WORKER, ask, launched, record, rows, run_here, wait_for

from engine.core.errors import UserError
from engine.runs import launch
from engine.runs.disk.lock import LOCK_FILE, RunLock, is_alive
from engine.runs.reader import RunReader
from tui.cli.follow import why_it_failed
from tui.cli.progress import what_next

SECONDS = 30.0


def ends(pid: int) -> bool:
    """Whether a process ends in time: not its state in the store, which nobody may find."""
    deadline = time.monotonic() + SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture
def go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Until this file is there, a step takes as long as a test needs."""
    monkeypatch.setenv("FAKE_WAIT_FOR", str(tmp_path / "go_on"))
    return tmp_path / "go_on"


@pytest.fixture
def running(tmp_path: Path, go_on: Path) -> Iterator[RunReader]:
    with launched(make_preset(), tmp_path / "runs", FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.step > 0)
        yield reader


@pytest.mark.slow
@pytest.mark.parametrize("paused", [False, True])
def test_a_deleted_folder_ends_its_worker(running: RunReader, paused: bool) -> None:
    if paused:
        assert ask(running, "pause") == "done"
    pid = running.pid
    shutil.rmtree(running.path)
    assert ends(pid)
    head = running.head()
    assert head.state in ("dead", "failed")
    assert "was moved or deleted" in why_it_failed(running, head)
    assert "--runs-dir" in what_next(running.path, "failed")


@pytest.mark.slow
def test_a_moved_run_says_so_in_its_new_place_and_goes_on_there(
    running: RunReader, tmp_path: Path, go_on: Path
) -> None:
    pid, moved = running.pid, tmp_path / "moved" / running.id
    moved.parent.mkdir()
    running.path.rename(moved)
    assert ends(pid)
    with RunReader(moved) as reader:
        assert reader.head().state == "failed" and "was moved or deleted" in reader.error()
        assert f"--resume {reader.id}" in reader.notes()[-1].remedy
        go_on.touch()
        launch.start_worker(moved, resume=True, program=FAKE_WORKER)
        assert wait_for(reader, lambda head: head.ended).state == "finished"
    other = launch.create_run(make_preset(), "other", runs_dir=tmp_path / "other")
    assert run_here(other, FakeLearner)
    assert record(moved) == record(other)


@pytest.mark.slow
def test_a_read_only_folder_ends_no_run(running: RunReader, go_on: Path) -> None:
    """What a worker writes in is open already."""
    running.path.chmod(0o500)
    go_on.touch()
    try:
        assert wait_for(running, lambda head: head.ended).state == "finished"
    finally:
        running.path.chmod(0o700)


@pytest.mark.slow
def test_a_second_worker_does_not_start(running: RunReader, go_on: Path) -> None:
    done = subprocess.run([*FAKE_WORKER, str(running.path)], capture_output=True, text=True)
    assert done.returncode == 1 and "another worker is at this run" in done.stderr
    go_on.touch()
    assert wait_for(running, lambda head: head.ended).state == "finished"


@pytest.mark.slow
def test_of_two_workers_the_one_whose_lock_was_deleted_gives_way(
    running: RunReader, go_on: Path
) -> None:
    first = running.pid
    (running.path / LOCK_FILE).unlink()
    assert running.head().state == "dead", "nobody can tell that it lives"
    launch.start_worker(running.path, resume=True, program=FAKE_WORKER)
    assert ends(first)
    go_on.touch()
    assert wait_for(running, lambda head: head.ended).state == "finished"
    assert not any(row[2] == "error" for row in rows(running.path, "notes"))


@pytest.mark.parametrize("call", ["take", "adopt", "is_alive"])
def test_a_filesystem_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    held = RunLock.take(run_dir)
    assert held
    monkeypatch.setattr(fcntl, "flock", no_locks)
    if call == "take":
        with pytest.raises(UserError, match=r"cannot lock files \(No locks available\). Keep runs"):
            RunLock.take(run_dir)
    elif call == "adopt":
        assert RunLock.adopt(held.descriptor, run_dir) is None
    else:
        assert not is_alive(run_dir)
    held.close()
