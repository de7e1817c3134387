"""A run's copy of the user's own algorithm: frozen like the preset, and checked before it is run.

The run's folder then holds everything the run was made of: worker, resume, replay and evaluation
use the same code, whatever has become of the original file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from engine import presets
from engine.algorithms.registry import algorithm_of
from engine.config.preset import Preset
from engine.core.errors import LastingError, UserError
from engine.learning.custom_file import CUSTOM_PREFIX
from engine.tabular.custom import errors as custom_errors
from engine.tabular.custom.loading import CustomFileError

META_KEY = "algorithm_file"
"""Where `meta` keeps the copy's name, where it came from, and its SHA-256."""
START_ANEW = "Start a new run: this one would only fail again at the same place."


def freeze(preset: Preset, run_dir: Path) -> dict[str, Any]:
    """Write `preset.toml`, and the algorithm's file if it is the user's own; gives the meta."""
    own = algorithm_of(preset).custom_file
    if own is None:
        (run_dir / "preset.toml").write_text(presets.dump(preset), "utf-8")
        return {}
    name = own.path.name
    (run_dir / name).write_bytes(own.source)
    text = presets.dump(preset, algorithm_name=f"{CUSTOM_PREFIX}{name}")
    (run_dir / "preset.toml").write_text(text, "utf-8")
    return {META_KEY: {"name": name, "from": str(own.path), "sha256": own.sha256}}


def check(run_dir: Path, meta: dict[str, Any] | None) -> None:
    """Raise UserError when the run's copy is not what the run was started with."""
    if not meta:
        return
    file = run_dir / meta["name"]
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f"{file}: the run's algorithm cannot be read ({error.strerror})."
        ) from error
    if digest != meta["sha256"]:
        raise UserError(
            f"{file}: the run's algorithm was changed after the run was started (its SHA-256 is "
            f"{digest[:12]}…, not {meta['sha256'][:12]}…), so its code was not run. Put the old "
            "file back, or start a new run."
        )


def note(meta: dict[str, Any] | None) -> str:
    """The note of a run about the code it has loaded; nothing for an algorithm of the shelf."""
    if not meta:
        return ""
    return (
        f"Loaded your own algorithm {meta['name']} from {meta['from']} (trusted code, SHA-256 "
        f"{meta['sha256'][:12]}…; a copy is in the run's folder)."
    )


LOG = "worker.log in the run's folder says more."


def failure(
    error: Exception, meta: dict[str, Any] | None, run_dir: Path, step: int
) -> tuple[str, str]:
    """The message of a run that failed at `step`, and what to do about it.

    A resume is offered only where it can help. It runs the run's own copy of preset and algorithm
    again, so it cannot where those are to blame; and at step 0 there is nothing to go on from.
    """
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    resume = f"`icemaze train --resume {run_dir.name}` goes on from the last checkpoint."
    if meta and (isinstance(error, CustomFileError) or custom_errors.is_to_blame(error)):
        if not isinstance(error, UserError):
            text = f"{custom_errors.describe(error, meta['name'], _source(run_dir, meta))}."
        return text, f"{LOG} {remedy(meta)}"
    if isinstance(error, LastingError):
        return text, f"{LOG} {remedy(meta) if meta else START_ANEW}"
    again = resume if step or _may_pass(error) else "Start a new run when that is mended."
    # The engine may have stumbled over what a method of the file gave it.
    blame = meta and not isinstance(error, UserError)
    return text, f"{LOG} {again}" + (
        f" Or, if {meta['name']} is to blame: {remedy(meta)}" if meta and blame else ""
    )


def _may_pass(error: Exception) -> bool:
    """Whether the same may go well another time: memory and files come and go."""
    return isinstance(error, OSError | MemoryError) or type(error).__name__ == "OutOfMemoryError"


def remedy(meta: dict[str, Any]) -> str:
    """The remedy for a run that failed by the user's own algorithm."""
    return (
        f"Mend {meta['from']} and start a new run: this one keeps its copy of the file as it was."
    )


def instead_of_resume(told: str) -> str:
    """What to do with a failed run that a resume cannot help, by the remedy it told; else ""."""
    return "" if "--resume" in told else told.removeprefix(LOG).strip()


def _source(run_dir: Path, meta: dict[str, Any]) -> bytes:
    try:
        return Path(run_dir, meta["name"]).read_bytes()
    except OSError:
        return b""
