"""`icemaze fork`: go on from a checkpoint of a run, as a new run with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tui.cli.options import Json, RunId, Settings
from tui.cli.output import complain, leave
from tui.cli.own import Trust, trusting


def fork(
    run: RunId = None,
    at: Annotated[
        int | None,
        typer.Option(
            metavar="STEP",
            min=0,
            show_default=False,
            help="Go on from the newest checkpoint that is not after this step (default: from the "
            "newest of all).",
        ),
    ] = None,
    settings: Settings = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave the run to its worker and return at once.")
    ] = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Go on from a checkpoint of a run as a new run, with other settings.

    The parent stays as it is, and may be live. `icemaze compare PARENT FORK` shows both.
    """
    # start-up time
    from engine.runs import launch, library
    from tui.cli.follow import Follower, Signals, notes_so_far
    from tui.cli.train import say_detached

    parent = library.find_run(run)
    run_dir = trusting(lambda: _made(parent, at, settings or [], as_json), trust, as_json)
    with Signals() as signals:
        known = notes_so_far(run_dir)
        launch.start_worker(run_dir)
        if detach:
            say_detached(run_dir, as_json)
            return
        # start-up time
        from tui.cli.progress import make_reporter

        code = Follower(run_dir, make_reporter(as_json), known).follow(signals)
    leave(code)


def _made(parent: Path, at: int | None, settings: list[str], as_json: bool) -> Path:
    """The fork, which nobody works at yet. Raises UserError."""
    # start-up time
    from engine.runs import fork as forks

    point = forks.find_point(parent, at)
    run_dir = forks.create_fork(point, forks.changed_preset(point, settings))
    if not as_json:
        complain(f"{run_dir.name} goes on from step {point.step:,} of {parent.name}.")
    return run_dir
