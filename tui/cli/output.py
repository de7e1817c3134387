"""Everything the headless commands print: lines for people, JSON for scripts.

All of it goes through `write`, so that a closed pipe or a lost terminal is one exception.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from tui.cli import streams
from tui.ui.text import clean

if TYPE_CHECKING:
    from rich.console import RenderableType

INTERRUPTED = 130


class ReaderGoneError(Exception):
    """Nobody reads our output any more: the pipe was closed, or the terminal is gone."""


class BlockedError(Exception):
    """Our reader does not read, and a signal waits: raised by its handler into the writing."""


@dataclass(slots=True)
class Stdout:
    """What is known of stdout."""

    writing: bool = False
    """Whether it is being written to at this moment: that may take as long as the reader likes."""
    lost: bool = False
    """Whether something could not be written, as on a full disk."""


stdout = Stdout()


def write(text: str) -> None:
    """Put text on stdout at once. Raises ReaderGoneError.

    Where it cannot be written for another reason this is said once, and what follows goes nowhere:
    a run is not interrupted because a log file has no room. So it does once a signal has waited in
    vain for a reader who does not read.
    """
    try:
        stdout.writing = True
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        finally:
            stdout.writing = False
    except BlockedError:
        streams.divert(sys.stdout)
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.EIO):
            raise ReaderGoneError from error
        stdout.lost = True
        streams.divert(sys.stdout)
        complain(f"icemaze: stdout: {error.strerror or error}. What follows is not written.")


def say(text: str = "") -> None:
    """A line (or lines) for a person. Foreign text in it loses its control characters."""
    write(clean(text, lines=True) + "\n")


def complain(text: str) -> None:
    """A line for a person on stderr."""
    # Where nobody reads stderr, the exit status has to do.
    with contextlib.suppress(OSError):
        print(clean(text), file=sys.stderr, flush=True)


def draw_attention(title: str, text: str) -> None:
    """Ring the terminal or notify the desktop, as far as the user wants it."""
    # start-up time
    from tui.watching.attention import attention

    if signs := attention(title, text):
        write(signs)


def emit(**fields: Any) -> None:
    """One JSON object on one line; NaN and infinities are null."""
    write(json.dumps(_finite(fields), allow_nan=False, default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def on_terminal() -> bool:
    """Whether a person watches stdout."""
    return sys.stdout.isatty()


def show(renderable: RenderableType) -> None:
    """A Rich renderable, for a person at a terminal."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(renderable)
    write(captured.get())


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> None:
    """Rows of foreign text in columns; the columns in `numbers` are aligned to the right.

    Off a terminal nothing is coloured, cut or folded: a script may read the columns.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    if on_terminal():
        show(_grid(headings, cells, numbers))
        return
    from rich.cells import cell_len

    lines = [list(headings), *cells]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(headings))]
    for line in lines:
        padding = [" " * (width - cell_len(cell)) for width, cell in zip(widths, line, strict=True)]
        padded = [
            p + c if i in numbers else c + p
            for i, (p, c) in enumerate(zip(padding, line, strict=True))
        ]
        write("  ".join(padded).rstrip() + "\n")


def _grid(
    headings: Sequence[str], cells: Sequence[Sequence[str]], numbers: Sequence[int]
) -> RenderableType:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i, heading in enumerate(headings):
        last = i == len(headings) - 1
        width = max(cell_len(cell) for cell in (heading, *(row[i] for row in cells)))
        grid.add_column(
            heading,
            justify="right" if i in numbers else "left",
            no_wrap=True,  # where it is too narrow, the last column is cut and the others stay
            overflow="ellipsis",
            min_width=1 if last else width,
        )
    for row in cells:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def leave(code: int) -> NoReturn:
    """End the command with an exit status."""
    import typer

    raise typer.Exit(code)
