"""All runs of a user: where they are, which there are, and finding one by the start of its id."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import platformdirs

from engine.core.errors import UserError, nearest_few
from engine.runs import stored
from engine.runs.disk.lock import RunLock
from engine.runs.lists.index import RunIndex
from engine.runs.records import RunSummary

RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]+")
NEWEST = ".newest"
"""The file of a folder of runs with the `order` of the newest."""


def runs_dir() -> Path:
    """`ICEMAZE_RUNS_DIR`, or `icemaze/runs` in the user's data folder."""
    chosen = os.environ.get("ICEMAZE_RUNS_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("icemaze")) / "runs"


def run_folders(folder: Path | None = None) -> list[Path]:
    """The folders of all runs, by their names. Folders that are no runs are left alone.

    A name begins with a local time: `list_runs` knows which run is the newest.
    """
    folder = folder or runs_dir()
    try:
        with os.scandir(folder) as children:
            names = [child.name for child in children if _is_id(child.name) and child.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from error
    return [folder / name for name in sorted(names)]


def _is_id(name: str) -> bool:
    return RUN_ID.fullmatch(name) is not None


def _is_run(folder: Path) -> bool:
    return _is_id(folder.name) and folder.is_dir()


def list_runs(folder: Path | None = None) -> list[RunSummary]:
    """Every run in one line each, newest first; one that cannot be read says so."""
    return RunIndex(folder or runs_dir()).read(run_folders(folder))


def next_in_order(folder: Path, now: datetime) -> datetime:
    """The instant by which a run that starts now is ordered among those in a folder.

    That is now, unless the clock was put back since the newest run: then just after that one. The
    newest is noted in a file that may be lost at any time: then it is now.
    """
    try:
        descriptor = os.open(folder / NEWEST, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # who has it starts now too
            with contextlib.suppress(UserError, UnicodeError):
                newest = stored.instant(folder / NEWEST, file.read(100))
                now = max(now, newest + timedelta(microseconds=1))
            file.seek(0)
            file.truncate()
            file.write(now.isoformat(timespec="microseconds"))
    except OSError:
        pass
    return now


def newest(folder: Path | None = None) -> RunSummary:
    """The newest run. Raises UserError when there is none."""
    folder = folder or runs_dir()
    if runs := list_runs(folder):
        return runs[0]
    raise _none_in(folder)


def _none_in(folder: Path) -> UserError:
    return UserError(f"There are no runs in {folder}. `icemaze train PRESET` makes one.")


def find_run(prefix: str | None = None, folder: Path | None = None) -> Path:
    """The run whose id is or starts with `prefix`; the newest when there is none given.

    Raises UserError when no run or more than one fits.
    """
    folder = folder or runs_dir()
    folders = run_folders(folder)
    if not folders:
        raise _none_in(folder)
    if prefix is None:
        return newest(folder).path
    fitting = [path for path in folders if path.name.startswith(prefix)]
    exact = [path for path in fitting if path.name == prefix]
    if exact or len(fitting) == 1:
        return (exact or fitting)[0]
    if not fitting:
        raise UserError(
            f"No run in {folder} has an id that starts with {prefix!r}."
            f"{_meant(prefix, [path.name for path in folders])} `icemaze runs` shows them all."
        )
    names = ", ".join(path.name for path in fitting[:5])
    more = f" and {len(fitting) - 5} more" if len(fitting) > 5 else ""
    raise UserError(f"{prefix!r} fits {len(fitting)} runs: {names}{more}. Give more of the id.")


def _meant(word: str, names: list[str]) -> str:
    """The newest run with what was typed anywhere in its id (the preset, as a rule), else the
    nearest ones."""
    inside = [name for name in names if word[:100].lower() in name]
    return f" Did you mean {inside[-1]!r}?" if inside else nearest_few(word, names[::-1])


def remove(run_dir: Path) -> None:
    """Delete a run for good. Raises UserError when it is live, or cannot be deleted."""
    if not _is_run(run_dir) or run_dir.is_symlink():
        raise UserError(f"{run_dir}: this is not the folder of a run, so it was not removed.")
    lock = RunLock.take(run_dir)
    if lock is None:
        raise UserError(
            f"The run {run_dir.name} is live, so it was not removed. "
            f"`icemaze stop {run_dir.name}` stops it (with --now, whatever it does)."
        )
    try:
        shutil.rmtree(run_dir)
    except OSError as error:
        raise UserError(f"{run_dir}: could not be removed ({error.strerror}).") from error
    finally:
        lock.close()
