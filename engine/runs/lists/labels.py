"""What a user has written on a run: a title of their own, and a pin that keeps it on top of lists.

It stands in `label.json` in the run's folder, so it goes wherever the run goes, and nothing that
the worker writes is touched. The id of the run stays.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from engine.core.errors import StorageError, UserError
from engine.core.files import replace_file
from engine.runs import schema

FILE = "label.json"
LONGEST = 100
"""Characters of a title: more fits into no list."""
LARGEST = 4096
"""Bytes that are read of the file."""


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of the file; an absent or damaged one is `Label()`."""

    title: Annotated[str, Meta(max_length=LONGEST)] = ""
    """Foreign text, as all titles: to be cleaned before it is shown."""
    pinned: bool = False


def read(run_dir: Path) -> Label:
    """The label of a run. Never raises: a run is no worse for a label that cannot be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        file = run_dir / FILE
        if file.is_symlink():
            return Label()
        with file.open("rb") as handle:
            return msgspec.json.decode(handle.read(LARGEST), type=Label)
    return Label()


def rename(run_dir: Path, title: str) -> Label:
    """Give a run a title of the user's own; an empty one brings the preset's back.

    Raises UserError when the title is too long or cannot be printed, or there is no such run;
    StorageError when it cannot be written.
    """
    title = " ".join(title.split())
    if len(title) > LONGEST:
        raise UserError(
            f"A run's title has at most {LONGEST} characters, and this one has {len(title)}: "
            "shorten it."
        )
    if not title.isprintable():
        raise UserError("A run's title is one line of printable characters: leave the others out.")
    return _write(run_dir, msgspec.structs.replace(read(run_dir), title=title))


def pin(run_dir: Path, on: bool) -> Label:
    """Keep a run on top of lists, or no more. Raises as `rename`."""
    return _write(run_dir, msgspec.structs.replace(read(run_dir), pinned=on))


def _write(run_dir: Path, label: Label) -> Label:
    if not (run_dir / schema.DATABASE).exists():
        raise UserError(f"{run_dir}: there is no run here, so it was not named. It may be deleted.")
    file = run_dir / FILE
    try:
        if label == Label():
            file.unlink(missing_ok=True)
        else:
            replace_file(file, msgspec.json.encode(label))
    except OSError as error:
        raise StorageError(
            f"{file}: cannot be written ({error.strerror}). Make room or mend the permissions."
        ) from error
    return label
