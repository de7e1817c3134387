"""How fast a run goes and how long it will take, from what has been seen of it."""

from __future__ import annotations

import math
import time
from collections import deque

WINDOW_SECONDS = 10.0
"""The speed shown is the average over so long, or over the last change where that took longer."""


class Speedometer:
    """Speed and time left from the last changes of step, however long one takes."""

    def __init__(self) -> None:
        self._last_step: int | None = None
        self._changes: deque[tuple[float, int, float]] = deque()
        """When the step changed, to which, and to which share of the budget."""

    def measure(
        self, step: int, share: float, now: float | None = None, *, still: bool = False
    ) -> tuple[float, float]:
        """(steps per second, seconds left) after seeing that the run is at `step` and `share`.

        With `still` it is known to stand: how long it does so says nothing about its speed.
        """
        now = time.monotonic() if now is None else now
        last, self._last_step = self._last_step, step
        if still or (last is not None and step < last):  # after a resume it has gone back
            self._changes.clear()
        elif last is not None and step > last:
            self._changes.append((now, step, share))
        while len(self._changes) > 2 and now - self._changes[1][0] >= WINDOW_SECONDS:
            self._changes.popleft()
        if len(self._changes) < 2:  # from the start to the first change is the worker's start too
            return math.nan, math.nan
        return self._measured(now)

    def _measured(self, now: float) -> tuple[float, float]:
        """From the first change that counts to the last, and on while the next one is overdue."""
        (then, first, before), (since, step, share) = self._changes[0], self._changes[-1]
        usual = (since - then) / (len(self._changes) - 1)
        silent = now - since
        elapsed = since - then + max(silent - usual, 0.0)
        if elapsed <= 0:
            return math.nan, math.nan
        speed = (step - first) / elapsed
        if share <= before:
            return speed, math.nan
        left = (1 - share) * elapsed / (share - before) - min(silent, usual)
        return speed, max(left, 0.0)
