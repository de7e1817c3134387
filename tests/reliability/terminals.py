"""A program on a real terminal of its own: what it writes, which modes it leaves, its signals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pyte
from worker_tools import TESTS

# isort: split
from cli_tools import DEADLINE, environment

ESCAPES = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()].|.)")
MODE = re.compile(rb"\x1b\[\?(\d+)([hl])")
PRIVATE = re.compile(rb"\x1b\[[<=>][0-?]*[ -/]*[@-~]")
"""Sequences that the emulator would print."""
WIDTH, HEIGHT = 120, 40
SCREEN, CURSOR, WRAP, MICE, PASTE, FOCUS = 1049, 25, 7, (1000, 1003, 1015, 1006), 2004, 1004


class Terminal:
    """`icemaze ARGUMENTS` on a pseudo-terminal whose session it leads."""

    def __init__(self, runs_dir: Path, *arguments: str, program: str = "") -> None:
        """`program` is Python code to be run instead."""
        env = {**environment(runs_dir), "TERM": "xterm-256color"}
        what = ["-c", program] if program else ["-m", "tui.start", *arguments]
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(TESTS)
            os.execve(sys.executable, [sys.executable, *what], env)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.before = self.settings()
        self.written = b""
        self.status: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.kill(self.pid, signal.SIGCONT)
            os.waitpid(self.pid, 0)
        self.hang_up()

    def settings(self) -> list[Any]:
        """What `stty` would say."""
        return termios.tcgetattr(self.master)

    def modes(self) -> dict[int, bool]:
        """Which private modes are on, of those that were ever set or reset."""
        return {int(m[1]): m[2] == b"h" for m in MODE.finditer(self.written)}

    def read(self, seconds: float = 0.05) -> None:
        """Take what was written in the meantime."""
        if self.master >= 0 and select.select([self.master], [], [], seconds)[0]:
            try:
                self.written += os.read(self.master, 65536)
            except OSError:  # Linux says EIO when the other side has closed
                time.sleep(seconds)

    def until(self, text: str, since: int = 0) -> None:
        """Read until this stands on the screen, drawn by what was written from `since` on."""
        deadline = time.monotonic() + DEADLINE
        screen, fed = pyte.Screen(WIDTH, HEIGHT), since
        stream = pyte.ByteStream(screen)
        while True:
            stream.feed(PRIVATE.sub(b"", self.written[fed:]))
            fed = len(self.written)
            shown = "\n".join(screen.display)
            if text in shown:
                return
            assert time.monotonic() < deadline, shown
            self.read()

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self.master, keys)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def wait(self, stopped: bool = False) -> int:
        """Wait until it has ended, or has been stopped: its exit status, or minus the signal."""
        deadline = time.monotonic() + DEADLINE
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                assert stopped, "it was stopped"
                return -os.WSTOPSIG(status)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.read()
                return self.status
            assert time.monotonic() < deadline, self.written[-2000:]
            self.read()

    def is_given_back(self) -> bool:
        """Whether the terminal is as it was before: settings, screen, cursor, mouse, …"""
        modes = self.modes()
        off = not any(modes.get(mode) for mode in (SCREEN, *MICE, PASTE, FOCUS))
        return off and modes[CURSOR] and modes[WRAP] and self.settings() == self.before
