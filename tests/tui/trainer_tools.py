"""What the tests of the trainer share: runs, recorded or live, and waiting for the screen."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patience import DEADLINE, eventually
from textual.pilot import Pilot
from textual.screen import Screen

from engine import presets
from engine.factory import make_learner
from engine.runs import launch
from engine.runs.disk.lock import is_alive
from engine.runs.reader import RunReader
from engine.runs.records import EpisodeRow
from engine.runs.session import Session
from engine.runs.store import RunWriter
from tui.app import IceMazeApp
from tui.features.trainer.screen import TrainerScreen
from tui.model.source import SnapshotSource

LAKE = 'map = """\nSFFF\nFHFH\nFFFH\nHFFG\n"""'
LEARNING = f"""
title = "Across the ice"
summary = "One agent learns."
[maze]
{LAKE}
rewards = {{goal = 1.0, hole = -1.0, step = -0.02}}
[algorithm]
name = "q-learning"
learning_rate = 0.5
gamma = 0.95
exploration = {{kind = "epsilon-greedy", start = 0.5, end = 0.05, steps = 500}}
[budget]
env_steps = 600
[run]
agents = 4
seed = 1
pace = 8
"""
ON_POLICY = LEARNING.replace("q-learning", "sarsa")
PLANNING = f"""
title = "The answer, computed"
[maze]
{LAKE}
slip = 0.6666666666666666
[algorithm]
name = "value-iteration"
[budget]
updates = 200
[run]
agents = 1
pace = 2
"""
ENDLESS = LEARNING.replace("env_steps = 600", "env_steps = 100_000_000")


def record(folder: Path, text: str = LEARNING, name: str = "across") -> Path:
    """A finished run, carried out in this process."""
    path = launch.create_run(presets.parse(text), name, runs_dir=folder)
    writer = RunWriter(path)
    try:
        assert Session(writer, make_learner).run()
    finally:
        writer.close()
    return path


@contextlib.contextmanager
def live_run(folder: Path, text: str = ENDLESS, **start: Any) -> Iterator[Path]:
    """A run with a worker of its own, killed at the end if it still lives."""
    path = launch.create_run(presets.parse(text), "live", runs_dir=folder)
    launch.start_worker(path, **start)
    try:
        yield path
    finally:
        kill(path)


def kill(path: Path) -> None:
    """kill -9 the worker of a run, if there is one, and wait until it is gone."""
    if not is_alive(path):
        return
    with RunReader(path) as reader:
        os.kill(reader.meta()["pid"], signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE
    while is_alive(path):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.01)


def app_on(path: Path) -> IceMazeApp:
    """The app, opened on a run."""
    return IceMazeApp(runs_dir=path.parent, open_run=path)


def trainer(pilot: Pilot[Any]) -> TrainerScreen:
    """The trainer, whatever lies on top of it."""
    screens: list[Screen[Any]] = list(pilot.app.screen_stack)
    return next(screen for screen in screens if isinstance(screen, TrainerScreen))


async def opened(pilot: Pilot[Any]) -> TrainerScreen:
    """The trainer, once it shows its run."""
    await eventually(
        pilot,
        lambda: (
            any(isinstance(s, TrainerScreen) for s in pilot.app.screen_stack)
            and trainer(pilot).snapshot is not None
        ),
    )
    await pilot.pause()
    return trainer(pilot)


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until everything that was asked of the run has been shown."""
    screen = trainer(pilot)
    await eventually(pilot, lambda: not screen.watcher.asked and not screen._looking)
    await pilot.pause()


async def recorded(screen: TrainerScreen) -> tuple[EpisodeRow, ...]:
    """The recorded episodes, read on the thread that alone may use the screen's reader."""
    return await screen.in_thread(lambda: episodes_of(screen.watcher.source))


def episodes_of(source: SnapshotSource) -> tuple[EpisodeRow, ...]:
    """All recorded episodes of a run, oldest first."""
    return tuple(reversed(source.reader.episodes(limit=100_000)))


def notified(pilot: Pilot[Any]) -> str:
    """All notifications so far."""
    return "\n".join(note.message for note in pilot.app._notifications)
