"""All runs of a user: where they are, which there are, and finding one by the start of its id."""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime
from pathlib import Path

import platformdirs

from engine.core.errors import UserError
from engine.runs.lock import RunLock
from engine.runs.reader import RunReader
from engine.runs.records import RunSummary

RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]+")


def runs_dir() -> Path:
    """`ICEMAZE_RUNS_DIR`, or `icemaze/runs` in the user's data folder."""
    chosen = os.environ.get("ICEMAZE_RUNS_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("icemaze")) / "runs"


def run_folders(folder: Path | None = None) -> list[Path]:
    """The folders of all runs, newest first. Folders that are no runs are left alone."""
    folder = folder or runs_dir()
    try:
        children = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from error
    return sorted((c for c in children if _is_run(c)), key=lambda path: path.name, reverse=True)


def _is_run(folder: Path) -> bool:
    return RUN_ID.fullmatch(folder.name) is not None and folder.is_dir()


def list_runs(folder: Path | None = None) -> list[RunSummary]:
    """Every run in one line each, newest first; one that cannot be read says so."""
    return [summarise(path) for path in run_folders(folder)]


def summarise(run_dir: Path) -> RunSummary:
    """A run in one line. Never raises: an unreadable one has state "broken"."""
    try:
        with RunReader(run_dir) as reader:
            head, meta = reader.head(), reader.meta()
            return RunSummary(
                id=run_dir.name,
                path=run_dir,
                state=head.state,
                preset_name=meta["preset_name"],
                title=meta["title"],
                created=datetime.fromisoformat(meta["created"]),
                step=head.step,
                env_steps=head.env_steps,
                episodes=head.episodes,
                seconds=head.seconds,
                success_rate=reader.success_rate(),
            )
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        return RunSummary(id=run_dir.name, path=run_dir, state="broken", broken=str(error))


def find_run(prefix: str | None = None, folder: Path | None = None) -> Path:
    """The run whose id is or starts with `prefix`; the newest when there is none given.

    Raises UserError when no run or more than one fits.
    """
    folder = folder or runs_dir()
    folders = run_folders(folder)
    if not folders:
        raise UserError(f"There are no runs in {folder}. `icemaze train PRESET` makes one.")
    if prefix is None:
        return folders[0]
    fitting = [path for path in folders if path.name.startswith(prefix)]
    exact = [path for path in fitting if path.name == prefix]
    if exact or len(fitting) == 1:
        return (exact or fitting)[0]
    if not fitting:
        raise UserError(
            f"No run in {folder} has an id that starts with {prefix!r}. "
            "`icemaze runs` shows them all."
        )
    names = ", ".join(path.name for path in fitting[:5])
    more = f" and {len(fitting) - 5} more" if len(fitting) > 5 else ""
    raise UserError(f"{prefix!r} fits {len(fitting)} runs: {names}{more}. Give more of the id.")


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
