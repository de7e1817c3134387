"""A run's folder is its owner's: nobody else's is opened, and no link leads out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_runs import icemaze

from engine import presets
from engine.core import private
from engine.core.errors import UserError
from engine.experiments import sweeps
from engine.runs import launch, library
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:overflow")]

SOMEBODY = 12345
"""The number of a user that is not us."""
COMMANDS = (
    ("status", "{run}"), ("eval", "{run}"), ("trust", "{run}"), ("train", "--resume", "{run}"),
    ("play", "{run}", "--json"), ("stop", "{run}"),
)  # fmt: skip


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A whole run that can be spoiled."""
    path = tmp_path / "runs" / "20260101-000000-own-aa"
    shutil.copytree(whole, path)
    return path


def refused(run: Path, says: str) -> None:
    """No command opens the run; the list says why."""
    for command in COMMANDS:
        code, said = icemaze(run.parent, *(word.format(run=run.name) for word in command))
        assert code == 2 and says in said and said.count("\n") == 1, (command, code, said)
    code, said = icemaze(run.parent, "runs")
    assert code == 0 and "broken" in said and says in said
    with pytest.raises(UserError, match=says):
        RunWriter(run)
    with pytest.raises(UserError, match=says):
        launch.start_worker(run, resume=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_run_of_another_user_is_not_opened(run: Path) -> None:
    os.chown(run, SOMEBODY, -1)
    refused(run, "belongs to another user")


@pytest.mark.parametrize("name", ["run.db", "preset.toml", "my_q.py", "worker.log", "lock"])
def test_a_link_in_a_run_is_not_followed(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((run / name).read_bytes() if (run / name).exists() else b"")
    before = outside.read_bytes()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    refused(run, "is not followed")
    assert outside.read_bytes() == before


def test_a_link_to_a_run_elsewhere_is_not_followed(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    run.rename(moved)
    run.symlink_to(moved)
    refused(run, "which is not followed")
    code, said = icemaze(run.parent, "rm", run.name, "--yes")
    assert code == 2 and moved.is_dir(), said


def test_a_link_deeper_in_a_run_is_not_followed(run: Path, tmp_path: Path) -> None:
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").symlink_to(tmp_path)
    refused(run, "is not followed")


def test_what_a_run_writes_is_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes longer than all else here
    before = os.umask(0)
    try:
        preset = presets.load("q-learning", ["budget.env_steps=50", "run.agents=1"])
        path = launch.create_run(preset, "q-learning", runs_dir=tmp_path)
        launch.start_worker(path, paused=True)
        with RunReader(path) as reader:
            reader.wait_reply(reader.send("stop"), 120)
        sweep = sweeps.create(sweeps.plan("q-learning", "0", []), tmp_path)
        sweeps.record_run(sweep, sweeps.Cell(0, 0), "x")
    finally:
        os.umask(before)
    for folder in (path, sweep):
        assert folder.stat().st_mode & 0o777 == private.FOLDER
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # the write-ahead log is folded away
                assert file.stat().st_mode & 0o777 == private.FILE, file
    assert {"run.db", "preset.toml", "worker.log", "lock"} <= {f.name for f in path.iterdir()}


def test_the_folder_of_all_runs_may_be_a_link(run: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(run.parent)
    code, said = icemaze(link, "status", run.name)
    assert code == 0 and "finished" in said
    assert [each.state for each in library.list_runs(link)] == ["finished"]


def test_nothing_in_a_run_passes_for_a_module_of_ours(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.core import child

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("", "here", "/there", "")))
    paths = child.environment()["PYTHONPATH"].split(os.pathsep)
    assert "/there" in paths and all(Path(path).is_absolute() for path in paths)


UNSAFE: dict[str, Callable[[Path], object]] = {
    "open to be written": lambda folder: folder.chmod(0o777),
    "of a group": lambda folder: folder.chmod(0o770),
    "a link": lambda folder: folder.rename(folder.with_name("x")) and folder.symlink_to("x"),
    "a file": lambda folder: folder.rename(folder.with_name("x")) and folder.touch(),
    "in a folder that others write": lambda folder: folder.parent.chmod(0o777),
}


@pytest.mark.parametrize("how", UNSAFE)
def test_a_folder_that_others_could_write_is_not_private(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "above" / "folder"
    assert private.make_private(folder) == "" == private.why_not_private(folder)
    UNSAFE[how](folder)
    assert private.why_not_private(folder) and private.make_private(folder)


def test_a_folder_that_others_could_only_read_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    assert private.make_private(folder) == "" and folder.stat().st_mode & 0o777 == 0o700
