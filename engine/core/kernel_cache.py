"""Machine code kept from an earlier start: where it may be, and how a damaged file of it is known.

Numba reads its files as pickle and then runs what is in them. So they are kept only in a folder
that nobody but the user can write (`private`), and each ends in the SHA-256 of what stands before:
a file that was cut, changed or removed is a miss, and its kernel is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from engine.core import private
from engine.core.files import replace_file

SEAL = hashlib.sha256().digest_size
Kept = Literal["whole", "damaged", "missing"]


def prepare(folder: Path) -> str:
    """Make the folder of one version's kernels, in the one of all of them. Gives why it cannot be
    used, or nothing."""
    if why := private.make_private(folder.parent):
        return why
    return private.make_private(folder)


def is_whole(file: Path) -> bool:
    """Whether a file of machine code is as it was written. Raises OSError where there is none."""
    data = file.read_bytes()
    return hashlib.sha256(data[:-SEAL]).digest() == data[-SEAL:]


def kept(folder: Path, stem: str) -> Kept:
    """Whether the machine code of a kernel is there: its files in `folder` begin with `stem`."""
    found: Kept = "missing"
    files = [file for file in _files(folder) if file.name.startswith(stem)]
    whole = {file: _whole(file) for file in files}
    for index in (file for file in files if file.suffix == ".nbi"):
        codes = [file for file in files if file.name.startswith(f"{index.stem}.")]
        if not all(whole[file] for file in codes):
            return "damaged"
        if len(codes) > 1:  # the index is one of them
            found = "whole"
    return found


def forget_damaged(folder: Path, stem: str = "") -> None:
    """Remove the damaged files of machine code in `folder`: they are of no use to anybody."""
    for file in _files(folder):
        if file.name.startswith(stem) and not _whole(file):
            with contextlib.suppress(OSError):
                file.unlink()


def count(folder: Path) -> tuple[int, int]:
    """How many kernels are kept below `folder`, and how many of their files are damaged."""
    files = [file for room in (folder, *_folders(folder)) for file in _files(room)]
    damaged = sum(not _whole(file) for file in files)
    return sum(file.suffix == ".nbi" and _whole(file) for file in files), damaged


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix in (".nbi", ".nbc")]
    except OSError:
        return []


def _whole(file: Path) -> bool:
    try:
        return is_whole(file)
    except FileNotFoundError:
        return True  # gone meanwhile: missing, not damaged
    except OSError:
        return False


# ---------------------------------------------------------------- Numba


def keep(dispatcher: Any, folder: Path) -> None:
    """Let a kernel that Numba compiles be kept in `folder`; where that fails it is not kept."""
    if not hasattr(dispatcher, "py_func"):  # NUMBA_DISABLE_JIT: the function itself
        return
    with contextlib.suppress(OSError, RuntimeError):
        made = _checked_cache()(dispatcher.py_func)
        if Path(made.cache_path).is_relative_to(folder):  # Numba knows other places besides
            dispatcher._cache = made


@cache
def _checked_cache() -> Callable[[Any], Any]:
    """Numba's cache of one kernel, with files that are checked before they are believed."""
    # Slow to import, and only for who compiles; without types of its own.
    caching: Any = import_module("numba.core.caching")

    class CheckedFile(caching.IndexDataCacheFile):  # type: ignore[misc]
        def _load_index(self) -> Any:
            return super()._load_index() if _there(self._index_path) else {}

        def _load_data(self, name: str) -> Any:
            if not _there(self._data_path(name)):
                raise OSError  # Numba's word for a miss
            return super()._load_data(name)

        @contextlib.contextmanager
        def _open_for_write(self, filepath: str) -> Iterator[Any]:
            written = io.BytesIO()
            yield written
            data = written.getvalue()
            # Numba reads up to the end of its own data, and not the seal.
            replace_file(Path(filepath), data + hashlib.sha256(data).digest())

    class CheckedCache(caching.FunctionCache):  # type: ignore[misc]
        def __init__(self, function: Any) -> None:
            super().__init__(function)
            self._cache_file = CheckedFile(
                cache_path=self._cache_path,
                filename_base=self._impl.filename_base,
                source_stamp=self._impl.locator.get_source_stamp(),
            )

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                return super().load_overload(sig, target_context)
            except Exception:  # whatever it is: compiling helps
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            with contextlib.suppress(OSError):  # no room, or the folder is gone: not kept, then
                super().save_overload(sig, data)

    return CheckedCache


def _there(path: str) -> bool:
    try:
        return is_whole(Path(path))
    except OSError:
        return False
