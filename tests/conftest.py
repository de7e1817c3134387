"""What all tests share: the signals a program usually starts with."""

from __future__ import annotations

import signal
from types import FrameType

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Give the processes that tests start the usual signals, whatever ours are.

    `nohup` ignores SIGHUP and a shell script's `&` ignores SIGINT, and what is ignored is
    inherited: `icemaze train` would rightly stay when its terminal is gone. Handlers are not.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _go_on)


def _go_on(number: int, frame: FrameType | None) -> None:
    """As if ignored."""
