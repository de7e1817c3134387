"""What the tests of ends share: the tools of the other rooms, and a worker that heeds nothing.

As a program it is that worker: `python worker_tools.py RUN_DIR`. At step STUCK_AT it makes the file
STUCK in the run's folder and goes round in a loop for ever: it looks neither at commands nor at
what a signal's handler has noted.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "engine"), str(TESTS / "tui")]

from fake_learner import FakeLearner  # noqa: E402

from engine.config.preset import Preset  # noqa: E402
from engine.runs import worker  # noqa: E402

STUCK_WORKER = [sys.executable, "-P", __file__]
STUCK, STUCK_AT = "stuck", 300


def _stuck(preset: Preset) -> FakeLearner:
    first = int(os.environ.get("STUCK_AT", STUCK_AT))

    def on_step(step: int) -> None:
        time.sleep(0.002)
        while step == first:
            Path(STUCK).touch()
            time.sleep(0.5)

    return FakeLearner(preset, on_step)


if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:], _stuck))
