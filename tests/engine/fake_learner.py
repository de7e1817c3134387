"""A learner small enough to see through, for tests of the store and of the worker.

One number is learned from pseudo-random rewards; every fifth step ends an episode. As a program
it is a worker with this learner: `python fake_learner.py RUN_DIR`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.learning.events import (
    AnyEvent,
    Episode,
    Evaluation,
    Live,
    Metric,
    PerAgent,
    Policy,
    Step,
    Tuned,
    Update,
    World,
)
from engine.learning.learner import Counters, State
from engine.presets import parse
from engine.runs import worker

PRESET = """
title = "A fake run"
[maze]
map = "SFG"
[algorithm]
name = "q-learning"
[budget]
env_steps = 400
[run]
agents = 1
"""

HELD_SECONDS = 0.3
EPISODE_STEPS = 5


def make_preset(*overrides: str) -> Preset:
    """The fake run's preset, overridden as with `--set`."""
    return parse(PRESET, overrides=list(overrides))


def figure(value: float) -> Metric:
    return Metric(value, value - 1.0, value + 1.0, 1)


class FakeLearner:
    """Deterministic, resumable, tunable. `on_step` is called before each step."""

    def __init__(self, preset: Preset, on_step: Callable[[int], None] | None = None) -> None:
        self.limit = preset.budget.env_steps or 2**62
        self.agents = preset.run.agents
        _, self.maze = build_mazes(preset.maze)[0]
        self.on_step = on_step
        self.text = ""
        self.step = 0
        self.next_point = 1
        self.random = np.uint64(preset.run.seed + 1)
        self.value = 0.0
        self.rate = 0.5
        self.worlds = 1
        self.kept: list[Step] = []

    @property
    def counters(self) -> Counters:
        n, episodes = self.step, self.watched_episodes
        return Counters(step=n, env_steps=n, episodes=episodes, updates=n, total_env_steps=n)

    @property
    def done(self) -> bool:
        return self.step >= self.limit

    @property
    def watched_episodes(self) -> int:
        return self.step // EPISODE_STEPS

    def preparation(self) -> str:
        return self.text

    def prepare(self) -> None:
        """There is nothing to compile."""

    def begin(self) -> list[AnyEvent]:
        return [World(step=0, id=0, split="train", maze=self.maze), *self._pictures()]

    def advance(self, limit: int) -> list[AnyEvent]:
        events: list[AnyEvent] = []
        for _ in range(min(limit, self.limit - self.step)):
            events += self._one_step()
        return events

    def _one_step(self) -> list[AnyEvent]:
        if self.on_step:
            self.on_step(self.step)
        mask = 2**64 - 1  # Knuth's linear congruential generator
        self.random = np.uint64(
            (int(self.random) * 6364136223846793005 + 1442695040888963407) & mask
        )
        reward = int(self.random) / 2**64
        before = self.value
        self.value += self.rate * (reward - before)
        self.step += 1
        ends = self.step % EPISODE_STEPS == 0
        self.kept.append(
            Step(
                step=self.step,
                episode=(self.step - 1) // EPISODE_STEPS,
                t=(self.step - 1) % EPISODE_STEPS,
                state=0,
                observation=0,
                action=0,
                reward=reward,
                next_state=0,
                next_observation=0,
                terminated=ends,
                success=ends,
                before=before,
                target=reward,
                error=reward - before,
                after=self.value,
                step_size=self.rate,
                gamma=1.0,
            )
        )
        self.kept = self.kept[-50:]
        if self.step < self.next_point:
            return []
        self.next_point = int(self.step * 1.2) + 1
        return [self._update(), *self._pictures(), *self._episode()]

    def _update(self) -> Update:
        counters = self.counters
        return Update(
            step=self.step,
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            metrics={"value": figure(self.value), "gap": figure(float("nan"))},
        )

    def _pictures(self) -> list[AnyEvent]:
        table = np.full((3, 4), self.value)
        names = ("success_rate", "greedy_success_rate", "expected_return")
        return [
            Evaluation(
                step=self.step,
                world_id=self.worlds - 1,
                figures={name: figure(self.value) for name in names},
                optimal_return=1.0,
                horizon_optimum=1.5,
            ),
            Policy(
                step=self.step,
                world_id=self.worlds - 1,
                target=table,
                behaviour=table,
                q=table,
                values=table[:, 0],
                visits=np.zeros((3, 4), np.int64),
            ),
        ]

    def _episode(self) -> list[AnyEvent]:
        if not self.kept or not self.kept[-1].terminated:
            return []
        steps = tuple(self.kept[-1:])
        return [
            Episode(
                step=self.step,
                index=steps[0].episode,
                steps=steps,
                returns_to_go=(steps[0].reward,),
                score=steps[0].reward,
                success=True,
                terminated=True,
                truncated=False,
            )
        ]

    def conclude(self) -> list[AnyEvent]:
        numbers = self.value + np.arange(self.agents)
        figures = {"value": numbers, "gap": np.full(self.agents, np.nan)}
        return [self._update(), *self._pictures(), PerAgent(step=self.step, figures=figures)]

    def live(self, since: int) -> Live:
        counters, policy = self.counters, self._pictures()[1]
        assert isinstance(policy, Policy)
        return Live(
            step=self.step,
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            steps=tuple(step for step in self.kept if step.step > since),
            policy=policy,
        )

    def tune(self, key: str, value: Any) -> list[AnyEvent]:
        if key != "algorithm.learning_rate":
            raise UserError(f"{key} cannot change while the run goes on.")
        self.rate = float(value)
        return [Tuned(step=self.step, key=key, value=value)]

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        self.worlds += 1
        self.value += len(rows)
        return [World(step=self.step, id=self.worlds - 1, split="train", maze=self.maze)]

    def state(self) -> State:
        return {
            "counts": np.array([self.step, self.next_point, self.worlds]),
            "random": np.array([self.random], np.uint64),
            "numbers": np.array([self.value, self.rate]),
        }

    def load(self, state: State) -> None:
        self.step, self.next_point, self.worlds = (int(n) for n in state["counts"])
        self.random = np.uint64(state["random"][0])
        self.value, self.rate = (float(x) for x in state["numbers"])


def _slow_learner(preset: Preset) -> FakeLearner:
    """For real processes: a step takes FAKE_STEP_SECONDS; step FAKE_FAIL_AT raises. Until the
    file FAKE_WAIT_FOR is there, a step takes HELD_SECONDS."""
    seconds = float(os.environ.get("FAKE_STEP_SECONDS", "0.001"))
    fail_at = int(os.environ.get("FAKE_FAIL_AT", "-1"))
    awaited = os.environ.get("FAKE_WAIT_FOR", "")

    def on_step(step: int) -> None:
        time.sleep(HELD_SECONDS if awaited and not Path(awaited).exists() else seconds)
        if step == fail_at:
            raise RuntimeError("the ice broke")

    return FakeLearner(preset, on_step)


if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:], _slow_learner))
