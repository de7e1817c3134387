"""Commands to a real background process with the real learners."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from run_tools import ask, launched, rows, wait_for

from engine.config.preset import Preset
from engine.presets import parse
from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow

ENDLESS = """
title = "Never done"
[maze]
map = '''
SFFF
FHFH
FFFH
HFFG
'''
max_steps = 30
[algorithm]
name = "q-learning"
exploration = {kind = "epsilon-greedy", start = 1.0}
[budget]
env_steps = 1_000_000_000
[run]
agents = 2
"""


def endless(algorithm: str = "q-learning") -> Preset:
    return parse(ENDLESS, overrides=[f"algorithm.name={algorithm}"])


def test_pause_step_episode_resume_and_stop(tmp_path: Path) -> None:
    with launched(endless(), tmp_path, paused=True) as reader:
        assert wait_for(reader, lambda head: head.state == "paused").step == 0
        assert ask(reader, "step") == "done"
        assert ask(reader, "step", n=4) == "done"
        head = reader.head()
        assert (head.state, head.step) == ("paused", 5)
        live = reader.live()
        assert live is not None
        assert [step.step for step in live.steps] == [1, 2, 3, 4, 5]

        before = head.watched_episodes
        assert ask(reader, "episode", n=2) == "done"
        head = reader.head()
        assert head.watched_episodes == before + 2
        assert 0.0 <= head.seconds < 60.0
        live = reader.live()
        assert live is not None
        assert live.steps[-1].step == head.step
        assert live.steps[-1].terminated or live.steps[-1].truncated

        assert ask(reader, "resume") == "done"
        wait_for(reader, lambda head: head.state == "running" and head.step > 10_000)
        assert ask(reader, "pause") == "done"
        head = reader.head()
        assert head.state == "paused"
        assert rows(reader.path, "checkpoints")[-1][1] == head.step
        assert ask(reader, "stop") == "done"
        assert wait_for(reader, lambda head: head.ended).state == "stopped"
        assert reader.head().step == head.step
        evaluation = reader.evaluation_at()
        assert evaluation is not None
        assert evaluation.step == head.step, "a stopped run has figures of where it stopped"


def test_pace_is_kept_and_changed(tmp_path: Path) -> None:
    with launched(endless(), tmp_path, pace=50.0, paused=True) as reader:
        assert ask(reader, "step") == "done"  # has compiled after this
        assert ask(reader, "resume") == "done"
        started, first = time.monotonic(), reader.head().step
        head = wait_for(reader, lambda head: head.step >= first + 25)
        elapsed = time.monotonic() - started
        # Never faster than asked; how much slower is the machine's affair.
        assert head.step - first <= 50.0 * (elapsed + 0.2) + 1
        assert ask(reader, "pace", value=None) == "done"
        assert wait_for(reader, lambda head: head.step > 20_000).pace is None
        assert ask(reader, "pace", value=2.0) == "done"
        assert reader.head().pace == 2.0


def test_tune_and_edit(tmp_path: Path) -> None:
    with launched(endless(), tmp_path, paused=True) as reader:
        assert ask(reader, "step", n=300) == "done"
        assert ask(reader, "tune", key="algorithm.learning_rate", value=0.5) == "done"
        assert ask(reader, "step") == "done"
        live = reader.live()
        assert live is not None
        assert live.steps[-1].step_size == 0.5
        assert [(tune.step, tune.key) for tune in reader.tunes()] == [
            (300, "algorithm.learning_rate")
        ]
        assert "cannot change" in ask(reader, "tune", key="maze.slip", value=0.5)
        assert "learning_rate" in ask(reader, "tune", key="algorithm.learning_rate", value=-1.0)

        assert ask(reader, "edit", rows=["SFFF", "FFFH", "FHFH", "HFFG"]) == "done"
        world = reader.world_at(301)
        assert world is not None
        assert world.maze.rows == ("SFFF", "FFFH", "FHFH", "HFFG")
        assert reader.world_at(300) == reader.worlds()[0]
        assert ask(reader, "episode", n=3) == "done"
        newest = reader.live()
        assert newest is not None
        assert newest.steps[-1].world_id == world.id
        assert ask(reader, "edit", rows=["SFFF"]) not in ("done", "")


@pytest.mark.parametrize("algorithm", ["sarsa", "value-iteration"])
def test_other_learners_take_the_same_commands(tmp_path: Path, algorithm: str) -> None:
    text = ENDLESS.replace("env_steps", "updates")
    if algorithm == "value-iteration":
        text = text.replace('exploration = {kind = "epsilon-greedy", start = 1.0}\n', "")
    preset = parse(text, overrides=[f"algorithm.name={algorithm}"])
    with launched(preset, tmp_path, paused=True) as reader:
        assert ask(reader, "step") == "done"
        assert ask(reader, "episode") == "done"
        assert reader.head().watched_episodes >= 1
        live = reader.live()
        assert live is not None
        assert live.steps
        assert ask(reader, "resume") == "done"
        wait_for(reader, lambda head: head.ended or head.step > 1000)


def test_two_readers_see_the_same_run(tmp_path: Path) -> None:
    with launched(endless(), tmp_path, paused=True) as first, RunReader(first.path) as second:
        assert ask(first, "step", n=3) == "done"
        assert second.head() == first.head()
        assert ask(second, "stop") == "done"
        assert wait_for(first, lambda head: head.ended).state == "stopped"
