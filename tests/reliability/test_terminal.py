"""The app on a real terminal: it gives the terminal back whatever ends it, and no run with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import CURSOR, MICE, SCREEN, Terminal

# isort: split
from fake_learner import make_preset
from run_tools import FAKE_WORKER, launched, wait_for

from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunReader]:
    """A run that goes on for as long as the tests do."""
    folder = tmp_path_factory.mktemp("runs")
    with launched(make_preset("budget.env_steps=1e9"), folder, FAKE_WORKER) as reader:
        wait_for(reader, lambda head: head.step > 0)
        yield reader


def goes_on(reader: RunReader) -> bool:
    step = reader.head().step
    return wait_for(reader, lambda head: head.step > step).state == "running"


def opened(reader: RunReader) -> Terminal:
    """The app, in front of the run."""
    terminal = Terminal(reader.path.parent, "open", reader.id)
    terminal.until("A fake")
    terminal.until("▶")
    assert terminal.modes()[SCREEN] and not terminal.modes()[CURSOR]
    assert all(terminal.modes()[mode] for mode in MICE)
    assert terminal.settings() != terminal.before
    return terminal


def test_ctrl_z_and_sigterm_give_the_terminal_back_and_fg_takes_it_again(
    running: RunReader,
) -> None:
    with opened(running) as terminal:
        for _ in range(2):
            terminal.press(b"\x1a")
            assert terminal.wait(stopped=True) == -signal.SIGSTOP
            terminal.read()
            assert terminal.is_given_back()
            assert goes_on(running)
            since = len(terminal.written)
            os.kill(terminal.pid, signal.SIGCONT)  # what the shell's fg does
            terminal.until("A fake", since)
            assert terminal.modes()[SCREEN] and not terminal.modes()[CURSOR]
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert terminal.is_given_back()
        assert b"Traceback" not in terminal.written
    assert goes_on(running)


def test_the_app_ends_with_its_window(running: RunReader) -> None:
    with opened(running) as terminal:
        terminal.hang_up()
        assert terminal.wait() == 128 + signal.SIGHUP
    assert goes_on(running)


def test_a_killed_app_takes_no_run_with_it(running: RunReader) -> None:
    with opened(running) as terminal:
        os.kill(terminal.pid, signal.SIGKILL)
        assert terminal.wait() == -signal.SIGKILL
    assert goes_on(running)


BUSY = """
import sys, time
from tui.app import IceMazeApp

class Busy(IceMazeApp):
    def _read_library(self):
        self.call_after_refresh(self.hang)
    def hang(self):
        print("hangs", file=sys.__stderr__, flush=True)
        while True:
            time.sleep(0.1)

Busy().run()
"""


def test_an_app_that_hangs_gives_the_terminal_back_too(tmp_path: Path) -> None:
    with Terminal(tmp_path, program=BUSY) as terminal:
        terminal.until("hangs")
        os.kill(terminal.pid, signal.SIGHUP)
        assert terminal.wait() == 128 + signal.SIGHUP
        assert terminal.is_given_back()
