"""`icemaze sweep`: a grid of runs on all cores, and a table of what came out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UserError
from tui.cli.options import Json
from tui.cli.output import INTERRUPTED, complain, leave
from tui.cli.own import Trust, trusting
from tui.cli.shell import completion
from tui.cli.train import LATEST, TrainCommand

if TYPE_CHECKING:
    from engine.experiments.sweep_runner import SweepRunner
    from engine.experiments.sweeps import Sweep
    from tui.cli.follow import Signals

SweepCommand = TrainCommand
"""It lets `--resume` stand alone here too: the latest sweep."""


def sweep(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            show_default=False,
            help="A shipped preset's name, or the path of a TOML file.",
            autocompletion=completion.presets,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="SEEDS", show_default=False, help="Seeds: 0-9, or 1,2,10-12 (default: 0-4)."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE,…",
            show_default=False,
            help="Values to try: --set algorithm.learning_rate=0.05,0.1 (repeat for a grid). A "
            "list or table of TOML counts as one value.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default=False, help="Runs at once (default: cores)."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="SWEEP",
            show_default=False,
            help="Do what is missing of this sweep (alone: the latest).",
        ),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Train a preset with every combination of settings and seeds, and compare the results.

    Ctrl-C lets the runs write their checkpoints and stops; --resume goes on.
    """
    # start-up time
    from tui.cli.follow import Signals

    # Before it: code of the user's own may have to be interrupted as it is loaded, and a pipe may
    # be silent for long.
    folder, chosen = trusting(lambda: _choose(preset, seeds, settings, resume), trust, as_json)
    with Signals() as signals:
        code = _carry_out(folder, chosen, jobs or cores(), as_json, signals)
    leave(code)


def _choose(
    preset: str | None, seeds: str | None, settings: list[str] | None, resume: str | None
) -> tuple[Path, Sweep]:
    """The sweep to carry out: a new one, or the one to go on with. Raises UserError."""
    # start-up time
    from engine.experiments import sweeps

    if resume is None:
        if preset is None:
            raise UserError(
                "sweep needs a PRESET (`icemaze presets list` shows them), or --resume SWEEP."
            )
        planned = sweeps.plan(preset, "0-4" if seeds is None else seeds, settings or [])
        for name in planned.own:
            complain(f"Loaded your own algorithm {name} from {planned.folder} (trusted code).")
        return sweeps.create(planned), planned
    if preset is not None or seeds is not None or settings:
        raise UserError(
            "sweep --resume goes on with a sweep as it was: drop PRESET, --seeds and --set."
        )
    folder = sweeps.find(None if resume == LATEST else resume)
    going_on = sweeps.load(folder)
    if going_on.own:
        going_on.check_unchanged()
        going_on.check()
    return folder, going_on


def _carry_out(folder: Path, sweep: Sweep, jobs: int, as_json: bool, signals: Signals) -> int:
    # start-up time
    from engine.experiments.sweep_runner import SweepRunner
    from tui.cli.follow import follow_all
    from tui.cli.sweep.report import make_reporter

    with SweepRunner(folder, sweep, jobs) as runner:
        reporter = make_reporter(as_json)
        try:
            reporter.started(runner)
            code = follow_all(runner, reporter, signals)
        finally:
            reporter.close()
        if code is None:
            code = _verdict(runner)
            reporter.finished(runner, code)
    return code


def _verdict(runner: SweepRunner) -> int:
    """The exit status: 0 when every run has finished."""
    if runner.count("finished") == len(runner.jobs):
        return 0
    return INTERRUPTED if runner.stopping else 1


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
