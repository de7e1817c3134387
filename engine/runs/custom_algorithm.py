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
from engine.core.errors import UserError
from engine.learning.custom_file import CUSTOM_PREFIX
from engine.tabular.custom import errors as custom_errors
from engine.tabular.custom.loading import CustomFileError

META_KEY = "algorithm_file"
"""Where `meta` keeps the copy's name, where it came from, and its SHA-256."""


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


def failure(error: Exception, meta: dict[str, Any] | None, run_dir: Path) -> tuple[str, str]:
    """The message of a run that failed, and what to do about it.

    A resume runs the run's copy again, so it cannot help where the user's own file is to blame.
    """
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    log = "worker.log in the run's folder says more."
    resume = f"`icemaze train --resume {run_dir.name}` goes on from the last checkpoint."
    if not meta:
        return text, f"{log} {resume}"
    if isinstance(error, CustomFileError):
        return text, f"{log} {remedy(meta)}"
    if custom_errors.is_to_blame(error):
        told = custom_errors.describe(error, meta["name"], _source(run_dir, meta))
        return f"{told}.", f"{log} {remedy(meta)}"
    if isinstance(error, UserError):
        return text, f"{log} {resume}"
    # The engine may have stumbled over what a method of the file gave it.
    return text, f"{log} {resume} Or, if {meta['name']} is to blame: {remedy(meta)}"


def remedy(meta: dict[str, Any]) -> str:
    """The remedy for a run that failed by the user's own algorithm."""
    return (
        f"Mend {meta['from']} and start a new run: this one keeps its copy of the file as it was."
    )


def instead_of_resume(meta: dict[str, Any] | None, told: str) -> str:
    """The remedy for a failed run that need not be resumed, by the remedy it told; else nothing."""
    return remedy(meta) if meta and remedy(meta) in told and "--resume" not in told else ""


def _source(run_dir: Path, meta: dict[str, Any]) -> bytes:
    try:
        return Path(run_dir, meta["name"]).read_bytes()
    except OSError:
        return b""
