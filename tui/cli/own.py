"""Code of the user's own: asking whether it may run, and saying that it was loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from engine.core.errors import UserError
from tui.cli.output import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from engine.config.preset import Preset
    from engine.tabular.custom.trust import NotTrustedError

Found = TypeVar("Found")
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Let the algorithm's own file of Python code (file:NAME.py) run without a question.",
    ),
]


def trusting(load: Callable[[], Found], trust: bool, as_json: bool = False) -> Found:
    """What `load` gives, which may load files of the user's own: each that is not trusted yet is
    asked about. Raises UserError when it may not run."""
    # start-up time
    from engine.tabular.custom.trust import NotTrustedError

    while True:
        try:
            return load()
        except NotTrustedError as error:
            _decide(error, trust, as_json)


def _decide(error: NotTrustedError, trust: bool, as_json: bool) -> None:
    """Take the file up among the trusted ones, after a question. Raises UserError."""
    # start-up time
    from engine.tabular.custom.trust import remember

    file = error.file
    if not trust:
        if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise error
        lines = file.source.count(b"\n") + 1
        complain(
            f"{file.path} is Python code ({lines} lines, SHA-256 {file.sha256[:12]}…). Ice Maze "
            "would run it with your rights: it could read, change and send whatever you can."
        )
        if not typer.confirm("Run it, now and as long as it is unchanged?", err=True):
            raise UserError(f"{file.path}: nothing of it was run.")
    try:
        remember(file)
    except UserError as problem:  # it holds for this command all the same
        complain(str(problem))


def say_loaded(presets: Iterable[Preset]) -> None:
    """One line on stderr for each file of the user's own that these presets were loaded with."""
    # start-up time
    from engine.algorithms.registry import algorithm_of

    files = [file for preset in presets if (file := algorithm_of(preset).custom_file)]
    for path in dict.fromkeys(file.path for file in files):
        complain(f"Loaded your own algorithm from {path} (trusted code).")
