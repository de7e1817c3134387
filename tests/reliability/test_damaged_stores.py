"""What is stored is never trusted to be whole: damaged runs, read in every way there is.

Every call gives a result or a `UserError`: no other exception, no hang, nothing written elsewhere.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import LANGUAGE_MODEL, PRESETS, damage, names, opened, recorded, tables
from long_form import count

from engine.core.errors import UserError
from engine.factory import make_learner
from engine.runs import launch, library
from engine.runs.evaluation import evaluate_run, played_worlds
from engine.runs.lists.index import INDEX, summarise
from engine.runs.reader import RunReader
from engine.runs.session import Session
from engine.runs.store import RunWriter
from tui.library.shelf import RunShelf, read_detail
from tui.model.replay import Replay
from tui.model.source import SnapshotSource

pytestmark = pytest.mark.slow

SECONDS = 60
"""After these a call counts as hanging."""
RAW = re.compile(r"^\w+(Error|Exception|Warning): |allow_pickle|Traceback")
"""How a message begins that nobody has written for a user."""

READ = (
    "info", "meta", "state", "head", "error", "final", "per_agent", "success_rate", "worlds",
    "curves", "reached", "evaluation_at", "policy_at", "groups", "notes", "tunes", "pairs",
    "preferences", "live", "live",
)  # fmt: skip
"""The reader's methods without arguments."""

Call = tuple[str, Callable[[], Any]]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    return {name: recorded(folder, text, name) for name, text in PRESETS.items()}


def reads(path: Path) -> Iterator[Call]:
    """Everything that reads a run without a worker, as screens and commands do."""
    yield "summarise", lambda: summarise(path)
    yield "list", lambda: library.list_runs(path.parent)
    yield "find", lambda: library.find_run(None, path.parent)
    yield "shelf", lambda: RunShelf(path.parent).read()
    yield "detail", lambda: read_detail(path, lambda: False)
    try:
        reader = RunReader(path)
    except UserError:
        return
    with reader:
        for name in READ:
            yield name, getattr(reader, name)
        yield "world", lambda: reader.world(0)
        yield "world_at", lambda: reader.world_at(30)
        yield "test curves", lambda: reader.curves(split="test")
        yield "episodes", lambda: [reader.episode(row.id) for row in reader.episodes(limit=3)]
        yield "group", lambda: [reader.group(row.id) for row in reader.groups()[:3]]
        yield "reply", lambda: [reader.reply(i) for i in range(4)]
        yield "send", lambda: reader.send("pause")
    yield from snapshots(path)


def snapshots(path: Path) -> Iterator[Call]:
    """The live edge and moments of the recording, as the trainer shows them."""
    try:
        source = SnapshotSource(path)
    except UserError:
        return
    replay = Replay(source)
    yield "changed", source.changed
    yield "snapshot", source.read
    yield "group page", source.groups
    yield "source tunes", source.tunes
    for name, move in (
        ("first", replay.first), ("step", replay.step), ("to end", replay.to_end),
        ("until", lambda: replay.until(20)), ("on", lambda: replay.episode(1)),
    ):  # fmt: skip
        yield name, move
        yield f"read after {name}", lambda: source.read(replay.moment)
    source.close()


def evaluations(path: Path) -> Iterator[Call]:
    """The recorded policy, evaluated again."""
    try:
        reader = RunReader(path)
    except UserError:
        return
    with reader:
        yield "evaluate", lambda: evaluate_run(reader, [])
        yield "evaluate elsewhere", lambda: evaluate_run(reader, ["maze.slip=0.1"])
        yield "play", lambda: played_worlds(reader, [])


def resume(path: Path, budget: str) -> None:
    """Go on with the run in this process, as `start_worker` and the worker would."""
    launch._prepare_resume(path, [budget])
    launch._write_meta(path, state="starting", pace=None, paused=False)
    writer = RunWriter(path)
    try:
        succeeded = Session(writer, make_learner).run()
        ended = writer.meta("finished", {})
    finally:
        writer.close()
    if not succeeded and RAW.search(ended.get("error", "")):
        raise AssertionError(f"the run failed with {ended['error']!r}")


def hang(number: int, frame: Any) -> None:
    raise TimeoutError("it hangs")


def failures(path: Path, calls: Iterator[Call]) -> list[str]:
    """What of the calls gave neither a result nor a `UserError`."""
    found = []
    signal.signal(signal.SIGALRM, hang)
    for name, call in calls:
        signal.alarm(SECONDS)
        try:
            call()
        except UserError as error:
            if RAW.search(str(error)) or "\n" in str(error):
                found.append(f"{name}: no sentence: {str(error)[:200]!r}")
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        finally:
            signal.alarm(0)
    return found


def changed_by(path: Path, sql: str) -> str:
    """The statement, once it is done; what SQLite does not let one do leaves the run as it is."""
    with contextlib.suppress(sqlite3.OperationalError), opened(path) as db:
        db.execute(sql)
    return sql


def around(folder: Path) -> dict[str, bytes | None]:
    """Everything beside the damaged run."""
    whole = {path.name: None for path in folder.iterdir() if path.name != INDEX}
    return {**whole, **{str(p): p.read_bytes() for p in folder.glob("beside/*")}}


def try_one(original: Path, folder: Path, seed: int | str, budget: str) -> list[str]:
    """Damage a copy of a run, by a seed or a statement in SQL, and all that goes wrong then."""
    folder.mkdir()
    path = Path(shutil.copytree(original, folder / original.name))
    (folder / "beside").mkdir()
    (folder / "beside" / "file").write_text("not of this run")
    before = around(folder)
    what = damage(path, seed) if isinstance(seed, int) else changed_by(path, seed)
    found = failures(path, reads(path)) + failures(path, evaluations(path))
    found += failures(path, iter([("resume", lambda: resume(path, budget))]))
    found += failures(path, reads(path))
    if around(folder) != before:
        found.append("something was written beside the run")
    shutil.rmtree(folder)
    return [f"{original.name} seed {seed} ({what}): {text}" for text in found]


def test_damaged_runs_of_tables_give_a_result_or_a_sentence(
    originals: dict[str, Path], tmp_path: Path
) -> None:
    found = []
    for seed in range(count(60, 10_000)):
        name = list(originals)[seed % len(originals)]
        budget = "budget.updates=12" if name == "value-iteration" else "budget.env_steps=80"
        found += try_one(originals[name], tmp_path / str(seed), seed, budget)
    assert not found, "\n".join([f"{len(found)} calls", *found[:40]])


def test_a_store_without_one_of_its_columns_gives_a_result_or_a_sentence(
    originals: dict[str, Path], tmp_path: Path
) -> None:
    """What SQLite says of a missing column depends on who asks: it never was a full disk."""
    original = originals["q-learning"]
    with opened(original) as db:
        columns = [(t, name) for t in tables(db) for name in names(db, t)]
    random.Random(0).shuffle(columns)
    found, left = [], count(8, len(columns))
    for table, name in columns[:left]:
        for change in (f"DROP COLUMN {name}", f"RENAME COLUMN {name} TO other"):
            folder, sql = tmp_path / f"{table}-{name}-{change[:4]}", f"ALTER TABLE {table} {change}"
            found += try_one(original, folder, sql, "budget.env_steps=80")
    assert not found, "\n".join([f"{len(found)} calls", *found[:40]])


@pytest.mark.llm
def test_damaged_runs_of_language_models_give_a_result_or_a_sentence(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without evaluation and resume, which take seconds each: they are in
    `test_damaged_checkpoints.py`."""
    text = LANGUAGE_MODEL.format(model=tiny_model("llama"))
    original = recorded(tmp_path / "original", text, "llm")
    found = []
    for seed in range(count(40, 2000)):
        folder = tmp_path / str(seed)
        path = Path(shutil.copytree(original, folder / original.name))
        what = damage(path, seed)
        found += [f"seed {seed} ({what}): {text}" for text in failures(path, reads(path))]
        shutil.rmtree(folder)
    assert not found, "\n".join([f"{len(found)} calls", *found[:40]])
