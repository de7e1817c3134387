"""What a session knows of the outside, faked: the clock, sleep, and commands at set times."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from fake_learner import FakeLearner
from run_tools import run_here

from engine.config.preset import Preset
from engine.learning.events import AnyEvent
from engine.runs.pacing import TICK
from engine.runs.session import MakeLearner


class Outside:
    """A fake outside: a clock that only steps and sleeps move, and commands sent at set times."""

    def __init__(self, run_dir: Path, step_seconds: float = 0.0) -> None:
        self.run_dir = run_dir
        self.now = 0.0
        self.step_seconds = step_seconds
        self.steps: list[float] = []
        self.chunks: list[int] = []
        self.script: list[tuple[float, str, dict[str, Any]]] = []
        self.seen: list[tuple[float, str]] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds <= TICK
        self.now += max(seconds, 1e-4)
        while self.script and self.script[0][0] <= self.now:
            _, name, args = self.script.pop(0)
            self.send(name, **args)

    def send(self, name: str, **args: Any) -> None:
        with contextlib.closing(sqlite3.connect(self.run_dir / "run.db")) as connection:
            connection.execute(
                "INSERT INTO commands (name, args, sent_at) VALUES (?, ?, 0)",
                (name, json.dumps(args)),
            )
            connection.commit()

    def make_learner(self, preset: Preset) -> FakeLearner:
        def on_step(_step: int) -> None:
            self.now += self.step_seconds
            self.steps.append(self.now)

        outer = self

        class Watched(FakeLearner):
            def advance(self, limit: int) -> list[AnyEvent]:
                outer.chunks.append(limit)
                return super().advance(limit)

        return Watched(preset, on_step)

    def run(self, make_learner: MakeLearner | None = None) -> bool:
        return run_here(
            self.run_dir, make_learner or self.make_learner, clock=self.clock, sleep=self.sleep
        )

    @property
    def replies(self) -> list[tuple[str, str, str, int]]:
        with contextlib.closing(sqlite3.connect(self.run_dir / "run.db")) as connection:
            return connection.execute(
                "SELECT name, status, reply, applied_step FROM commands ORDER BY id"
            ).fetchall()
