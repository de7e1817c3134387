"""`icemaze` and `icemaze open`: the doors to the app."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

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


def open_run(
    run: RunId = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Lines of text instead of the app, for screen readers and logs; a live run is "
            "followed to its end.",
        ),
    ] = False,
) -> None:
    """Watch a live run, or replay one that has ended, in the app; a share string starts a run."""
    # start-up time
    from engine import presets
    from engine.runs import launch, library

    if run is not None and presets.is_share(run):
        preset = presets.load(run)
        path = launch.launch(preset, preset.title, pace=None if plain else preset.run.pace)
    else:
        path = library.find_run(run)
    if not plain:
        open_app(path)
        return
    # start-up time
    from tui.cli.sharing.plain import follow

    follow(path)
