"""`icemaze watch`: look at a run of another trainer, as its callback or its file tells of it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UserError
from tui.cli.options import Json
from tui.cli.output import INTERRUPTED, complain, leave, on_terminal, say

if TYPE_CHECKING:
    from engine.external.follow import FollowedFile
    from tui.cli.watch.following import Recorder

STORE = "run.db"


def watch(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="A file of JSON lines (docs/watch.md), the folder of a run, or a run's id.",
        ),
    ],
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines of text instead of the app, until the run ends.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Record what the file holds now, and return.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Watch what another trainer does: curves, rollouts and diagnosis.

    A file is recorded as a run as it grows, and can be opened and compared later like any other;
    called again, it goes on where it was. TRL writes a run itself with IceMazeCallback: see
    docs/watch.md.
    """
    in_app = not (plain or once or as_json) and on_terminal() and sys.stdin.isatty()
    if path.is_file():
        _watch_file(path, once, as_json, in_app)
    elif once:
        raise UserError(f"watch --once records a file; {path} is none.")
    else:
        _look_on(_run_of(path), as_json, in_app)


def _run_of(path: Path) -> Path:
    """The folder of a run that is named by its path or its id. Raises UserError."""
    # start-up time
    from engine.runs import library

    if (path / STORE).is_file():
        return path.absolute()
    if path.exists():
        raise UserError(
            f"{path}: there is nothing to watch here. Expected a file of JSON lines, or the folder "
            f"of a run (with a {STORE}); docs/watch.md says how trainers make them."
        )
    with contextlib.suppress(UserError):
        return library.find_run(str(path))
    raise UserError(
        f"{path}: there is no such file, folder or run. Start the trainer first, then watch the "
        "file that it writes."
    )


def _look_on(run_dir: Path, as_json: bool, in_app: bool) -> None:
    """Watch a run that somebody else records."""
    # start-up time
    from tui.cli.app import open_app
    from tui.cli.watch.following import look_on

    if in_app:
        open_app(run_dir)
    else:
        leave(look_on(run_dir, as_json))


def _watch_file(path: Path, once: bool, as_json: bool, in_app: bool) -> None:
    # start-up time
    from engine.external.follow import FollowedFile
    from tui.cli.app import open_app
    from tui.cli.watch.following import Recorder, look_on, record_once

    followed = FollowedFile(path)
    if followed.others:
        assert followed.run_dir is not None
        complain(f"{path} is recorded by another `icemaze watch`; this one looks on.")
        followed.close()
        _look_on(followed.run_dir, as_json, in_app)
    elif once:
        record_once(followed, as_json)
    else:
        with Recorder(followed) as recorder:
            run_dir = _first(recorder, followed)
            if run_dir is None:
                leave(INTERRUPTED)
            elif in_app:
                open_app(run_dir)
            else:
                leave(look_on(run_dir, as_json))


def _first(recorder: Recorder, followed: FollowedFile) -> Path | None:
    """The run's folder, once the file holds a line that makes one."""
    if not recorder.wait(1.0):
        say(f"Waiting for the first line of {followed.file} … (Ctrl-C ends)")
    try:
        while not recorder.wait(1.0):
            pass
    except KeyboardInterrupt:
        return None
    return followed.run_dir
