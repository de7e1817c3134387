"""`icemaze` and `icemaze open`: the doors to the app."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from engine.core.errors import UserError
from tui.cli.options import RunId


def open_app(run: Path | None = None, compare: Sequence[Path] = ()) -> None:
    """Run the Textual app, at the home screen, in front of one run, or with runs side by side."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "The app needs a terminal. Without one: `icemaze train PRESET`, `icemaze runs`, "
            "`icemaze --help`."
        )
    # start-up time
    from tui.app import IceMazeApp

    IceMazeApp(open_run=run, compare=compare).run()


def open_run(run: RunId = None) -> None:
    """Watch a live run, or replay one that has ended, in the app."""
    # start-up time
    from engine.runs import library

    open_app(library.find_run(run))
