"""What can be done to a run from the list: each takes its folder, may wait, and needs a thread.

All raise UserError. The engine is imported on use, see `shelf`.
"""

from __future__ import annotations

from pathlib import Path


def resume(path: Path) -> None:
    """Go on from the last checkpoint, at the pace the run had."""
    from engine.runs.launch import start_worker
    from engine.runs.reader import RunReader

    with RunReader(path) as reader:
        pace = reader.head().pace
    start_worker(path, resume=True, pace=pace)


def stop(path: Path) -> None:
    """Ask a live run to write a checkpoint and end."""
    from engine.runs.reader import RunReader

    with RunReader(path) as reader:
        reader.send("stop")


def delete(path: Path) -> None:
    """Delete a run that has ended, for good."""
    from engine.runs.library import remove

    remove(path)
