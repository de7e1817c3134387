"""What this process is busy with, for whoever looks at the machine meanwhile: a word.

Set by learners of language models, whose updates take seconds; nothing that is computed depends on
it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

Phase = Literal["preparing", "sampling", "training", "evaluating", "waiting"]

_now: list[Phase] = ["training"]


def now() -> Phase:
    """The phase of this moment."""
    return _now[-1]


def rest(resting: bool) -> None:
    """Between phases it waits (paused, or for an answer), or trains."""
    _now[0] = "waiting" if resting else "training"


@contextlib.contextmanager
def during(phase: Phase) -> Iterator[None]:
    """It is this phase inside."""
    _now.append(phase)
    try:
        yield
    finally:
        _now.pop()
