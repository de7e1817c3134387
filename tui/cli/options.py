"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.cli.shell import completion

Json = Annotated[
    bool, typer.Option("--json", help="One JSON object a line on stdout, for scripts.")
]
RunId = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A run's id or the start of one (default: the latest).",
        show_default=False,
        autocompletion=completion.runs,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        show_default=False,
        help="Override a key of the preset: --set algorithm.gamma=0.9 (repeat for more).",
    ),
]
