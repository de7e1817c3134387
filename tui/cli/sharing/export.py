"""`icemaze export`: a run as tables, a report or pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tui.cli.options import Json, RunId
from tui.cli.output import emit, say
from tui.cli.shell import completion

FORMATS = "html, csv, parquet, json, tensorboard, svg or gif"


def export(
    run: RunId = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            show_default=False,
            help=f"{FORMATS} (default: what --out ends in, else html).",
            autocompletion=completion.formats,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            show_default=False,
            help="Where to: a file, or for csv, parquet and tensorboard a folder (default: the "
            "run's id, here).",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run to files: tables, TensorBoard, a report to read offline, pictures.

    A live run is written as it is now. Files that exist are left alone without --force.
    """
    # start-up time
    from engine.exports import formats
    from engine.runs import library

    chosen = formats.format_of(to, out)
    run_dir = library.find_run(run)
    path = out or formats.default_out(run_dir, chosen)
    path = formats.export(run_dir, chosen, path.expanduser(), force=force)
    if as_json:
        emit(run=run_dir.name, format=chosen.name, path=str(path.absolute()))
        return
    files = ", ".join(sorted(file.name for file in path.iterdir())) if chosen.folder else ""
    say(f"{run_dir.name} was written to {path}" + (f": {files}" if files else ""))
