"""A run's copy of the user's own algorithm: frozen like the preset, and checked before it is run.

The run's folder then holds everything the run was made of: worker, resume and evaluation use the
same code, whatever has become of the original file. Beside it stands what the algorithm says of
itself, as data: that is what is read to look at the run.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine import presets
from engine.algorithms.registry import algorithm_of
from engine.config.preset import Preset
from engine.core import private
from engine.core.errors import LastingError, UserError
from engine.env.build_maze import build_mazes
from engine.learning.algorithm import Algorithm
from engine.learning.custom_file import CUSTOM_PREFIX, CustomFile, read
from engine.learning.events import AnyEvent, Episode, Live, Step
from engine.tabular.custom import errors as custom_errors
from engine.tabular.custom import loading, recorded, trust
from engine.tabular.custom.loading import CustomFileError

E = TypeVar("E", bound=AnyEvent | Live)

META_KEY = "algorithm_file"
"""Where `meta` keeps the copy's name, where it came from, and its SHA-256."""
START_ANEW = "Start a new run: this one would only fail again at the same place."


def freeze(preset: Preset, run_dir: Path) -> dict[str, Any]:
    """Write `preset.toml`, and the algorithm's file if it is the user's own; gives the meta."""
    algorithm = algorithm_of(preset)
    own = algorithm.custom_file
    if own is None:
        private.write_new(run_dir / "preset.toml", presets.dump(preset).encode())
        return {}
    name = own.path.name
    private.write_new(run_dir / name, own.source)
    private.write_new(run_dir / recorded.FILE, recorded.describe(algorithm))
    text = presets.dump(preset, own_name=f"{CUSTOM_PREFIX}{name}")
    private.write_new(run_dir / "preset.toml", text.encode())
    return {META_KEY: {"name": name, "from": str(own.path), "sha256": own.sha256}}


def checked(run_dir: Path, meta: dict[str, Any] | None) -> CustomFile | None:
    """The run's copy of the user's own algorithm, None for a run without one.

    Raises UserError as `copy_of` does, and NotTrustedError when the user has not said that it may
    be run.
    """
    file = copy_of(run_dir, meta)
    if file is not None:
        trust.check(file)
    return file


def copy_of(run_dir: Path, meta: dict[str, Any] | None) -> CustomFile | None:
    """The same, whether it may be run or not: its text is only read. Raises UserError when it is
    not what the run was started with, or nobody knows what that was."""
    name = named(run_dir / "preset.toml")
    if name is None:
        return None
    plain = name.removeprefix(CUSTOM_PREFIX)
    if plain != Path(plain).name:
        raise UserError(
            f"{run_dir / 'preset.toml'}: the run's algorithm is {plain}, which is not in the run's "
            "folder, so its code was not run. Start a new run."
        )
    file = read(name, run_dir)
    if not isinstance(meta, dict) or meta.get("name") != plain:
        raise UserError(
            f"{file.path}: the run does not say with which file it was started, so nobody knows "
            "whether this is it, and its code was not run. Start a new run."
        )
    if file.sha256 != (before := str(meta.get("sha256"))):
        raise UserError(
            f"{file.path}: the run's algorithm was changed after the run was started (its SHA-256 "
            f"is {file.sha256[:12]}…, not {before[:12]}…), so its code was not run. Put the old "
            "file back, or start a new run."
        )
    return file


def named(file: Path) -> str | None:
    """The name of the user's own algorithm in a preset's file; None where it names another."""
    try:
        table = tomllib.loads(file.read_text("utf-8")).get("algorithm")
    except (OSError, ValueError, RecursionError):
        return None  # whoever reads the preset says what is wrong with it
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) and name.startswith(CUSTOM_PREFIX) else None


def load(run_dir: Path, meta: dict[str, Any] | None) -> Algorithm:
    """The algorithm of a run with its code. Raises UserError, see `checked`."""
    file = checked(run_dir, meta)
    assert file is not None  # asked only of a run that has one
    return loading.load(file.name, run_dir)


def record(run_dir: Path, preset: Preset) -> None:
    """Note what the algorithm says of itself in a run that was made before that was noted."""
    algorithm = algorithm_of(preset)
    if algorithm.custom_file is not None and not (run_dir / recorded.FILE).exists():
        private.write_new(run_dir / recorded.FILE, recorded.describe(algorithm))


class Teller:
    """Puts into what is recorded how the user's own algorithm explains each step, so that nobody
    has to run its code to read that."""

    def __init__(self, preset: Preset) -> None:
        self.algorithm = algorithm_of(preset)
        self.own = self.algorithm.custom_file is not None
        self.actions = build_mazes(preset.maze)[0][1].actions if self.own else ()

    def tell(self, event: E) -> E:
        """The event with explained steps; as it is in a run with an algorithm of the shelf."""
        if not self.own:
            return event
        if isinstance(event, Episode):
            return msgspec.structs.replace(event, steps=self._explained(event.steps))
        if isinstance(event, Live):
            steps, late = self._explained(event.steps), self._explained(event.late)
            return msgspec.structs.replace(event, steps=steps, late=late)
        return event

    def _explained(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return tuple(msgspec.structs.replace(step, told=self._told(step)) for step in steps)

    def _told(self, step: Step) -> tuple[str, str, str]:
        try:
            found = self.algorithm.explain(step, self.actions)
            parts = (found.formula, found.numbers, found.words)
        except UserError as error:
            words = (
                f"Your algorithm could not explain this update: {error} Mend your file and start a "
                "new run: this one keeps its copy as it was."
            )
            parts = (self.algorithm.formula, "", words)
        formula, numbers, words = (part[: recorded.WORDS_LARGEST] for part in parts)
        return formula, numbers, words


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
