"""Runs are ordered by the instant they began at, whatever zone or clock they were started under."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from damage import PRESETS

from engine import presets
from engine.core.errors import UserError
from engine.experiments import sweeps
from engine.runs import launch, library
from engine.runs.reader import RunReader

PRESET = presets.parse(PRESETS["q-learning"])


def clock(monkeypatch: pytest.MonkeyPatch, *moments: datetime) -> None:
    """Let the clock of whoever makes runs say these moments in turn, the last one for ever."""
    left = list(moments)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            moment = left.pop(0) if tz and len(left) > 1 else left[0]
            return moment.astimezone(tz)

    monkeypatch.setattr(launch, "datetime", Clock)


def made(folder: Path, name: str = "a") -> str:
    return launch.create_run(PRESET, name, runs_dir=folder).name


def old(folder: Path, run_id: str, created: str) -> None:
    """Make a run one of an older version, which wrote whole seconds of local time and no order."""
    with contextlib.closing(sqlite3.connect(folder / run_id / "run.db")) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'order'")
        db.execute("UPDATE meta SET value = ? WHERE key = 'created'", (json.dumps(created),))


def icemaze(*arguments: str, runs_dir: Path, zone: str = "UTC") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ICEMAZE_RUNS_DIR": str(runs_dir), "TZ": zone}
    command = [sys.executable, "-m", "tui.start", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_run_from_tokyo_is_older_than_a_later_one_from_new_york(tmp_path: Path) -> None:
    preset = tmp_path / "p.toml"
    preset.write_text(PRESETS["value-iteration"])
    runs = tmp_path / "runs"
    for zone in ("Asia/Tokyo", "America/New_York"):
        trained = icemaze("train", str(preset), "--json", runs_dir=runs, zone=zone)
        assert trained.returncode == 0, trained.stderr
    older, newer = sorted(
        library.run_folders(runs), key=lambda path: (path / "lock").stat().st_mtime
    )
    assert older.name > newer.name  # the names have local times: they say the opposite
    listed = icemaze("runs", "--json", runs_dir=runs).stdout.splitlines()
    assert [json.loads(line)["run"] for line in listed] == [newer.name, older.name]
    assert library.find_run(None, runs) == newer
    # Without an id nothing is deleted, whatever was confirmed; the newest is named.
    refused = icemaze("rm", "--yes", runs_dir=runs)
    assert refused.returncode == 2 and "say which run" in refused.stderr
    assert newer.name in refused.stderr and older.name not in refused.stderr
    assert len(library.run_folders(runs)) == 2
    deleted = icemaze("rm", older.name, "--yes", runs_dir=runs)
    assert deleted.returncode == 0
    assert deleted.stdout.strip() == f"Deleted {older.name} (finished, Across the ice)."
    assert library.run_folders(runs) == [newer]


def test_two_runs_of_one_second_are_in_order(tmp_path: Path) -> None:
    ids = [made(tmp_path, name) for name in ("z", "a", "m", "b")]
    assert [run.id for run in library.list_runs(tmp_path)] == ids[::-1]
    created = [run.created for run in library.list_runs(tmp_path)]
    assert all(moment is not None and moment.tzinfo == UTC for moment in created)


@pytest.mark.parametrize("jump", [timedelta(hours=-30), timedelta(days=-20_000), timedelta(days=9)])
def test_the_clock_may_jump(
    jump: timedelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = datetime(2026, 3, 1, 12, tzinfo=UTC)
    clock(monkeypatch, begin, begin + jump, begin + jump + timedelta(seconds=1), begin)
    ids = [made(tmp_path, name) for name in ("z", "y", "x", "w")]
    runs = library.list_runs(tmp_path)
    assert [run.id for run in runs] == ids[::-1]
    assert runs[2].created == begin + jump  # what the clock said is told all the same


@pytest.mark.parametrize("text", ["", "nonsense", "9999-12-31T23:59:59.999999+00:00", "\0" * 500])
def test_the_note_about_the_newest_may_be_damaged_or_lost(text: str, tmp_path: Path) -> None:
    first = made(tmp_path)
    (tmp_path / library.NEWEST).write_text(text)
    second = made(tmp_path)
    (tmp_path / library.NEWEST).unlink()
    third = made(tmp_path)
    (tmp_path / library.NEWEST).unlink()
    (tmp_path / library.NEWEST).mkdir()
    ids = [first, second, third, made(tmp_path)]
    assert [run.id for run in library.list_runs(tmp_path)] == ids[::-1]


def test_old_runs_are_ordered_by_what_is_known_of_them(tmp_path: Path) -> None:
    tokyo, york, naive, broken = (made(tmp_path, name) for name in "abcd")
    old(tmp_path, tokyo, "2026-03-01T21:00:00+09:00")
    old(tmp_path, york, "2026-03-01T07:00:01-05:00")
    old(tmp_path, naive, "2020-03-01T07:00:01")
    (tmp_path / broken / "run.db").write_bytes(b"")
    renamed = "20250101-000000-broken-aa"
    (tmp_path / broken).rename(tmp_path / renamed)
    assert [run.id for run in library.list_runs(tmp_path)] == [york, tokyo, renamed, naive]


def test_a_moment_that_cannot_be_is_one_sentence_about_that_run(tmp_path: Path) -> None:
    good, bad = made(tmp_path), made(tmp_path)
    for created in ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-05:00", "tomorrow", ""):
        old(tmp_path, bad, created)
        by_id = {run.id: run for run in library.list_runs(tmp_path)}
        assert "is no moment in time" in by_id[bad].broken and not by_id[good].broken
        with RunReader(tmp_path / bad) as reader, pytest.raises(UserError, match="no moment"):
            reader.info()


def test_a_run_without_a_worker_is_not_starting_for_ever_when_the_clock_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, datetime.now(UTC) + timedelta(days=1))
    path = tmp_path / made(tmp_path)
    with RunReader(path) as reader:
        assert reader.state() == "dead"


def test_sweeps_are_ordered_by_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweeps.Sweep(
        name="s", where="s", text=PRESETS["q-learning"], folder=None, seeds=[0], grid={}, own={}
    )
    folders = []
    for zone in ("Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        folders.append(sweeps.create(sweep, tmp_path))
    monkeypatch.undo()
    time.tzset()
    assert folders[0].name > folders[1].name
    assert sweeps.find(None, tmp_path) == folders[1]
    (folders[0] / "sweep.toml").write_bytes(b"\xff")
    assert sweeps.find(None, tmp_path) == folders[1]
