"""A screen that watches what workers do: one look at a time, on a thread of its own.

What a look brings is up to the subclass: `take` gets it on the event loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Generic, Protocol, TypeVar

from textual import work
from textual.binding import ActiveBinding
from textual.screen import Screen
from textual.timer import Timer

from tui.kinds.clock import FAST
from tui.model.run_watch import Notice
from tui.ui import glyphs
from tui.ui.bindings import in_order

Result = TypeVar("Result")
Seen = TypeVar("Seen")
Seen_co = TypeVar("Seen_co", covariant=True)

PACES: tuple[float, ...] = FAST
"""Steps per second that + and - go through; the last one is as fast as it goes."""
PLAY_PACES = PACES[:6]
"""The same for a recording, which is there to be looked at."""
MOST_PLAYED = 32
"""Pieces of a recording drawn a second: at a higher pace each piece is longer."""
SECONDS = {"information": 4.0, "warning": 8.0, "error": 15.0}
"""How long a notification stays."""


def next_pace(pace: float | None, up: bool, ladder: tuple[float, ...] = PACES) -> float | None:
    """The neighbour of a pace on the ladder; the ends stay where they are."""
    now = float("inf") if pace is None else pace
    if up:
        chosen = next((p for p in ladder if p > now), ladder[-1])
    else:
        chosen = next((p for p in reversed(ladder) if p < now), ladder[0])
    return None if chosen == float("inf") else chosen


class Watcher(Protocol[Seen_co]):
    """What does the looking."""

    @property
    def asked(self) -> bool:
        """Whether something was asked that no look has done yet."""

    def look(self) -> Seen_co:
        """Do what was asked and see what is new, on the thread."""

    def close(self) -> None:
        """Close what is read, on the thread."""


class WatchingScreen(Screen[None], Generic[Seen]):
    """Keeps at most one look under way. Leaving the screen stops no run."""

    FIRST_KEYS: ClassVar[tuple[str, ...]] = ()
    """Ids of the keys that footer and help begin with, whatever has the focus."""

    def __init__(self, watcher: Watcher[Seen], looks: float) -> None:
        """`looks` is how often a second it looks."""
        super().__init__()
        self._watcher = watcher
        self.playing = False
        self.play_pace = 4.0
        self._looks = looks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self._looking = False
        self._player: Timer | None = None

    def take(self, seen: Seen) -> None:
        """Show what a look has brought."""
        raise NotImplementedError

    def play(self) -> None:
        """One piece of the recording further, if it is being played."""
        raise NotImplementedError

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys that work now, in the order of footer and help."""
        return in_order(super().active_bindings, self.first_keys)

    @property
    def first_keys(self) -> tuple[str, ...]:
        """Those of `FIRST_KEYS`, unless they depend on the moment."""
        return self.FIRST_KEYS

    def on_mount(self) -> None:
        """Begin to look."""
        self.set_interval(1 / self._looks, self.tick)
        self.set_play_pace(self.play_pace)
        self.call_after_refresh(self.look)

    def on_unmount(self) -> None:
        """Close what is read, behind whatever the thread is still at."""
        self._thread.submit(self._watcher.close)
        self._thread.shutdown(wait=False)

    def tick(self) -> None:
        """It is time for another look."""
        self.look()

    def look(self) -> None:
        """Have the thread look, unless it is at it already."""
        if not self._looking and self.is_running:
            self._looking = True
            self._look()

    @work(group="look")
    async def _look(self) -> None:
        try:
            seen = await self.in_thread(self._watcher.look)
        finally:
            self._looking = False
        if self not in self.app.screen_stack:
            return  # left in the middle of the look: its panels may be gone already
        self.take(seen)
        if self._watcher.asked:
            self.look()

    def in_thread(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        """Have something read on the thread."""
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def tell(self, notice: Notice) -> None:
        """Notify."""
        self.notify(
            glyphs.plain(notice.text),
            title=glyphs.plain(notice.title),
            severity=notice.severity,
            timeout=SECONDS[notice.severity],
            markup=False,
        )

    def set_play_pace(self, pace: float) -> None:
        """How many pieces of the recording are played a second."""
        self.play_pace = pace
        if self._player is not None:
            self._player.stop()
        self._player = self.set_interval(1 / min(pace, MOST_PLAYED), self.play)


def looks_a_second(here: float, remote: float) -> float:
    """How often to look: less where every repaint crosses a network."""
    return remote if "SSH_CONNECTION" in os.environ else here
