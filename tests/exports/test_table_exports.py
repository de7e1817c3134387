"""Tables that leave a run: the libraries they are for read the same rows that the store has."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from engine.core.errors import StorageError, UserError
from engine.exports import formats, tables
from engine.exports.formats import BY_NAME, default_out, export, format_of
from engine.exports.tables import EPISODES, METRICS, TABLES, Exported, Table
from engine.runs.reader import RunReader

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:overflow")]
COLUMN = {"episode": "idx", "return": '"return"'}
"""What `run.db` calls a column, where it is another name."""


def stored(run: Path, table: Table) -> list[tuple[Any, ...]]:
    """The rows, read with plain SQLite."""
    names = ", ".join(COLUMN.get(name, name) for name in table.names)
    with closing(sqlite3.connect(run / "run.db")) as db:
        return db.execute(f"SELECT {names} FROM {table.name} ORDER BY id").fetchall()


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Path:
    """A copy with a figure that is not known, and one that is infinite."""
    copy = tmp_path / recorded.name
    shutil.copytree(recorded, copy)
    with closing(sqlite3.connect(copy / "run.db")) as db, db:
        db.execute("UPDATE metrics SET mean = NULL, low = NULL, high = NULL WHERE id = 2")
        db.execute("UPDATE episodes SET score = NULL WHERE id = 1")
    return copy


def test_csv_parquet_and_json_have_the_rows_of_the_store(run: Path, tmp_path: Path) -> None:
    for name in ("csv", "parquet"):
        export(run, BY_NAME[name], tmp_path / name)
    export(run, BY_NAME["json"], tmp_path / "run.json")
    whole = json.loads((tmp_path / "run.json").read_text(), parse_constant=pytest.fail)
    for table in TABLES:
        rows = stored(run, table)
        assert rows
        with (tmp_path / "csv" / f"{table.name}.csv").open(newline="") as file:
            head, *lines = csv.reader(file)
        assert head == table.names
        assert [
            [_read(c.kind, x) for c, x in zip(table.columns, line, strict=True)] for line in lines
        ] == [list(row) for row in rows]
        parquet = pyarrow.parquet.read_table(tmp_path / "parquet" / f"{table.name}.parquet")
        assert parquet.column_names == table.names
        assert [tuple(row.values()) for row in parquet.to_pylist()] == rows
        assert parquet.schema.metadata[b"icemaze.run"].decode() == run.name
        assert [tuple(row[name] for name in table.names) for row in whole[table.name]] == rows
    assert whole["run"]["id"] == run.name and whole["run"]["preset"]["run"]["agents"] == 4
    with RunReader(run) as reader:
        success = reader.final()["success_rate"]
        assert (
            whole["run"]["per_agent"]["success_rate"] == reader.per_agent()["success_rate"].tolist()
        )
    assert whole["run"]["figures"]["success_rate"] == success


def _read(kind: str, text: str) -> Any:
    if not text:
        return None
    return {"int": int, "float": float, "text": str, "bool": lambda t: t == "true"}[kind](text)


def test_tensorboard_reads_every_known_figure(run: Path, tmp_path: Path) -> None:
    export(run, BY_NAME["tensorboard"], tmp_path / "tb")
    read = EventAccumulator(str(tmp_path / "tb"), size_guidance={SCALARS: 0})
    read.Reload()
    wanted: dict[str, list[tuple[int, float]]] = {}
    for step, name, split, world_id, mean, low, high, _ in stored(run, METRICS):
        tag = f"{split}/{name}" + (f"/maze {world_id}" if world_id else "")
        known = [(tag, mean)] if mean is not None else []
        if low is not None and low != high:
            known += [(f"{tag}/low", low), (f"{tag}/high", high)]
        for each, value in known:
            wanted.setdefault(each, []).append((step, value))
    assert set(read.Tags()[SCALARS]) == set(wanted)
    for tag, points in wanted.items():
        found = read.Scalars(tag)
        assert [event.step for event in found] == [step for step, _ in points]
        for event, (_, value) in zip(found, points, strict=True):
            assert math.isclose(event.value, value, rel_tol=1e-6, abs_tol=1e-30)  # 32 bits


def test_a_long_run_takes_no_more_memory(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PIECE", 500)
    peaks = []
    for n in (1_000, 20_000):
        with closing(sqlite3.connect(run / "run.db")) as db, db:
            (last,) = db.execute("SELECT max(id) FROM episodes").fetchone()
            db.executemany(
                "INSERT INTO episodes SELECT ?, step, idx, agent, world_id, length, return, score, "
                "success, terminated, truncated, x'' FROM episodes WHERE id = 1",
                ((last + k + 1,) for k in range(n)),
            )
        tracemalloc.start()
        export(run, BY_NAME["csv"], tmp_path / str(n))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5
    assert len((tmp_path / "20000" / "episodes.csv").read_text().splitlines()) > 21_000


def test_a_run_that_is_resumed_meanwhile_is_not_exported_half(run: Path) -> None:
    with Exported(run) as exported:
        with closing(sqlite3.connect(run / "run.db")) as db, db:
            db.execute("REPLACE INTO meta VALUES ('generation', '7')")
        with pytest.raises(UserError, match="was resumed while it was exported"):
            list(exported.pieces(EPISODES))


# ---------------------------------------------------------------- whole files, and nobody's


def test_files_that_are_there_are_left_alone(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "episodes.csv"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"episodes\.csv is there already"):
        export(run, BY_NAME["csv"], mine.parent)
    assert [path.name for path in mine.parent.iterdir()] == ["episodes.csv"]
    assert mine.read_text() == "mine"
    export(run, BY_NAME["csv"], mine.parent, force=True)
    assert mine.read_text().startswith("step,episode,")
    assert len(list(mine.parent.iterdir())) == 3
    with pytest.raises(UserError, match="this is a file, and the format makes a folder"):
        export(run, BY_NAME["csv"], mine)
    with pytest.raises(UserError, match="no such folder"):
        export(run, BY_NAME["json"], tmp_path / "no" / "run.json")
    with pytest.raises(UserError, match="this is a folder"):
        export(run, BY_NAME["json"], mine.parent, force=True)


def test_what_fails_in_the_middle_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        db.execute("UPDATE points SET updates = 'many' WHERE id = 2")
    out = tmp_path / "out"
    with pytest.raises(UserError, match="points has an impossible row"):
        export(run, BY_NAME["csv"], out)
    assert not out.exists()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.exports.svg_file.write", full)
    with pytest.raises(StorageError, match="No space left"):
        export(run, BY_NAME["svg"], tmp_path / "run.svg")
    assert [path.name for path in tmp_path.iterdir()] == [run.name]


def test_a_format_is_named_or_read_off_the_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert format_of(None, None).name == "html"
    assert format_of(None, Path("a.GIF")).name == "gif"
    assert format_of("csv", Path("a.gif")).name == "csv"
    assert str(default_out(run, BY_NAME["csv"])) == f"{run.name}-csv"
    for name, out, said in (("xls", None, "no format 'xls'"), (None, Path("a.xls"), "add --to")):
        with pytest.raises(UserError, match=said):
            format_of(name, out)
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs a package that is not here: pip install"):
        export(run, BY_NAME["parquet"], run / "x")


def test_the_documented_columns_are_those_that_are_written() -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    missing = [
        f"{table.name}.{column.name}"
        for table in TABLES
        for column in table.columns
        if f"| `{column.name}` | {column.kind} | {column.meaning} |" not in text
    ]
    assert missing == []
    assert [each.name for each in formats.FORMATS if f"`{each.name}`" not in text] == []
