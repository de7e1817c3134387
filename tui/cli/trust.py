"""`icemaze trust`: which files of Python code Ice Maze may run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UserError
from tui.cli.options import Json
from tui.cli.output import emit, say, table

if TYPE_CHECKING:
    from engine.learning.custom_file import CustomFile


def trust(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE-OR-RUN",
            show_default=False,
            help="A Python file, a preset that names one, or a run made with one (its id). Alone: "
            "list what is trusted.",
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Ask again before this code is run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say that Ice Maze may run a file of Python code, an algorithm of your own or of others.

    Running it gives it all your rights, so read it first. What counts is its text: a copy is
    trusted too, and a changed file is asked about again. Looking at runs never runs such a file;
    training, resuming and evaluating do. The list is in your own settings folder.
    """
    # start-up time
    from engine.tabular.custom import trust as trusted

    if what is None:
        if remove:
            raise UserError("trust --remove: say which file or run (`icemaze trust` lists them).")
        _list(as_json)
        return
    file = _file(what)
    if remove:
        trusted.forget(file.sha256)
    else:
        trusted.remember(file)
    if as_json:
        emit(file=str(file.path), sha256=file.sha256, trusted=trusted.is_trusted(file.sha256))
    elif remove and not trusted.is_trusted(file.sha256):
        say(f"{file.path} (SHA-256 {file.sha256[:12]}…) is asked about before it is run again.")
    elif remove:
        say(f"{file.path} is an example that came with Ice Maze, which is always trusted.")
    else:
        say(
            f"{file.path} (SHA-256 {file.sha256[:12]}…) may run from now on, as long as it is "
            f"unchanged. `icemaze trust {what} --remove` takes that back."
        )


def _list(as_json: bool) -> None:
    # start-up time
    from engine.tabular.custom import trust as trusted

    entries = trusted.entries()
    if as_json:
        for entry in entries:
            emit(**entry._asdict())
        return
    if not entries:
        say("No code of yours is trusted yet. `icemaze trust FILE-OR-RUN` adds a file to the list.")
        return
    rows = [(entry.sha256[:12], entry.when[:16].replace("T", " "), entry.file) for entry in entries]
    table(("SHA-256", "since", "file, as it was called then"), rows)


def _file(what: str) -> CustomFile:
    """The file of code that is meant. Raises UserError."""
    # start-up time
    from engine.learning.custom_file import CUSTOM_PREFIX, read
    from engine.runs import custom_algorithm, library
    from engine.runs.reader import RunReader

    path = Path(what)
    if path.suffix == ".py":
        return read(f"{CUSTOM_PREFIX}{path.name}", path.parent)
    if path.suffix == ".toml":
        name = custom_algorithm.named(path)
        if name is None:
            raise UserError(f"{path}: this preset names no Python file (algorithm.name).")
        return read(name, path.parent)
    run_dir = library.find_run(what)
    with RunReader(run_dir) as reader:
        meta = reader.meta().get(custom_algorithm.META_KEY)
    file = custom_algorithm.copy_of(run_dir, meta)
    if file is None:
        raise UserError(f"The run {run_dir.name} was made with an algorithm of Ice Maze's own.")
    return file
