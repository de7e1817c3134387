"""The app of one browser tab: a process of its own, which ends with the server that started it."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 5.0


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would show what it draws."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)


def main() -> None:
    """Run the app for whoever reads stdout."""
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if not os.environ.get("ICEMAZE_DEBUG"):
        # A traceback is full of foreign text, and the server's terminal is where it would go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # start-up time: what watches the parent is there before
    from tui.app import IceMazeApp

    IceMazeApp().run()


if __name__ == "__main__":
    main()
