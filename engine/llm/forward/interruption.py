"""How work that takes seconds is given up between two forward passes because somebody waits."""

from __future__ import annotations

from collections.abc import Callable

Interrupted = Callable[[], bool]
"""Asked between forward passes: whether somebody waits for the work to be put off."""


class PutOffError(Exception):
    """Somebody waits: what was begun is given up, and can be begun again."""


def never() -> bool:
    """Nobody waits."""
    return False


def give_way(interrupted: Interrupted) -> None:
    """Raise PutOffError when somebody waits."""
    if interrupted():
        raise PutOffError
