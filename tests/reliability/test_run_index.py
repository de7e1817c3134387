"""The index of runs spares opening stores, and is never believed where it could be wrong."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from damage import PRESETS, recorded

from engine import presets
from engine.runs import launch, library, reader
from engine.runs.disk.lock import RunLock
from engine.runs.lists import index
from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow

N = 12


class Opened:
    """Which stores were opened since the last look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        opened = self.names

        class Reader(RunReader):
            def __init__(self, run_dir: Path | str) -> None:
                opened.append(Path(run_dir).name)
                super().__init__(run_dir)

        monkeypatch.setattr(reader, "RunReader", Reader)

    def look(self) -> list[str]:
        names, self.names[:] = sorted(self.names), []
        return names


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setattr(index, "SETTLED_NS", -1)  # copies made just now count as old
    return Opened(monkeypatch)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    return recorded(folder, PRESETS["value-iteration"], "value-iteration")


@pytest.fixture
def runs(original: Path, tmp_path: Path) -> Path:
    for i in range(N):
        shutil.copytree(original, tmp_path / f"20260101-0000{i:02d}-a-aa")
    return tmp_path


def write(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path / "run.db")) as db, db:
        db.execute(sql)


def test_ended_runs_are_opened_once(runs: Path, opened: Opened) -> None:
    first = library.list_runs(runs)
    assert len(opened.look()) == N
    assert library.list_runs(runs) == first and opened.look() == []
    assert {run.state for run in first} == {"finished"} and first[0].budget is not None
    assert first[0].budget.updates == 8
    assert (runs / index.INDEX).stat().st_mode & 0o777 == 0o600


def test_what_changes_is_read_anew(runs: Path, opened: Opened) -> None:
    library.list_runs(runs)
    opened.look()
    paths = library.run_folders(runs)
    write(paths[2], "REPLACE INTO meta VALUES ('title', '\"Another title\"')")
    shutil.rmtree(paths[3])
    text = (paths[4] / "preset.toml").read_text()
    (paths[4] / "preset.toml").write_text(text.replace("updates = 8", "updates = 9"))
    shutil.rmtree(paths[5])
    shutil.copytree(paths[6], paths[5])  # another folder under the old name
    by_id = {run.id: run for run in library.list_runs(runs)}
    assert opened.look() == [paths[i].name for i in (2, 4, 5)]
    assert by_id[paths[2].name].title == "Another title" and paths[3].name not in by_id
    assert by_id[paths[4].name].budget.updates == 9  # type: ignore[union-attr]


def test_a_store_put_back_with_its_old_times_is_read_anew(runs: Path, opened: Opened) -> None:
    path = library.run_folders(runs)[0]
    before = (path / "run.db").stat()
    library.list_runs(runs)
    write(path, "REPLACE INTO meta VALUES ('title', '\"Across the eis\"')")
    os.utime(path / "run.db", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert library.list_runs(runs)[-1].title == "Across the eis"


def test_a_title_that_no_file_can_hold_spoils_no_list(runs: Path, opened: Opened) -> None:
    path = library.run_folders(runs)[0]
    write(path, """REPLACE INTO meta VALUES ('title', '"half \\ud800"')""")
    for looked_at in ([run.name for run in library.run_folders(runs)], [path.name]):
        assert library.list_runs(runs)[-1].title == "half \ud800"
        assert opened.look() == looked_at  # the others' entries were kept


def test_live_runs_and_unreadable_ones_are_always_read(runs: Path, opened: Opened) -> None:
    live = launch.create_run(presets.parse(PRESETS["value-iteration"]), "live", runs_dir=runs)
    broken = library.run_folders(runs)[0]
    (broken / "run.db").write_bytes(b"nothing")
    lock = RunLock.take(live)
    assert lock is not None
    for _ in range(2):
        states = {run.id: run.state for run in library.list_runs(runs)}
        assert states[live.name] == "starting" and states[broken.name] == "broken"
    opened.look()
    library.list_runs(runs)
    assert opened.look() == sorted([live.name, broken.name])
    lock.close()


def test_what_was_changed_just_now_is_not_believed(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(monkeypatch)
    for _ in range(2):
        library.list_runs(runs)
        assert len(opened.look()) == N


@pytest.mark.parametrize(
    "how", ["deleted", "empty", "cut", "garbage", "deep", "format", "types", "folder", "live"]
)
def test_a_damaged_index_is_made_anew(how: str, runs: Path, opened: Opened) -> None:
    first = library.list_runs(runs)
    opened.look()
    file = runs / index.INDEX
    data = file.read_text()
    changed = json.loads(data)
    if how == "format":
        changed["format"] += 1
    elif how == "types":
        next(iter(changed["runs"].values()))["summary"]["step"] = "many"
    elif how == "live":
        next(iter(changed["runs"].values()))["summary"]["state"] = "running"
    texts = {"empty": "", "cut": data[: len(data) // 2], "garbage": "\0\xff" * 99,
             "deep": "[" * 100_000}  # fmt: skip
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "deleted":
        file.write_text(texts.get(how, json.dumps(changed)))
    assert library.list_runs(runs) == first
    assert len(opened.look()) == N
    assert library.list_runs(runs) == first
    assert len(opened.look()) == (N if how == "folder" else 0)


def test_a_folder_that_was_moved_keeps_its_index(runs: Path, opened: Opened) -> None:
    before = [run.id for run in library.list_runs(runs)]
    opened.look()
    moved = runs.with_name("moved")
    runs.rename(moved)
    assert [run.path for run in library.list_runs(moved)] == [moved / id_ for id_ in before]
    assert opened.look() == []


def test_many_may_list_at_once(runs: Path, opened: Opened) -> None:
    expected = [run.id for run in library.list_runs(runs)]
    wrong: list[object] = []

    def lister(remove: bool) -> None:
        for _ in range(20):
            if remove:
                (runs / index.INDEX).unlink(missing_ok=True)
            found = [run.id for run in library.list_runs(runs) if run.state == "finished"]
            if found != expected:
                wrong.append(found)

    threads = [threading.Thread(target=lister, args=(i == 0,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not [path.name for path in runs.iterdir() if path.name.startswith(f".{index.INDEX}")]
