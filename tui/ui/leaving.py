"""Leaving the app when a signal says so: the terminal is given back, whatever the app is at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
from functools import partial
from types import FrameType
from typing import Any

from textual.app import App

PATIENCE_SECONDS = 3.0
"""How long the app may take to close its screens; then it is left where it stands."""
RESET = "".join(
    f"\x1b[{mode}"
    for mode in (
        "?1000l", "?1003l", "?1015l", "?1006l",  # mouse
        "?2004l", "?1004l", "?2048l", "<u",  # paste, focus, size reports, keyboard
        "?7h", "?1049l", "?25h", "0m",  # line wrap, the screen before, cursor, colours
    )
)  # fmt: skip
"""What puts a terminal back that an app has left without doing so."""


Terminal = list[Any] | None
"""The settings of a terminal, as `termios` has them; None where there is none."""


def on_signals(app: App[Any], terminal: Terminal) -> None:
    """Have SIGTERM and a hang-up end the app. To be called from its event loop.

    `terminal` is what the terminal was like before the app.
    """
    loop = asyncio.get_running_loop()

    def leave(number: int, _frame: FrameType | None) -> None:
        code = 128 + number
        signal.signal(number, signal.SIG_IGN)
        # The loop may be at something that never ends, or a thread may be.
        last = threading.Timer(PATIENCE_SECONDS, _leave_hard, (code, terminal))
        last.daemon = True
        last.start()
        loop.call_soon_threadsafe(partial(app.exit, return_code=code))

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, leave)


def terminal_now() -> Terminal:
    """What the terminal is like now."""
    try:
        return termios.tcgetattr(sys.__stdin__.fileno()) if sys.__stdin__ else None
    except (termios.error, OSError, ValueError):
        return None


def _leave_hard(code: int, terminal: Terminal) -> None:
    # Where nobody reads the terminal any more, writing to it may wait for ever.
    last = threading.Timer(1.0, os._exit, (code,))
    last.daemon = True
    last.start()
    with contextlib.suppress(OSError, ValueError, AttributeError, termios.error):
        if terminal is not None:
            termios.tcsetattr(sys.__stdin__.fileno(), termios.TCSANOW, terminal)  # type: ignore[union-attr]
        os.write(sys.__stderr__.fileno(), RESET.encode())  # type: ignore[union-attr]
    os._exit(code)
