"""A step of `gpu.py` in a process of its own, with a time limit.

What a step allocates is gone with its process, so peaks are its own; and an error that spoils a
CUDA context (an assertion on the device, an illegal address), a crash, or a call that never returns
takes one step with it, not those that follow.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from gpu_report import Row, failed


class Step(NamedTuple):
    """Some rows: `run(*arguments)` gives them one by one, in at most so many seconds."""

    what: str
    run: Callable[..., Iterator[Row]]
    arguments: tuple[Any, ...]
    seconds: float


def context_for(gpu: bool) -> Any:
    """How processes are started: CUDA does not survive a fork; on a CPU that saves the imports."""
    return multiprocessing.get_context("spawn" if gpu else "fork")


def rows_of(step: Step, context: Any, seconds: float) -> Iterator[Row]:
    """The rows of a step as they come; the last one says what went wrong, if anything."""
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_carry_out, args=(send, step), daemon=True)
    process.start()
    send.close()
    until = time.monotonic() + seconds
    try:
        while receive.poll(max(0.0, until - time.monotonic())):
            try:
                row = receive.recv()
            except EOFError:
                process.join()
                yield failed(step.what, f"its process died with exit status {process.exitcode}")
                return
            if row is None:
                return
            yield row
        yield failed(step.what, f"it was not done after its {seconds:.0f} s")
    finally:
        process.kill()
        process.join()
        receive.close()


def _carry_out(send: Connection, step: Step) -> None:
    """In the process: rows go to the pipe, whatever else is printed to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            for row in step.run(*step.arguments):
                send.send(row)
            send.send(None)
        except BaseException as error:  # a benchmark's SystemExit has a sentence too
            traceback.print_exc()
            send.send(failed(step.what, sentence_of(error)))
            send.send(None)


def sentence_of(error: BaseException) -> str:
    """The first line of an error's message; its type where that does not speak for itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    if not lines:
        return name
    return lines[0] if name in ("UserError", "SystemExit") else f"{name}: {lines[0]}"
