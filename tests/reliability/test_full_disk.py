"""A full or failing disk: a run waits, says so, and ends like one that never met it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from failing_disk import FailingDisk, failing_disk
from learner_tools import preset as llm_preset
from llm_records import assert_same_llm_runs
from long_form import count
from run_tools import record

from engine import factory, presets
from engine.runs import launch
from engine.runs.disk.full_disk import RESERVE
from engine.runs.reader import RunReader
from engine.runs.session import Session
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

LAKE = """
title = "On a full disk"
[maze]
map = "SFG"
max_steps = 20
[algorithm]
name = "q-learning"
exploration = {kind = "epsilon-greedy", start = 0.5, end = 0.1, steps = 300}
[budget]
env_steps = 400
[run]
agents = 2
seed = 3
"""


def carry_out(run_dir: Path, disk: FailingDisk, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Carry out a run in this process, without waiting in earnest; whether it succeeded."""
    writer = RunWriter(run_dir)
    try:
        with failing_disk(disk, monkeypatch):
            return Session(writer, factory.make_learner, sleep=lambda _seconds: None).run()
    finally:
        writer.close()


def notes(run_dir: Path) -> list[str]:
    with RunReader(run_dir) as reader:
        return [note.text for note in reader.notes() if "refused to write" in note.text]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_every_single_write_refused_in_turn_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    sound = launch.create_run(presets.parse(LAKE), "sound", runs_dir=tmp_path)
    watching = FailingDisk(error, first=1, times=0)
    assert carry_out(sound, watching, monkeypatch)
    assert watching.writes > 40  # else the writes are not those of SQLite
    for first in range(1, watching.writes + 1, max(1, watching.writes // count(8, 10**6))):
        run_dir = launch.create_run(presets.parse(LAKE), "tried", runs_dir=tmp_path)
        disk = FailingDisk(error, first, times=1 + first % 7)
        succeeded = carry_out(run_dir, disk, monkeypatch)
        if not disk.failed:
            break  # how often a run commits depends on the clock: this one was through before
        if succeeded:
            assert len(notes(run_dir)) == 1, first
        else:  # before its first step nothing is lost by ending: it can be started again
            with RunReader(run_dir) as reader:
                assert reader.head().step == 0, first
            assert carry_out(run_dir, FailingDisk(error, 1, 0), monkeypatch)
        assert record(run_dir) == record(sound), first


def test_a_run_that_is_stopped_while_its_disk_is_full_can_go_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = launch.create_run(presets.parse(LAKE), "full", runs_dir=tmp_path)
    writer = RunWriter(run_dir)
    naps = 0

    def sleep(_seconds: float) -> None:
        nonlocal naps
        naps += 1
        session.stop_asked = naps > 100

    session = Session(writer, factory.make_learner, sleep=sleep)
    with failing_disk(FailingDisk(errno.ENOSPC, 30, times=10**9), monkeypatch):
        assert not session.run()
    writer.close()
    with RunReader(run_dir) as reader:
        assert reader.head().step < 400
    assert carry_out(run_dir, FailingDisk(errno.ENOSPC, 1, 0), monkeypatch)
    assert not (run_dir / RESERVE).exists()
    sound = launch.create_run(presets.parse(LAKE), "sound", runs_dir=tmp_path)
    assert carry_out(sound, FailingDisk(errno.ENOSPC, 1, 0), monkeypatch)
    assert record(run_dir) == record(sound)


def test_the_reason_is_told_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note takes the room that the run had reserved for it."""
    run_dir = launch.create_run(presets.parse(LAKE), "full", runs_dir=tmp_path)
    disk = FailingDisk(errno.ENOSPC, 30, times=10**9, freed=run_dir / RESERVE)
    writer = RunWriter(run_dir)
    told: list[str] = []

    def sleep(_seconds: float) -> None:
        if disk.failed and disk.times:
            told.extend(notes(run_dir))
            disk.times = 0  # somebody has made room

    with failing_disk(disk, monkeypatch):
        assert Session(writer, factory.make_learner, sleep=sleep).run()
    writer.close()
    assert len(told) == len(notes(run_dir)) == 1
    assert "disk is full" in told[0]


def test_a_language_model_keeps_checkpoints_and_adapters(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = llm_preset(tiny_model("llama"), more="group_size = 8", overrides=["budget.updates=3"])
    sound = launch.create_run(preset, "sound", runs_dir=tmp_path)
    watching = FailingDisk(errno.ENOSPC, first=1, times=0)
    assert carry_out(sound, watching, monkeypatch)
    tries = count(3, 100)
    for i in range(tries):
        first = watching.writes // 4 + i * (watching.writes // 2) // tries
        run_dir = launch.create_run(preset, "tried", runs_dir=tmp_path)
        disk = FailingDisk(errno.ENOSPC, first, times=1 + i % 7)
        assert carry_out(run_dir, disk, monkeypatch), first
        assert disk.failed and len(notes(run_dir)) == 1, first
        assert_same_llm_runs(run_dir, sound)
