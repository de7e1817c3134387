"""How much the reliability tests do: a quick form for every change, a long one when asked for."""

from __future__ import annotations

import os


def count(quick: int, long: int) -> int:
    """`long` when ICEMAZE_LONG=1 asks for the long form, else `quick`."""
    return long if os.environ.get("ICEMAZE_LONG") == "1" else quick
