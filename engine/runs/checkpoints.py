"""A learner's state as bytes: NumPy's `.npz` (readable with `np.load`), never a pickle.

The state of a language model is too large for a row: it is a folder of its own in the run's
`checkpoints/`, put there by renaming, and the row only names it. Both carry checksums: those of zip
members, and the folder's `SHA256SUMS`.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from engine.core.errors import StorageError, UserError
from engine.core.files import changed_file, write_sums
from engine.learning.learner import State
from engine.runs import schema, stored

FIRST, NEWEST, PREVIOUS = 0, 1, -1
"""The ids of the three checkpoints that are kept. The order to look for a good one is
`NEWEST, PREVIOUS, FIRST`."""
LARGEST = 2**32
"""More bytes than the state of a run that stands in a row ever has."""


def pack(state: State) -> bytes:
    """The state as a compressed `.npz`. Equal states give equal bytes.

    Raises ValueError for arrays of Python objects, which only a pickle could hold.
    """
    buffer = io.BytesIO()
    # Level 1: twice as fast as NumPy's own level 6, and nearly as small for tables.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(state):
            # Opened by name a member is dated 1980, so the bytes do not depend on the clock.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(state[name]), allow_pickle=False)
    return buffer.getvalue()


def unpack(data: bytes) -> State:
    """The inverse of `pack`. What other bytes raise may be any exception."""
    state = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST:
            raise ValueError("it says that it is too large to be one")
        for member in archive.infolist():
            # Read whole first: that checks its checksum before its header is believed.
            state[member.filename.removesuffix(".npy")] = _array(archive.read(member))
    return state


def _array(data: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """An array in NumPy's own format. Raises ValueError where its size is not as its header says,
    and for Python objects."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    body = data[file.tell() :]
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"an array of {len(body)} bytes cannot be {dtype} {shape}")
    flat = np.frombuffer(bytearray(body), dtype)
    return flat.reshape(shape[::-1]).T if in_columns else flat.reshape(shape)


# ---------------------------------------------------------------- which one to go on from


class Saved(msgspec.Struct, frozen=True):
    """A checkpoint: where it was taken, the whole state, and the last rows it knows of, in the
    order of `schema.RECORD`. `damage` says why newer ones were passed over."""

    id: int
    step: int
    counters: dict[str, int]
    state: State
    last: tuple[int, ...]
    damage: str = ""


def newest_good(
    run_dir: Path, connection: sqlite3.Connection, use: Callable[[State], object]
) -> Saved | None:
    """The newest checkpoint that can be read, and that `use` accepts by raising no UserError.

    None when the run has none at all. Raises UserError when it has some and none is good: then what
    is wrong with the newest.
    """
    file = run_dir / schema.DATABASE
    with schema.explained(file):
        there = {row[0] for row in connection.execute("SELECT id FROM checkpoints")}
    problems: list[UserError] = []
    for which in (NEWEST, PREVIOUS, FIRST):
        if which in there:
            try:
                saved = read(run_dir, connection, which)
                use(saved.state)
                words = str(problems[0]) if problems else ""
                return msgspec.structs.replace(saved, damage=words)
            except UserError as error:
                problems.append(error)
    if problems:
        raise problems[0]
    if there:
        raise stored.damaged(file, "checkpoints have impossible ids")
    return None


def read(
    run_dir: Path,
    connection: sqlite3.Connection,
    which: int,
    table: Literal["checkpoints", "kept"] = "checkpoints",
) -> Saved:
    """The checkpoint in the row `which` of a table. Raises UserError where it is damaged."""
    file = run_dir / schema.DATABASE
    with schema.explained(file):
        # A run of an older version, that is only read, has fewer tables.
        there = {f"{row[1]}" for row in connection.execute(f"PRAGMA table_info({table})")}
        columns = [f"last_{table}" for table in schema.RECORD]
        last = ", ".join(name if name in there else "0" for name in columns)
        row = connection.execute(
            f"SELECT id, step, counters, state, {last} FROM {table} WHERE id = ?", (which,)
        ).fetchone()
    kind = tuple[(int, stored.Id, str, bytes, *(stored.Id for _ in schema.RECORD))]  # type: ignore[misc, valid-type]
    id_, step, counters, packed, *ids = stored.cells(file, kind, row, "checkpoints")
    counters = stored.value(file, counters, stored.StoredCounters, "a checkpoint's counters")
    try:
        state = unpack(packed)
    except Exception as error:  # bytes can be wrong in any way
        raise stored.damaged(
            file, f"the checkpoint of step {step} cannot be read ({error})"
        ) from error
    return Saved(id_, step, counters, whole(run_dir, state), tuple(ids))


# ---------------------------------------------------------------- states too large for a row

FOLDER = "checkpoints"
NAMED = "folder"
"""The only entry of a state that stands in a folder: the folder's name as UTF-8 bytes."""
STATE_FILE = "state.safetensors"


def save_folder(run_dir: Path, step: int, state: State, *, first: bool = False) -> State:
    """Write a state into a new folder; gives the state to be stored in its place."""
    from safetensors.numpy import save_file

    parent = run_dir / FOLDER
    with _explained(parent):
        parent.mkdir(exist_ok=True)
    stem = "first" if first else f"{step:08d}"
    taken = {path.name for path in parent.iterdir()}
    name = next(n for n in (f"{stem}-{i}" for i in range(len(taken) + 1)) if n not in taken)
    contiguous = {key: np.ascontiguousarray(value) for key, value in state.items()}
    replace_folder(parent / name, lambda folder: save_file(contiguous, folder / STATE_FILE))
    return {NAMED: np.frombuffer(name.encode(), np.uint8)}


def whole(run_dir: Path, state: State) -> State:
    """The state itself, read from its folder where the row only names one.

    Raises UserError when the folder is gone, damaged, or cannot be read.
    """
    if NAMED not in state:
        return state
    folder = run_dir / FOLDER / folder_name(state)
    try:
        from safetensors.numpy import load_file

        if (changed := changed_file(folder)) is not None:
            raise ValueError(f"{changed.name} is not as it was written")
        return load_file(folder / STATE_FILE)
    except Exception as error:
        raise UserError(
            f"{folder / STATE_FILE}: the checkpoint cannot be read ({error}), so the run cannot go "
            "on from it; what it recorded can still be opened."
        ) from error


def folder_name(state: State) -> str:
    """The folder that a row names: never one outside `checkpoints/`. Nothing for another row."""
    name = state[NAMED].tobytes().decode("utf-8", "replace") if NAMED in state else ""
    return "" if {"/", "\0"} & set(name) or name in (".", "..") else name


def replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Put a newly written folder in the place of an older one, whole or not at all.

    Raises StorageError when the disk refuses.
    """
    coming = folder.with_name(f".{folder.name}.new")
    leaving = folder.with_name(f".{folder.name}.old")
    for rest in (coming, leaving):
        shutil.rmtree(rest, ignore_errors=True)
    try:
        with _explained(folder):
            coming.mkdir(parents=True)
            write(coming)
            write_sums(coming)
            for path in coming.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            if folder.exists():
                folder.rename(leaving)
            coming.rename(folder)
    except StorageError:
        shutil.rmtree(coming, ignore_errors=True)  # a part of it is of no use, its room is
        raise
    shutil.rmtree(leaving, ignore_errors=True)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError  # late: tables are trained without it

    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors has words of its own for OSErrors
        raise StorageError(f"{folder}: cannot be written ({error}).") from error


def remove_unnamed(run_dir: Path, connection: sqlite3.Connection) -> None:
    """Delete the folders that no committed row names any more."""
    parent = run_dir / FOLDER
    if not parent.is_dir():
        return
    with schema.explained(run_dir / schema.DATABASE):
        rows = connection.execute(
            "SELECT state FROM checkpoints UNION ALL SELECT state FROM kept"
        ).fetchall()
    named = set()
    for (packed,) in rows:
        try:
            named.add(folder_name(unpack(packed)))
        except Exception:  # damaged: nobody knows which folder it names, so none is deleted
            return
    for path in parent.iterdir():
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)
