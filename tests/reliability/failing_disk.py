"""A disk that fails: SQLite's own system calls, and Python's, refuse from a given write on.

SQLite lets its system calls be replaced (`xSetSystemCall` of the VFS, made for such tests), so what
is tried is the real library on the real file, with `ENOSPC` or `EIO` as if from the kernel.
"""

from __future__ import annotations

import _sqlite3
import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WRITE = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, use_errno=True
)
PWRITE = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long, use_errno=True
)


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs` up to its third version (https://sqlite.org/c3ref/vfs.html)."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("zName", ctypes.c_char_p),
        ("pAppData", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in (
            "xOpen", "xDelete", "xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym",
            "xDlClose", "xRandomness", "xSleep", "xCurrentTime", "xGetLastError",
            "xCurrentTimeInt64",
        )),
        ("xSetSystemCall", ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
        )),
    ]  # fmt: skip


class FailingDisk:
    """Counts writes; from number `first` on, `times` of them fail with `error`.

    Once the file `freed` is gone there is room for a few writes more.
    """

    def __init__(self, error: int, first: int, times: int, freed: Path | None = None) -> None:
        self.error, self.first, self.times, self.freed = error, first, times, freed
        self.spare = 12
        self.writes = 0
        self.failed = 0

    def refuses(self) -> bool:
        """Count one write; whether it is to fail."""
        self.writes += 1
        refused = self.first <= self.writes and self.failed < self.times
        if refused and self.freed is not None and self.spare > 0 and not self.freed.exists():
            self.spare -= 1
            return False
        self.failed += refused
        return refused


@contextlib.contextmanager
def failing_disk(disk: FailingDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `disk` decide on every write of SQLite's, and every `fsync` and folder of Python's."""
    sqlite, libc = ctypes.CDLL(_sqlite3.__file__), ctypes.CDLL(None, use_errno=True)
    sqlite.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = sqlite.sqlite3_vfs_find(None)
    set_call = vfs.contents.xSetSystemCall
    libc.pwrite.restype = libc.write.restype = ctypes.c_ssize_t

    def write(fd: int, data: int, size: int) -> int:
        if disk.refuses():
            ctypes.set_errno(disk.error)
            return -1
        return int(libc.write(fd, ctypes.c_void_p(data), ctypes.c_size_t(size)))

    def pwrite(fd: int, data: int, size: int, offset: int) -> int:
        if disk.refuses():
            ctypes.set_errno(disk.error)
            return -1
        place = ctypes.c_long(offset)
        return int(libc.pwrite(fd, ctypes.c_void_p(data), ctypes.c_size_t(size), place))

    def refusing(call: Any) -> Any:
        def replaced(*args: Any, **options: Any) -> Any:
            if disk.refuses():
                raise OSError(disk.error, os.strerror(disk.error))
            return call(*args, **options)

        return replaced

    calls = {b"write": WRITE(write), b"pwrite": PWRITE(pwrite), b"pwrite64": PWRITE(pwrite)}
    try:
        for name, call in calls.items():
            set_call(vfs, name, ctypes.cast(call, ctypes.c_void_p))
        with monkeypatch.context() as patch:
            for name in ("fsync", "mkdir", "rename"):
                patch.setattr(os, name, refusing(getattr(os, name)))
            yield
    finally:
        for name in calls:
            set_call(vfs, name, None)
