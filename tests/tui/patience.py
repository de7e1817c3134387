"""Waiting in tests: for what the event loop still has to do, and for what others bring about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from home_tools import shown
from textual.pilot import Pilot

DEADLINE = 60.0
"""Seconds after which something that has not come about never will, also on a busy machine."""


PASSES = 200
"""More passes of the event loop than any chain of messages takes."""


async def all_done() -> None:
    """Let the event loop do all that it can do without a timer, a thread or another process.

    After it, whatever was posted before has arrived, and so has what was posted because of that.
    Not forever: on a busy machine what a timer brings can take longer than until it is due again.
    """
    ready: Any = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    for _ in range(PASSES):
        await asyncio.sleep(0)
        if not ready:
            return


async def eventually(pilot: Pilot[Any], condition: Callable[[], Any]) -> None:
    """Wait for something that a thread, a timer or another process brings about.

    What belongs to it but takes another message (a notification, a redraw) is there too then.
    """
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"it never came about; the screen shows:\n{shown(pilot.app)}")
        await pilot.pause(0.02)
    await all_done()


async def settle(pilot: Pilot[Any]) -> None:
    """Wait for the Textual workers under way, for what they post, and for those that start then."""
    await pilot.pause()
    while any(not worker.is_finished for worker in pilot.app.workers):
        await eventually(pilot, lambda: all(worker.is_finished for worker in pilot.app.workers))
        await pilot.pause()
