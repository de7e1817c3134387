"""`icemaze share`: a preset, or what a run was started with, as one line to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UserError
from tui.cli.options import Json, Settings
from tui.cli.output import complain, emit, on_terminal, say
from tui.cli.shell import completion

if TYPE_CHECKING:
    from pathlib import Path

    from engine.config.preset import Preset


def share(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN-OR-PRESET",
            show_default=False,
            help="A run's id or the start of one, or a preset's name or file (default: the latest "
            "run).",
            autocompletion=completion.runs_and_presets,
        ),
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print one line that recreates maze, preset and seed: `icemaze train` takes it.

    It carries settings only, never code or a trained model.
    """
    # start-up time
    from engine import presets

    run_dir = _run(name)
    if run_dir is None:
        assert name is not None
        preset = presets.load(name, settings)
    else:
        if settings:
            raise UserError("share: --set changes a preset, and a run is as it was; drop it.")
        preset = _of_run(run_dir)
    line = presets.share(preset)
    if as_json:
        emit(share=line, title=preset.title)
        return
    say(line)
    if on_terminal():
        complain(f'{len(line)} characters. `icemaze train "im1:…"` trains it anywhere.')


def _run(name: str | None) -> Path | None:
    """The run that is meant, or None for a preset. Raises UserError when it is neither."""
    # start-up time
    from engine.config.shipped import shipped_names
    from engine.runs import library

    if name is not None:
        is_file = name == "-" or name.endswith(".toml") or "/" in name
        runs = [path.name for path in library.run_folders()]
        if is_file or name in shipped_names() or not any(run.startswith(name) for run in runs):
            return None  # a name that is neither is said to be no preset, with the nearest
    return library.find_run(name)


def _of_run(run_dir: Path) -> Preset:
    # start-up time
    from engine.runs.reader import RunReader

    with RunReader(run_dir) as reader:
        if tunes := reader.tunes():
            keys = ", ".join(dict.fromkeys(tune.key for tune in tunes))
            complain(
                f"What was changed while the run went on ({keys}) is not in the line: it starts as "
                "the run did."
            )
        return reader.info().preset
