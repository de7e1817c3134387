"""A learner's state as bytes: NumPy's `.npz` (readable with `np.load`), never a pickle.

The state of a language model is too large for a row: it is a folder of its own in the run's
`checkpoints/`, put there by renaming, and the row only names it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from engine.core.errors import StorageError, UserError
from engine.learning.learner import State


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
    """The inverse of `pack`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


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

    Raises UserError when the folder is gone or cannot be read.
    """
    if NAMED not in state:
        return state
    file = run_dir / FOLDER / state[NAMED].tobytes().decode() / STATE_FILE
    try:
        from safetensors.numpy import load_file

        return load_file(file)
    except Exception as error:
        raise UserError(
            f"{file}: the checkpoint cannot be read ({error}), so the run cannot go on from it; "
            "what it recorded can still be opened."
        ) from error


def replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Put a newly written folder in the place of an older one, whole or not at all.

    Raises StorageError when the disk refuses.
    """
    coming = folder.with_name(f".{folder.name}.new")
    leaving = folder.with_name(f".{folder.name}.old")
    for rest in (coming, leaving):
        shutil.rmtree(rest, ignore_errors=True)
    with _explained(folder):
        coming.mkdir(parents=True)
        write(coming)
        for path in coming.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(leaving)
        coming.rename(folder)
    shutil.rmtree(leaving, ignore_errors=True)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError  # late: tables are trained without it

    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors has words of its own for OSErrors
        coming = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(coming, ignore_errors=True)  # a part of it is of no use, its room is
        raise StorageError(f"{folder}: cannot be written ({error}).") from error


def remove_unnamed(run_dir: Path, connection: sqlite3.Connection) -> None:
    """Delete the folders that no committed row names any more."""
    parent = run_dir / FOLDER
    if not parent.is_dir():
        return
    rows = connection.execute("SELECT state FROM checkpoints").fetchall()
    named = {unpack(row[0])[NAMED].tobytes().decode() for row in rows}
    for path in parent.iterdir():
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)
