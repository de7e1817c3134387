"""What a run tells its user: whoever records the run starts a process that sends it.

A process of its own, because a server may not answer and a command may hang: neither may delay the
run, or end it. It is started only where `config.toml` asks for something.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

from engine.core import child, private, user_config
from engine.core.errors import UserError, shown

log = logging.getLogger("icemaze.notify")

Kind = Literal["finished", "failed", "diagnosis"]
FAILURES = "notify.log"
"""The file of a run's folder that says what could not be sent."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told, in words that are safe to show."""

    event: Kind
    run: str
    path: str
    title: str
    step: int
    text: str
    remedy: str = ""


class Notifier:
    """Sends the messages of one run."""

    def __init__(self, run_dir: Path, title: str) -> None:
        self.run_dir, self.title = run_dir, title
        self._sending: list[subprocess.Popen[bytes]] = []

    def tell(self, event: Kind, step: int, text: str, remedy: str = "") -> None:
        """Send a message, if the user wants it. Returns at once, and raises nothing."""
        try:
            config = user_config.load().notify
            if not (config.webhook or config.command(event)):
                return
            message = Message(
                event=event,
                run=self.run_dir.name,
                path=str(self.run_dir),
                title=shown(self.title, 200),
                step=step,
                text=shown(text, 1000),
                remedy=shown(remedy, 1000),
            )
            self._start(msgspec.json.encode(message))
        except (UserError, OSError, UnicodeEncodeError) as error:
            log.warning("nobody is told that the run has news (%s): %s", event, error)

    def _start(self, message: bytes) -> None:
        self._sending = [process for process in self._sending if process.poll() is None]
        with open(self.run_dir / FAILURES, "ab", opener=private.opener) as failures:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.runs.notify.send"],
                env=child.environment(),
                cwd=_home(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=failures,
                start_new_session=True,  # it may outlive who started it
            )
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(message)  # a few kilobytes: they fit into the pipe whoever reads it
        self._sending.append(process)


def _home() -> str:
    """Where a command is run: not in a run's folder, whose files may be a stranger's."""
    home = Path("~").expanduser()
    return str(home) if home.is_dir() else "/"
