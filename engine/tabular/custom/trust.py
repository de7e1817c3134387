"""Which files of code the user lets run: by the SHA-256 of their text, in a folder of the user's.

Loading a file runs it with all that the user may do. So it is loaded only when its text is one that
the user said yes to, whatever it is called and wherever it stands; a changed file is another one.
The example that comes with Ice Maze needs no question.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import platformdirs

from engine.config import shipped
from engine.core import private
from engine.core.errors import UserError
from engine.core.files import replace_file
from engine.learning.custom_file import CustomFile, sha256_of

NAME = "trusted-code.jsonl"
MOST = 1 << 20
"""Bytes of the list: ten thousand entries."""

_for_now: set[str] = set()
"""What this process may load besides: what was said yes to in it, or in the one that began it."""


class NotTrustedError(UserError):
    """A file of code was not loaded because nobody has said that it may be."""

    def __init__(self, file: CustomFile) -> None:
        self.file = file
        super().__init__(
            f"{file.path}: this file is Python code that you have not said Ice Maze may run "
            f"(SHA-256 {file.sha256[:12]}…), so it was not loaded. Read it, then "
            f"`icemaze trust {file.path}`, or give --trust."
        )


class Entry(NamedTuple):
    """A line of the list."""

    sha256: str
    file: str
    """Where it stood then."""
    when: str


def folder() -> Path:
    """Where the list is: the user's own settings."""
    return Path(platformdirs.user_config_dir("icemaze"))


def is_trusted(sha256: str) -> bool:
    """Whether code of this SHA-256 may be run."""
    return (
        sha256 in _for_now
        or sha256 in _shipped()
        or any(entry.sha256 == sha256 for entry in entries())
    )


def check(file: CustomFile) -> None:
    """Raise NotTrustedError unless the file may be run."""
    if not is_trusted(file.sha256):
        raise NotTrustedError(file)


def for_now(sha256: str) -> None:
    """Let this process load code of this SHA-256."""
    _for_now.add(sha256)


def remember(file: CustomFile) -> None:
    """Let code of this text run from now on. Raises UserError when that cannot be written down."""
    for_now(file.sha256)
    if any(entry.sha256 == file.sha256 for entry in entries()):
        return
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    line = json.dumps(Entry(file.sha256, str(file.path), when)._asdict()) + "\n"
    why = private.make_private(folder())
    try:
        if not why:  # appended: two processes may do so at once
            with open(folder() / NAME, "ab", opener=private.opener) as handle:
                os.fchmod(handle.fileno(), private.FILE)
                handle.write(line.encode())
    except OSError as error:
        why = f"{folder() / NAME} cannot be written ({error.strerror})"
    if why:
        raise UserError(f"That you trust {file.path} could not be kept: {why}.")


def forget(sha256: str) -> None:
    """Ask again before code of this SHA-256 is run. Raises UserError."""
    _for_now.discard(sha256)
    known = entries()
    left = [entry for entry in known if entry.sha256 != sha256]
    if left == known:
        return
    text = "".join(json.dumps(entry._asdict()) + "\n" for entry in left)
    try:
        replace_file(folder() / NAME, text.encode())
    except OSError as error:
        raise UserError(f"{folder() / NAME}: cannot be written ({error.strerror}).") from error


def entries() -> list[Entry]:
    """What the user has said yes to. A list that others could have written is not believed."""
    file = folder() / NAME
    if private.why_not_private(folder()):
        return []
    try:
        lines = private.read_plain(file, MOST).decode("utf-8", "replace").splitlines()
        status = file.lstat()
    except OSError:
        return []
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return []
    return [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: str) -> Entry | None:
    """A line of the list; None for one that cannot be read, whose file is asked about again."""
    try:
        found = json.loads(line)
        return Entry(str(found["sha256"]), str(found["file"]), str(found["when"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


@cache
def _shipped() -> frozenset[str]:
    """The examples that came with Ice Maze."""
    files = (shipped.FOLDER / "examples").glob("*.py")
    return frozenset(sha256_of(file.read_bytes()) for file in files)
