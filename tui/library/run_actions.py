"""What can be done to runs from the lists. All may wait, and need a thread.

All raise UserError. The engine is imported on use, see `shelf`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from tui.library.differences import Difference


STOP_SECONDS = 3.0
"""How long a run that was asked to stop may go on before it is said how to end it."""
STILL_GOING = (
    "The run has not stopped yet: a step, or its last figures, may take long. x again ends its "
    "worker, whatever it does; the last checkpoint is kept."
)
END_QUESTION = (
    "The run was asked to stop and goes on. End its worker's process in a few seconds, whatever "
    "it does? What came after the last checkpoint is lost; it can be resumed from there."
)


def resume(path: Path) -> None:
    """Go on from the last checkpoint, at the pace the run had."""
    # start-up time
    from engine.runs.launch import start_worker
    from engine.runs.reader import RunReader

    with RunReader(path) as reader:
        pace = reader.head().pace
    start_worker(path, resume=True, pace=pace)


def stop(path: Path) -> None:
    """Ask a live run to write a checkpoint and end."""
    # start-up time
    from engine.runs.reader import RunReader

    with RunReader(path) as reader:
        reader.send("stop")


def end(path: Path) -> str:
    """End the worker of a live run whatever it does; gives what is to be said, see `end_worker`."""
    # start-up time
    from engine.runs.ending import end_worker

    return end_worker(path)


def delete(path: Path) -> None:
    """Delete a run that has ended, for good."""
    # start-up time
    from engine.runs.library import remove

    remove(path)


def pin(path: Path, on: bool) -> None:
    """Keep a run on top of the list, or no more."""
    # start-up time
    from engine.runs.lists import labels

    labels.pin(path, on)


def rename(path: Path, title: str) -> None:
    """Give a run a title of the user's own; an empty one brings the preset's back."""
    # start-up time
    from engine.runs.lists import labels

    labels.rename(path, title)


def differences(paths: Sequence[Path]) -> list[Difference]:
    """In which settings runs differ."""
    # start-up time
    from engine.runs.reader import RunReader
    from tui.library.differences import differences as differ

    presets = []
    for path in paths:
        with RunReader(path) as reader:
            presets.append(reader.info().preset)
    return differ(presets)


def start_together(
    presets: Sequence[tuple[str, Preset]], runs_dir: Path, *, paused: bool = False
) -> list[Path]:
    """Start a run of each preset, by name, at one pace and from one seed: those of the first.

    `paused` runs wait before their first step. When one cannot start, those begun before are
    stopped.
    """
    # start-up time
    from engine.core.errors import UserError
    from engine.runs import launch

    started: list[Path] = []
    try:
        for name, preset in presets:
            how = presets[0][1].run
            path = launch.launch(
                preset, name, runs_dir=runs_dir, seed=how.seed, pace=how.pace, paused=paused
            )
            started.append(path)
    except UserError:
        for path in started:
            with suppress(UserError):
                stop(path)
        raise
    return started
