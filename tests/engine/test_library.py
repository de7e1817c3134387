"""All runs of a user: listing, finding, removing, and where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_learner import FakeLearner, make_preset
from run_tools import run_here

from engine.core.errors import UserError
from engine.runs import launch, library
from engine.runs.disk.lock import RunLock
from engine.runs.reader import RunReader


def test_runs_are_listed_newest_first_and_broken_ones_say_so(tmp_path: Path) -> None:
    assert library.list_runs(tmp_path / "nowhere") == []
    good = launch.create_run(make_preset(), "My Preset.toml", runs_dir=tmp_path)
    assert run_here(good, FakeLearner)
    (tmp_path / "20990101-000000-empty-aa").mkdir()
    odd = tmp_path / "20000101-000000-odd-aa"
    odd.mkdir()
    (odd / "run.db").write_bytes(b"")
    (tmp_path / "something else").mkdir()
    runs = library.list_runs(tmp_path)
    assert [run.state for run in runs] == ["broken", "finished", "broken"]
    assert runs[1].preset_name == "My Preset"
    assert runs[1].title == "A fake run"
    assert runs[1].step == 400
    assert runs[1].success_rate is not None
    assert "-my-preset-" in runs[1].id
    assert runs[0].broken


def test_a_run_is_found_by_the_start_of_its_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are no runs"):
        library.find_run(None, tmp_path)
    first = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    second = launch.create_run(make_preset(), "b", runs_dir=tmp_path)
    newest = max(first, second)
    assert library.find_run(None, tmp_path) == newest
    assert library.find_run(first.name, tmp_path) == first
    assert library.find_run(second.name[:-1], tmp_path) == second
    with pytest.raises(UserError, match=f"fits 2 runs: .*{first.name}"):
        library.find_run("20", tmp_path)
    with pytest.raises(UserError, match="'nope'"):
        library.find_run("nope", tmp_path)


def test_the_runs_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICEMAZE_RUNS_DIR", str(tmp_path / "here"))
    run_dir = launch.create_run(make_preset("run.seed=3"), "a", seed=7)
    assert run_dir.parent == tmp_path / "here"
    with RunReader(run_dir) as reader:
        assert reader.info().preset.run.seed == 7


def test_an_unwritable_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write the run.*--runs-dir"):
        launch.create_run(make_preset(), "a", runs_dir=file)


def test_removing(tmp_path: Path) -> None:
    run_dir = launch.create_run(make_preset(), "a", runs_dir=tmp_path)
    lock = RunLock.take(run_dir)
    assert lock is not None
    with pytest.raises(UserError, match="is live"):
        library.remove(run_dir)
    lock.close()
    library.remove(run_dir)
    assert not run_dir.exists()
    keep = tmp_path / "thesis"
    keep.mkdir()
    with pytest.raises(UserError, match="not the folder of a run"):
        library.remove(keep)
    assert keep.exists()
