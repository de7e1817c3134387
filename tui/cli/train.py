"""`icemaze train` and `fork`: start a run, go on with one or from one, and follow it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from engine.core.errors import UserError
from tui.cli.options import Json, RunId, Settings
from tui.cli.output import complain, emit, leave, say
from tui.cli.own import Trust, trusting
from tui.cli.shell import completion

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from tui.cli.follow import Signals

LATEST = "latest"
Detach = Annotated[
    bool, typer.Option("--detach", help="Leave the run to its worker and return at once.")
]


class TrainCommand(TyperCommand):
    """Lets `--resume` stand alone: it means the latest run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a lone `--resume` its value."""
        for i, arg in reversed(list(enumerate(args))):
            if arg == "--resume" and (i + 1 == len(args) or args[i + 1].startswith("-")):
                args.insert(i + 1, LATEST)
        return super().parse_args(ctx, args)


def train(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            show_default=False,
            help="A shipped preset's name, the path of a TOML file, - for one that is piped in, or "
            "a share string (im1:…).",
            autocompletion=completion.presets,
        ),
    ] = None,
    settings: Settings = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", show_default=False, help="Seed of all random numbers."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            show_default=False,
            help="Go on with this run from its last checkpoint (alone: the latest); --set may "
            "raise its budget.",
            autocompletion=completion.runs,
        ),
    ] = None,
    detach: Detach = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Train a preset in a background worker and follow it.

    Ctrl-C writes a checkpoint and stops; closing the terminal leaves the run going.
    """
    # start-up time
    from engine.runs import launch
    from tui.cli.follow import Signals, notes_so_far

    # Before it: code of the user's own may have to be interrupted as it is loaded, and a pipe may
    # be silent for long.
    if resume is None:
        loaded = trusting(lambda: _load(preset, settings, seed), trust, as_json)
    else:
        going_on = trusting(lambda: _to_resume(resume, preset, seed), trust, as_json)
    # From here on Ctrl-C must not fall between the worker's start and the first look at it.
    with Signals() as signals:
        known: frozenset[tuple[int, str]] = frozenset()
        if resume is None:
            run_dir = launch.launch(*loaded)
        else:
            run_dir, known = going_on, notes_so_far(going_on)
            launch.start_worker(run_dir, resume=True, overrides=settings)
        if detach:
            _say_detached(run_dir, as_json)
            return
        code = _follow(run_dir, known, signals, as_json)
    leave(code)


def _load(preset: str | None, settings: list[str] | None, seed: int | None) -> tuple[Preset, str]:
    """The preset to train, and its name. Raises UserError."""
    # start-up time
    from engine import presets
    from engine.config.shipped import shipped_names

    if preset is None:
        names = shipped_names()
        some = f"{', '.join(names[:4])}, …" if names[4:] else ", ".join(names)
        raise UserError(
            f"train needs a PRESET: a name ({some}; `icemaze presets list` shows them all) or the "
            "path of a TOML file."
        )
    pasted = presets.is_share(preset)
    if not pasted and Path(preset).is_dir() and preset not in shipped_names():
        raise UserError(
            f"train: {preset} is a folder; give the path of a TOML file in it, or a preset's name. "
            "(A run goes on with `icemaze train --resume RUN`.)"
        )
    overrides = list(settings or [])
    if seed is not None:
        overrides.append(f"run.seed={seed}")
    loaded = presets.load(preset, overrides)
    return loaded, loaded.title if pasted else preset


def _to_resume(run: str, preset: str | None, seed: int | None) -> Path:
    """The run to go on with. Raises UserError."""
    # start-up time
    from engine.runs import launch, library

    if preset is not None:
        raise UserError(
            f"train --resume goes on with a run as it was, so it takes no PRESET ({preset!r})."
        )
    if seed is not None:
        raise UserError("train --resume goes on with the run's own random numbers: drop --seed.")
    run_dir = library.find_run(None if run == LATEST else run)
    launch.permitted_code(run_dir)
    return run_dir


def _follow(
    run_dir: Path, known: frozenset[tuple[int, str]], signals: Signals, as_json: bool
) -> int:
    """Follow the run to its end; `known` notes are not said again. Gives the exit code."""
    # start-up time
    from tui.cli.follow import Follower
    from tui.cli.progress import make_reporter

    return Follower(run_dir, make_reporter(as_json), known).follow(signals)


def _say_detached(run_dir: Path, as_json: bool) -> None:
    if as_json:
        emit(event="started", run=run_dir.name, path=str(run_dir))
    else:
        say(
            f"Run {run_dir.name} goes on in the background. `icemaze open {run_dir.name}` watches "
            f"it, `icemaze status {run_dir.name}` says how far it is, "
            f"`icemaze stop {run_dir.name}` ends it."
        )


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
    detach: Detach = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Go on from a checkpoint of a run as a new run, with other settings.

    The parent stays as it is, and may be live. `icemaze compare PARENT FORK` shows both.
    """
    # start-up time
    from engine.runs import launch, library
    from tui.cli.follow import Signals, notes_so_far

    parent = library.find_run(run)
    run_dir = trusting(lambda: _fork_of(parent, at, settings or [], as_json), trust, as_json)
    with Signals() as signals:
        known = notes_so_far(run_dir)
        launch.start_worker(run_dir)
        if detach:
            _say_detached(run_dir, as_json)
            return
        code = _follow(run_dir, known, signals, as_json)
    leave(code)


def _fork_of(parent: Path, at: int | None, settings: list[str], as_json: bool) -> Path:
    """The fork, which nobody works at yet. Raises UserError."""
    # start-up time
    from engine.runs.past import fork as forks

    point = forks.find_point(parent, at)
    run_dir = forks.create_fork(point, forks.changed_preset(point, settings))
    if not as_json:
        complain(f"{run_dir.name} goes on from step {point.step:,} of {parent.name}.")
    return run_dir
