"""With a damaged checkpoint a run goes on from the newest good one, and ends as if nothing was."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import LANGUAGE_MODEL, PRESETS, opened
from run_tools import record, rows, run_here

from engine import presets
from engine.core.errors import UserError
from engine.factory import make_learner
from engine.runs import launch, schema
from engine.runs.evaluation import evaluate_run
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

TEXT = PRESETS["q-learning"].replace("env_steps = 60", "env_steps = 40")
TUNED = json.dumps({"key": "algorithm.learning_rate", "value": 0.3})
LATER = json.dumps({"key": "algorithm.learning_rate", "value": 0.2})


def resumed(path: Path, steps: int) -> None:
    """Go on to so many steps, in this process."""
    text = (path / "preset.toml").read_text()
    old = next(line for line in text.splitlines() if line.startswith("env_steps"))
    (path / "preset.toml").write_text(text.replace(old, f"env_steps = {steps}"))
    assert run_here(path, make_learner)


def send(path: Path, args: str) -> None:
    with contextlib.closing(sqlite3.connect(path / "run.db")) as db, db:
        db.execute("INSERT INTO commands (name, args, sent_at) VALUES ('tune', ?, 0)", (args,))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints at steps 0, 40 and 60, tuned at steps 0 and 40."""
    path = launch.create_run(presets.parse(TEXT), "a", runs_dir=tmp_path)
    send(path, TUNED)
    assert run_here(path, make_learner)
    send(path, LATER)
    resumed(path, 60)
    assert [row[:2] for row in rows(path, "checkpoints")] == [(-1, 40), (0, 0), (1, 60)]
    return path


def notes(path: Path) -> list[str]:
    with RunReader(path) as reader:
        return [f"{note.level}: {note.text}" for note in reader.notes()]


def flip(path: Path, *ids: int) -> None:
    """Turn over a bit of each byte in the middle of checkpoints."""
    with opened(path) as db:
        for which in ids:
            row = db.execute("SELECT state FROM checkpoints WHERE id = ?", (which,)).fetchone()
            data = bytearray(row[0])
            middle = len(data) // 2
            data[middle : middle + 200] = bytes(b ^ 4 for b in data[middle : middle + 200])
            db.execute("UPDATE checkpoints SET state = ? WHERE id = ?", (bytes(data), which))


@pytest.mark.parametrize(("damaged", "used"), [((), 60), ((1,), 40), ((1, -1), 0)])
def test_the_newest_good_checkpoint_is_used(
    damaged: tuple[int, ...], used: int, run: Path, tmp_path: Path
) -> None:
    unharmed = Path(shutil.copytree(run, tmp_path / "unharmed" / run.name))
    flip(run, *damaged)
    with RunReader(run) as reader:
        told: list[str] = []
        assert evaluate_run(reader, [], told.append).step == used
        assert len(told) == bool(damaged)
    for path in (run, unharmed):
        resumed(path, 90)
    said = [text for text in notes(run) if "passed over" in text]
    if damaged:
        assert len(said) == 1
        start = (
            f"warning: The newest checkpoint was passed over and the one of step {used} was used"
        )
        assert said[0].startswith(start) and "cannot be read" in said[0]
    else:
        assert not said
    assert record(run) == record(unharmed)
    assert [row[:2] for row in rows(run, "tunes")] == [(1, 0), (2, 40)]


def test_without_any_good_checkpoint_nothing_is_deleted(run: Path) -> None:
    flip(run, -1, 0, 1)
    before = record(run)
    assert not run_here(run, make_learner)
    with RunReader(run) as reader:
        error = reader.error()
        assert "the checkpoint of step 60 cannot be read" in error and "pickle" not in error
        with pytest.raises(UserError, match="step 60 cannot be read"):
            evaluate_run(reader, [])
    assert record(run) == before


@pytest.mark.parametrize(
    "args", ["[" * 100_000, '{"key": "algorithm.learning_rate", "value": 7}', "\0", '{"a": 1}']
)
def test_a_done_tune_that_is_impossible_is_left_out_and_said(args: str, run: Path) -> None:
    with opened(run) as db:
        db.execute(
            "INSERT INTO commands (name, args, sent_at, status, applied_step) "
            "VALUES ('tune', ?, 0, 'done', 60)",
            (args,),
        )
    resumed(run, 90)
    (said,) = [text for text in notes(run) if "was left out" in text]
    assert said.startswith("warning: A change made before the run was resumed (command 3)")
    resumed(run, 100)  # and again


def test_another_algorithm_in_the_frozen_preset_is_one_sentence(run: Path) -> None:
    file = run / "preset.toml"
    file.write_text(file.read_text().replace("q-learning", "sarsa"))
    with RunReader(run) as reader, pytest.raises(UserError) as caught:
        reader.info()
    assert "algorithm.name is 'sarsa', but the run was made with 'q-learning'" in str(caught.value)
    with pytest.raises(UserError, match="made with 'q-learning'"):
        launch.start_worker(run, resume=True)
    with opened(run) as db:  # a run of an older version does not say
        db.execute("DELETE FROM meta WHERE key = 'algorithm'")
    assert not run_here(run, make_learner)
    with RunReader(run) as reader:
        assert "another algorithm than preset.toml names" in reader.error()


# ---------------------------------------------------------------- versions


def files(path: Path) -> dict[str, bytes]:
    """Everything in a run's folder but the lock, which is a file of zero bytes."""
    found = (p for p in path.rglob("*") if p.is_file() and p.name != "lock")
    return {str(p.relative_to(path)): p.read_bytes() for p in found}


@pytest.mark.parametrize("version", [schema.SCHEMA_VERSION + 1, 10**30, 0, -1])
@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_run_of_another_version_is_one_sentence_and_not_touched(
    version: int, journal: str, run: Path
) -> None:
    with opened(run) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(version),))
    with contextlib.closing(sqlite3.connect(run / "run.db")) as db:
        db.execute(f"PRAGMA journal_mode = {journal}")
    before = files(run)
    words = "by a newer Ice Maze" if version > 0 else "there has never been a schema version"
    uses: list[Callable[[], Any]] = [
        lambda: RunReader(run),
        lambda: launch.start_worker(run, resume=True),
    ]
    for use in uses:
        with pytest.raises(UserError, match=words):
            use()
    if journal == "DELETE":
        with pytest.raises(UserError, match=words):
            RunWriter(run)
    assert files(run) == before


# ---------------------------------------------------------------- language models


@pytest.fixture(scope="module")
def language_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_models
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("language")
    model = tiny_models.build("llama", folder / "model")
    text = LANGUAGE_MODEL.format(model=model)
    path = launch.create_run(presets.parse(text), "llm", runs_dir=folder / "runs")
    assert run_here(path, make_learner)
    return path


def flip_file(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-5] ^= 1  # in the weights: the header is as it was
    file.write_bytes(data)


@pytest.mark.llm
def test_a_damaged_checkpoint_folder_is_recognised(language_run: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(language_run, tmp_path / language_run.name))
    newest = max((path / "checkpoints").glob("0*"))
    flip_file(newest / "state.safetensors")
    text = (path / "preset.toml").read_text()
    (path / "preset.toml").write_text(text.replace("updates = 3", "updates = 4"))
    assert run_here(path, make_learner)
    (said,) = [text for text in notes(path) if "passed over" in text]
    assert f"{newest.name}/state.safetensors" in said
    assert "state.safetensors is not as it was written" in said


@pytest.mark.llm
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_damaged_adapter_is_recognised(name: str, language_run: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(language_run, tmp_path / language_run.name))
    flip_file(path / "adapter" / name)
    with RunReader(path) as reader, pytest.raises(UserError) as caught:
        evaluate_run(reader, [])
    assert str(path / "adapter" / name) in str(caught.value)
    assert "not as it was written" in str(caught.value)
