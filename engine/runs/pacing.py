"""How fast a run goes: when the next step is due, how much to do at once, and the time it took."""

from __future__ import annotations

import math
from collections.abc import Callable

Clock = Callable[[], float]

TICK = 0.05
"""Seconds a worker computes or sleeps before it looks at its commands again."""
SLOW = 8.0
"""Steps per second up to which a run needs no machine code."""
SLOWEST, FASTEST = 1e-6, 1e12
"""Steps per second. Beyond them 1/p and its multiples are no numbers any more."""


def within(pace: float | None) -> float | None:
    """A pace that can be kept."""
    return None if pace is None else min(max(pace, SLOWEST), FASTEST)


class Pacer:
    """At pace p one step falls due every 1/p seconds; with pace None there is always one due."""

    def __init__(self, clock: Clock, pace: float | None) -> None:
        self._clock = clock
        self.pace = within(pace)
        self._last_due = -math.inf
        self.restart()

    @property
    def is_slow(self) -> bool:
        """Whether plain Python keeps up with it."""
        return self.pace is not None and self.pace <= SLOW

    def restart(self) -> None:
        """Make a step due now: after a pause."""
        self._last_due = self._clock() - (1.0 / self.pace if self.pace else 0.0)

    def change(self, pace: float | None) -> None:
        """Go at another pace, counted from the last step."""
        if self.pace is None:
            self._last_due = self._clock()
        self.pace = within(pace)

    def due(self) -> int | None:
        """How many steps are due now; None means as many as you like.

        A worker that cannot keep up does not try to make good what it missed.
        """
        if self.pace is None:
            return None
        behind = self._clock() - self._last_due
        if behind > 1.0 / self.pace + 5 * TICK:
            self.restart()
            return 1
        # The tiny surplus keeps rounding errors from making a step wait for one more tick.
        return int(behind * self.pace + 1e-6)

    def took(self, steps: int) -> None:
        """Say that `steps` due steps were done."""
        if self.pace is not None:
            self._last_due += steps / self.pace

    def wait(self) -> float:
        """Seconds until the next step is due."""
        if self.pace is None:
            return 0.0
        return max(0.0, self._last_due + 1.0 / self.pace - self._clock())


class Chunk:
    """How many steps to do at once, so that one `advance` takes about a tick."""

    def __init__(self) -> None:
        self.size = 1

    def adapt(self, steps: int, seconds: float) -> None:
        """Learn from an `advance` of `steps` steps that took `seconds`."""
        if steps <= 0:
            return
        fitting = int(steps * TICK / seconds) if seconds > 0 else self.size * 8
        if fitting < self.size:
            self.size = max(1, fitting) if steps >= self.size or seconds > TICK else self.size
        elif steps >= self.size:
            self.size = min(fitting, self.size * 8)


class Stopwatch:
    """The seconds a run trained: wall-clock time while it is not paused, over all its resumes."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._before = seconds
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        running = 0.0 if self._since is None else self._clock() - self._since
        return self._before + running

    def start(self) -> None:
        """Count from now on."""
        if self._since is None:
            self._since = self._clock()

    def stop(self) -> None:
        """Do not count from now on."""
        self._before, self._since = self.seconds, None
