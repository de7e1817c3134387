"""Files that are never half written, and folders that know what was in them."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path


def replace_file(file: Path, data: bytes) -> None:
    """Write a file so that after a crash it is the old one or the new one, never half of it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


SUMS = "SHA256SUMS"
"""The file of a folder with the digests of the others; `sha256sum -c` reads it too."""


def write_sums(folder: Path) -> None:
    """Note the digests of the files in a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = [f"{_digest(path)}  {path.name}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def changed_file(folder: Path) -> Path | None:
    """A file of a folder that is not as `write_sums` has seen it; None when all are, or when
    nothing was noted. Raises OSError."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None  # of an older version
    except UnicodeDecodeError:
        return folder / SUMS
    for line in lines:
        match = re.fullmatch(r"([0-9a-f]{64})  ([^/\0]+)", line)
        if match is None:
            return folder / SUMS
        path = folder / match[2]
        if not path.is_file() or _digest(path) != match[1]:
            return path
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
