"""A kernel that is compiled in a moment, for tests of what is kept of it."""

from __future__ import annotations

from engine.core.compiling import kernel


@kernel
def triple(number: float) -> float:
    """Three times a number."""
    return 3.0 * number
