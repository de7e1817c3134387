"""`icemaze glossary`: the terms of reinforcement learning, as the app's panel tells them."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from tui.cli.output import on_terminal, say, show
from tui.cli.shell import completion


def glossary(
    term: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TERM",
            show_default=False,
            help="A term, symbol or label of the app.",
            autocompletion=completion.terms,
        ),
    ] = None,
) -> None:
    """Explain a term; without one, list them all."""
    # start-up time
    from tui.glossary import render
    from tui.glossary.entries import load

    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    entry = load().find(" ".join(term)) if term else None
    if on_terminal() and not ascii_only:
        show(render.render_entry(entry) if entry else render.render_listing())
        return
    width = min(shutil.get_terminal_size().columns, 100)
    if entry:
        say(render.plain(entry, width, ascii_only))
    else:
        say(render.plain_listing(ascii_only=ascii_only))
