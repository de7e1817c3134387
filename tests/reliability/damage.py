"""Real small runs, and a generator of damage: a seed is one way in which they are wrong."""

from __future__ import annotations

import contextlib
import io
import json
import random
import sqlite3
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine import presets
from engine.factory import make_learner
from engine.runs import launch
from engine.runs.session import Session
from engine.runs.store import RunWriter

TABLES = """
title = "Across the ice"
[maze]
map = '''
SFFF
FHFH
FFFH
HFFG
'''
max_steps = 20
[algorithm]
name = "{name}"
{more}
[budget]
{budget}
[run]
agents = {agents}
seed = 1
"""
PRESETS = {
    "q-learning": TABLES.format(name="q-learning", more="", budget="env_steps = 60", agents=2),
    "sarsa-lambda": TABLES.format(name="sarsa-lambda", more="", budget="env_steps = 60", agents=2),
    "reinforce": TABLES.format(name="reinforce", more="", budget="env_steps = 60", agents=2),
    "value-iteration": TABLES.format(
        name="value-iteration", more="", budget="updates = 8", agents=1
    ),
}
LANGUAGE_MODEL = """
title = "A tiny language model"
group = "llm"
[maze]
map = "SFG"
max_steps = 4
[model]
name = "{model}"
quantization = "none"
[algorithm]
name = "grpo"
episodes = 8
group_size = 4
learning_rate = 0.01
[budget]
updates = 3
[run]
seed = 3
"""


def recorded(folder: Path, text: str, name: str) -> Path:
    """A finished run with changes in it: some its checkpoints know of, one that they do not."""
    path = launch.create_run(presets.parse(text), name, runs_dir=folder)
    tune = ("tune", json.dumps({"key": "algorithm.learning_rate", "value": 0.3}))
    with contextlib.closing(sqlite3.connect(path / "run.db")) as db, db:
        db.execute("INSERT INTO commands (name, args, sent_at) VALUES (?, ?, 0)", tune)
    writer = RunWriter(path)
    try:
        assert Session(writer, make_learner).run()
    finally:
        writer.close()
    late = (
        "INSERT INTO commands (name, args, sent_at, status, applied_step) "
        "VALUES (?, ?, 0, 'done', 61)"
    )
    with contextlib.closing(sqlite3.connect(path / "run.db")) as db, db:
        db.execute(late, tune)
    return path


# ---------------------------------------------------------------- damage

NOT_UTF8 = object()
VALUES: tuple[Any, ...] = (
    None, -1, 0, 1, 7, 2**62, 2**63 - 1, -(2**63), 0.5, -1e308, 1e308, float("inf"),
    "", "text", "a\0b", "NaN", "null", "true", "-1", "3", "1e999", "{}", "[]", '""', '{"a": 1}',
    "[" * 100_000, '{"value":' * 3000, "9" * 6000, "x" * 200_000, "../../outside", "[1, 2",
    b"", b"\xff\xfe", b"\0" * 50, b"PK\x03\x04", NOT_UTF8,
)  # fmt: skip
PAYLOADS = ("worlds", "evaluations", "episodes", "policies", "tunes", "groups", "live", "ratings")
FILES = ("run.db", "preset.toml", "lock", "worker.log")


def damage(path: Path, seed: int) -> str:
    """Damage a run in one way; gives what was done, in words."""
    rng = random.Random(seed)
    kinds: tuple[tuple[int, Callable[[Path, random.Random], str]], ...] = (
        (2, file), (8, cell), (3, text_of_meta), (5, payload), (3, checkpoint), (2, schema),
        (2, command),
    )  # fmt: skip
    (way,) = rng.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
    try:
        return way(path, rng)
    except sqlite3.Error as error:  # a constraint forbids just this
        return f"{way.__name__}: nothing ({error})"


def file(path: Path, rng: random.Random) -> str:
    """Cut, flip, overwrite, lengthen or delete a file."""
    heavy = [*path.glob("checkpoints/*/*"), *path.glob("adapter/*")]
    names = [path / name for name in FILES[:2] * 3 + FILES[2:]] + heavy * 3
    chosen = rng.choice([name for name in names if name.is_file()])
    data = bytearray(chosen.read_bytes())
    how = rng.choice(("cut", "flip", "page", "append", "delete", "empty", "noise", "folder"))
    place = rng.randrange(len(data) + 1)
    if how == "cut":
        del data[place:]
    elif how == "flip" and data:
        data[place % len(data)] ^= 1 << rng.randrange(8)
    elif how == "page":
        data[place : place + 4096] = bytes(len(data[place : place + 4096]))
    elif how == "append":
        data += rng.randbytes(500)
    elif how == "empty":
        data.clear()
    elif how == "noise":
        data[:] = rng.randbytes(len(data))
    if how in ("delete", "folder"):
        chosen.unlink()
        if how == "folder":
            chosen.mkdir()
    else:
        chosen.write_bytes(data)
    return f"{how} {chosen.relative_to(path)} at {place}"


@contextlib.contextmanager
def opened(path: Path) -> Any:
    """The database, to be written by hand."""
    with contextlib.closing(sqlite3.connect(path / "run.db")) as db:
        db.text_factory = bytes
        with db:
            yield db


def names(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1].decode() for row in db.execute(f"PRAGMA table_info({table})")]


def tables(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [row[0].decode() for row in rows]


def _key(db: sqlite3.Connection, table: str, rng: random.Random) -> tuple[str, Any] | None:
    key = "key" if table == "meta" else "rowid"
    keys = [row[0] for row in db.execute(f"SELECT {key} FROM {table}")]
    keys = [k.decode() if isinstance(k, bytes) else k for k in keys]
    return (key, rng.choice(keys)) if keys else None


def _set(db: sqlite3.Connection, table: str, name: str, where: tuple[str, Any], value: Any) -> None:
    mark = "CAST(x'80ff41' AS TEXT)" if value is NOT_UTF8 else "?"
    values = (where[1],) if value is NOT_UTF8 else (value, where[1])
    db.execute(f"UPDATE {table} SET {name} = {mark} WHERE {where[0]} = ?", values)


def cell(path: Path, rng: random.Random) -> str:
    """Any value in any column of any table."""
    with opened(path) as db:
        table = rng.choice(tables(db))
        column, value = rng.choice(names(db, table)), rng.choice(VALUES)
        if (where := _key(db, table, rng)) is None:
            return f"{table} has no rows"
        _set(db, table, column, where, value)
        return f"{table}.{column} of {where[1]!r} = {str(value)[:40]!r}"


def text_of_meta(path: Path, rng: random.Random) -> str:
    """A key of meta gone, renamed, or with another value."""
    with opened(path) as db:
        where = _key(db, "meta", rng)
        assert where is not None
        how = rng.choice(("delete", "value", "value", "value", "new"))
        value = rng.choice(VALUES)
        if how == "delete":
            db.execute("DELETE FROM meta WHERE key = ?", (where[1],))
        elif how == "new":
            db.execute("INSERT INTO meta VALUES ('something', 'null')")
            _set(db, "meta", "value", ("key", "something"), value)
        else:
            _set(db, "meta", "value", where, value)
        return f"meta: {how} {where[1]} {str(value)[:40]!r}"


def payload(path: Path, rng: random.Random) -> str:
    """A payload cut, flipped, of another row, or with a value in it that cannot be."""
    with opened(path) as db:
        found = []
        for table in PAYLOADS:
            if table in tables(db) and (where := _key(db, table, rng)):
                found.append((table, where))
        table, where = rng.choice(found)
        query = f"SELECT payload FROM {table} WHERE {where[0]} = ?"
        data = bytearray(db.execute(query, (where[1],)).fetchone()[0])
        how = rng.choice(("cut", "flip", "other", "inside", "inside", "inside", "bomb"))
        place = rng.randrange(len(data))
        if how == "cut":
            del data[place:]
        elif how == "flip":
            data[place] ^= 1 << rng.randrange(8)
        elif how == "bomb":
            data[:] = zlib.compress(bytes(2**24), 1)
        elif how == "other":
            other, key = rng.choice(found)
            row = db.execute(f"SELECT payload FROM {other} WHERE {key[0]} = ?", (key[1],))
            data[:] = row.fetchone()[0]
        else:
            tree = msgspec.msgpack.decode(zlib.decompress(data))
            data[:] = zlib.compress(msgspec.msgpack.encode(changed(tree, rng)), 1)
        _set(db, table, "payload", where, bytes(data))
        return f"payload in {table} {where[1]}: {how} at {place}"


def changed(tree: Any, rng: random.Random) -> Any:
    """Plain data with one leaf that is another."""
    if isinstance(tree, dict) and tree and rng.random() < 0.95:
        key = rng.choice(sorted(tree))
        return {**tree, key: changed(tree[key], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.95:
        i = rng.randrange(len(tree))
        return [*tree[:i], changed(tree[i], rng), *tree[i + 1 :]]
    if isinstance(tree, bytes) and len(tree) > 1 and rng.random() < 0.5:
        return tree[: len(tree) // 2]
    return rng.choice([v for v in VALUES if v is not NOT_UTF8])


def checkpoint(path: Path, rng: random.Random) -> str:
    """A state cut, flipped, without an array, or with one of another shape or kind."""
    with opened(path) as db:
        where = _key(db, "checkpoints", rng)
        assert where is not None
        query = "SELECT state FROM checkpoints WHERE rowid = ?"
        data = bytearray(db.execute(query, (where[1],)).fetchone()[0])
        how = rng.choice(("cut", "flip", "flip", "empty", "without", "shape", "kind", "json"))
        place = rng.randrange(len(data))
        if how == "cut":
            del data[place:]
        elif how == "flip":
            data[place] ^= 1 << rng.randrange(8)
        elif how == "empty":
            data[:] = b"PK\x05\x06" + bytes(18)
        else:
            data[:] = _packed_anew(bytes(data), how, rng)
        _set(db, "checkpoints", "state", where, bytes(data))
        return f"checkpoint {where[1]}: {how} at {place}"


def _packed_anew(data: bytes, how: str, rng: random.Random) -> bytes:
    with np.load(io.BytesIO(data)) as archive:
        state = {name: archive[name] for name in archive.files}
    name = rng.choice(sorted(state))
    if how == "without":
        del state[name]
    elif how == "shape":
        state[name] = np.concatenate([state[name].ravel(), state[name].ravel()])
    elif how == "kind":
        state[name] = state[name].astype(rng.choice(["S3", "f4", "c8", "?"]))
    else:  # of those that are texts
        texts = [n for n in ("settings", "worlds", "folder") if n in state]
        name = rng.choice(texts)
        text = bytearray(state[name].tobytes())
        text[rng.randrange(len(text))] = rng.randrange(256)
        state[name] = np.frombuffer(text, np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in state.items():
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def schema(path: Path, rng: random.Random) -> str:
    """A table or column gone, a table empty, another version."""
    with opened(path) as db:
        table = rng.choice(tables(db))
        column = rng.choice(names(db, table))
        version = rng.choice((-1, 0, 1, 2, 3, 5, 99, 10**30))
        sql = rng.choice((
            f"DROP TABLE {table}",
            f"DELETE FROM {table}",
            f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
            f"ALTER TABLE {table} RENAME TO others",
            f"ALTER TABLE {table} DROP COLUMN {column}",
            f"UPDATE meta SET value = '{version}' WHERE key = 'schema_version'",
            f"CREATE TRIGGER no BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END",
        ))  # fmt: skip
        db.execute(sql)
        return sql


def command(path: Path, rng: random.Random) -> str:
    """A row in commands as nobody has sent it, said to be done."""
    with opened(path) as db:
        name = rng.choice(("tune", "edit", "prefer", "score"))
        args, step = rng.choice(ARGUMENTS), rng.choice((0, 5, 60, None, -3, 2**62, "x"))
        db.execute(
            "INSERT INTO commands (name, args, sent_at, status, applied_step) VALUES "
            "(?, ?, 0, 'done', ?)",
            (name, args, step),
        )
        return f"command {name} {str(args)[:60]!r} at {step!r}"


ARGUMENTS: tuple[Any, ...] = (
    "{}", "[]", "null", "", "[" * 100_000, '{"key": ' * 2000, '{"key": "x", "value": 1}',
    '{"key": "algorithm.learning_rate", "value": 1e999}',
    '{"key": "algorithm.learning_rate", "value": NaN}',
    '{"key": "algorithm.learning_rate", "value": -1}',
    '{"key": "algorithm.learning_rate", "value": 9' + "9" * 5000 + "}",
    '{"key": "algorithm.learning_rate", "value": {"kind": "linear"}}',
    '{"key": "algorithm.exploration.start", "value": "a"}',
    '{"key": "algorithm.exploration", "value": {"kind": "epsilon-greedy", "start": 1e308}}',
    '{"key": "algorithm.exploration.kind.x", "value": true}', '{"key": "", "value": false}',
    '{"key": "algorithm.gamma\\u0000", "value": 0.5}', '{"rows": []}', '{"rows": [""]}',
    '{"rows": ["S", "FFFF"]}', '{"rows": ["SFFF", "FFFF", "FFFF", "FFFG"]}',
    '{"rows": ["GGGG", "GGGG", "GGGG", "GGGG"]}', '{"rows": ["' + "S" * 100_000 + '"]}',
    '{"n": 1}', '{"n": 0}', '{"n": 1' + "0" * 40 + "}", '{"n": true}', '{"n": 2.5}',
    '{"value": 0}', '{"value": 1e-320}', '{"value": 1e308}', '{"value": Infinity}',
    '{"value": null}', '{"value": 50.0}', '{"value": "fast"}', '{"paced": true, "n": 2}',
    '{"pair": 0, "choice": "first"}', '{"pair": -1, "scores": [1, 2]}',
    '{"pair": 0, "scores": [1, 2]}', '{"a\\u0000": 1}', '"' + "x" * 3_000_000 + '"',
    b"\xff\xfe\x00", b"\0" * 1000, 5, 0.5, NOT_UTF8,
)  # fmt: skip
"""Arguments of commands, right and wrong."""
