"""Standard streams as a shell may leave them: closed, full, or read by nobody.

What a command did is its exit status, whatever becomes of what it says about it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

HUNG_UP, PIPE_CLOSED = 129, 141
"""128 + SIGHUP and SIGPIPE, the shell's way of saying that nobody reads any more."""


def open_missing() -> None:
    """Open /dev/null where a standard stream was closed (`>&-`).

    Before anything else is opened: that would get the stream's number, and what is printed, or what
    a library says on stderr, would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def divert(stream: Any) -> None:
    """From now on let what goes to this stream go nowhere, also what it still holds."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no number
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def close(code: int) -> int:
    """Write out what the standard streams hold; gives the exit status.

    Python does the same when it ends, but complains about a pipe that is closed, waits for ever at
    one that is full, and replaces the status.
    """
    for stream in (sys.stdout, sys.stderr):
        if code in (HUNG_UP, PIPE_CLOSED):
            divert(stream)
        try:
            stream.flush()
        except BrokenPipeError:
            divert(stream)
            if stream is sys.stdout and code == 0:
                code = PIPE_CLOSED
        except OSError:
            divert(stream)
    return code
