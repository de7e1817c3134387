"""The process that sends one message: a command of the user's, and a POST to a server.

The message comes on stdin. Nothing of it becomes part of a command line: a command finds it in its
environment, so that no shell ever reads what a model or a trainer wrote as a command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import IO, Any

import msgspec

from engine.core import user_config
from engine.core.errors import UserError
from engine.runs.notify.notifier import Message

COMMAND_SECONDS = 60.0
"""How long a command may run before it is ended."""
SERVER_SECONDS = 10.0
"""How long a server may be silent."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server that sends us elsewhere has not taken the message."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def send(message: Message, config: user_config.NotifyConfig) -> list[str]:
    """Run the command, tell the server. Gives a sentence for each that failed."""
    trouble = []
    if command := config.command(message.event):
        trouble.append(run(command, message))
    if config.webhook:
        trouble.append(post(config.webhook, message))
    return [text for text in trouble if text]


def run(command: list[str], message: Message) -> str:
    """Run a command, without a shell, with the message in its environment."""
    told = {f"ICEMAZE_{key.upper()}": str(v) for key, v in msgspec.to_builtins(message).items()}
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **told},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} was ended after {COMMAND_SECONDS:g} s."
    except (OSError, ValueError) as error:
        return f"{command[0]} could not be run ({error})."
    if done.returncode:
        said = done.stderr[-300:].decode("utf-8", "replace").strip()
        return f"{command[0]} failed with status {done.returncode}: {said}"
    return ""


def post(url: str, message: Message, seconds: float = SERVER_SECONDS) -> str:
    """POST the message as JSON."""
    request = urllib.request.Request(
        url,
        data=msgspec.json.encode(message),
        headers={"Content-Type": "application/json", "User-Agent": "icemaze"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect()).open(request, timeout=seconds) as answer:
            answer.read(1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        return f"The server of notify.webhook did not take it ({error})."
    return ""


def main() -> int:
    """Send what stands on stdin. The exit status is 0 when all of it was sent."""
    try:
        message = msgspec.json.decode(sys.stdin.buffer.read(2**20), type=Message)
        trouble = send(message, user_config.load().notify)
    except (UserError, msgspec.MsgspecError) as error:
        trouble = [str(error)]
    for text in trouble:
        print(text, file=sys.stderr)
    return bool(trouble)


if __name__ == "__main__":
    sys.exit(main())
