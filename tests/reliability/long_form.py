"""How much of a test that could go on for hours is run: little, or with `ICEMAZE_LONG=1` much."""

from __future__ import annotations

import os


def count(quick: int, long: int) -> int:
    """How many cases to try: `quick` in every run of the tests, `long` if asked for."""
    return long if os.environ.get("ICEMAZE_LONG") == "1" else quick
