"""A program on a real pseudo-terminal: what it writes, byte for byte."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import engine

DEADLINE = 60.0
ROOT = Path(engine.__file__).parents[1]

ESCAPE_SECONDS = 1.0


class Terminal:
    """`python *arguments` on a terminal of 150 by 50 cells."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.output = b""
        self.code = -1
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 150, 0, 0))
            os.environ.update(
                TERM="xterm-256color",
                LC_ALL="C.UTF-8",
                PYTHONPATH=str(ROOT),
                COLUMNS="150",
                LINES="50",
                **environment,
            )
            os.execv(sys.executable, [sys.executable, *arguments])

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code < 0:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)

    def read(self) -> bool:
        """Take what it wrote; False when it has closed the terminal."""
        if not select.select([self.descriptor], [], [], 0.05)[0]:
            return True
        try:
            new = os.read(self.descriptor, 1 << 16)
        except OSError:  # Linux's way to say that nobody holds the other end
            return False
        self.output += new
        return bool(new)

    def wait_for(self, text: str, since: int = 0) -> None:
        """Read until this is on the terminal, behind the first `since` bytes."""
        deadline = time.monotonic() + DEADLINE
        while text.encode() not in self.output[since:]:
            assert self.read() and time.monotonic() < deadline, (text, self.output[-3000:])

    def press(self, keys: str, then: str) -> None:
        """Type, and wait for what comes of it."""
        before = len(self.output)
        os.write(self.descriptor, keys.encode())
        self.wait_for(then, before)
        if (
            keys == "\x1b"
        ):  # until it is surely a key of its own: what follows would be Alt and that
            time.sleep(ESCAPE_SECONDS)

    def end(self) -> bytes:
        """Everything it wrote, once it has ended."""
        deadline = time.monotonic() + DEADLINE
        while self.read():
            assert time.monotonic() < deadline, self.output[-3000:]
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.output
