"""A run that is paced slowly goes on in plain Python: the same bits, without machine code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import presets
from engine.algorithms import registry
from engine.core import interpreting
from engine.core.compiling import kernel
from engine.factory import make_learner
from engine.runs import launch
from engine.runs.compile_ahead import CompileAhead
from engine.runs.session import Session
from engine.runs.store import RunWriter
from engine.tabular.kernels.experience import MovingAlgorithm
from engine.tabular.learner import TabularLearner

pytestmark = pytest.mark.slow

LAKE = """
title = "t"
summary = "s"
[maze]
map = "SFFF\\nFHFH\\nFFFH\\nHFFG"
slip = 0.2
max_steps = 30
rewards = {goal = 1.0, hole = -1.0, step = -0.02}
[budget]
env_steps = 400
[run]
agents = 2
seed = 3
[algorithm]
"""
CHOICE = {
    "q-learning": 'exploration = {kind = "softmax", start = 1.0, end = 0.1, steps = 50}',
    "sarsa": 'exploration = {kind = "ucb", c = 1.0}',
    "double-q-learning": 'exploration = {kind = "epsilon-greedy", start = 0.5}',
    "dyna-q": "",
    "monte-carlo": "",
    "td-0": "",
    "sarsa-lambda": "",
}


def learned(name: str, *, in_python: bool) -> dict[str, Any]:
    """The whole memory of a learner after some steps, and what it has found."""
    learner = make_learner(presets.parse(f'{LAKE}name = "{name}"\n{CHOICE[name]}'))
    assert isinstance(learner, TabularLearner)
    if in_python:
        assert learner.interpret() and not learner.preparation()
    learner.prepare()
    learner.begin()
    for _ in range(6):
        learner.advance(20)
    if in_python:  # and on in machine code, as when somebody asks for more speed
        learner.compile()
        learner.prepare()
    learner.advance(20)
    return {**learner.state(), **{k: np.asarray(v) for k, v in learner._report()[1].items()}}


@pytest.mark.parametrize("name", CHOICE)
def test_plain_python_and_machine_code_give_the_same_bits(name: str) -> None:
    python, machine = learned(name, in_python=True), learned(name, in_python=False)
    assert python.keys() == machine.keys()
    for key, value in python.items():
        assert np.array_equal(np.asarray(value), np.asarray(machine[key]), equal_nan=False) or (
            np.asarray(value).tobytes() == np.asarray(machine[key]).tobytes()
        ), key


def test_it_is_looked_up_which_kernels_give_the_same() -> None:
    moving = [a for a in registry.TABLES.all() if isinstance(a, MovingAlgorithm)]
    same = {a.title for a in moving if interpreting.gives_the_same(a.kernel)}
    assert "Q-learning" in same
    assert "PPO" not in " ".join(same), "it takes powers"

    @kernel
    def with_numpy(values: Any) -> float:
        return float(np.exp(values[0]))

    @kernel
    def with_power(values: Any) -> float:
        return float(values[0] ** 3)

    assert not interpreting.gives_the_same(with_numpy)
    assert not interpreting.gives_the_same(with_power)


def test_much_work_is_left_to_machine_code() -> None:
    text = f'{LAKE}name = "q-learning"'.replace("agents = 2", "agents = 2000")
    learner = make_learner(presets.parse(text))
    assert isinstance(learner, TabularLearner) and not learner.interpret()
    assert not learner.worlds.in_python


class Ahead(CompileAhead):
    """Tells what is asked of it, and starts nothing."""

    def __init__(self) -> None:
        super().__init__(off=True)
        self.asked: list[str] = []
        self.over = False

    def start(self, run_dir: Path) -> None:
        self.asked.append("start")

    @property
    def is_over(self) -> bool:
        return self.over

    def end(self) -> None:
        self.asked.append("end")


def test_a_slow_run_compiles_ahead_and_takes_the_code_when_more_speed_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = presets.parse(f'{LAKE}name = "q-learning"')
    path = launch.create_run(preset, "slow", runs_dir=tmp_path)
    writer, ahead, now = RunWriter(path), Ahead(), [0.0]
    monkeypatch.setattr(TabularLearner, "preparation", lambda self: "" if self.worlds.in_python
                        else "Compiling")  # fmt: skip
    writer.set_meta(pace=4.0)
    writer.commit()
    seen: list[tuple[int, bool]] = []

    def sleep(seconds: float) -> None:
        now[0] += max(seconds, 0.01)
        learner = session.learner
        assert isinstance(learner, TabularLearner)
        step = learner.counters.step
        seen.append((step, learner.worlds.in_python))
        if step == 3:
            session.pacer.change(64.0)
        ahead.over = ahead.over or step >= 8  # the other process is done some time later

    session = Session(writer, make_learner, clock=lambda: now[0], sleep=sleep, ahead=ahead)
    assert session.run()
    writer.close()
    assert ahead.asked == ["start", "end"]
    assert {in_python for step, in_python in seen if step < 8} == {True}
    assert {in_python for step, in_python in seen if step > 9} == {False}


def test_the_process_that_compiles_ahead_is_ended_with_its_worker(tmp_path: Path) -> None:
    path = launch.create_run(presets.parse(f'{LAKE}name = "q-learning"'), "x", runs_dir=tmp_path)
    ahead = CompileAhead()
    ahead.start(path)
    assert not ahead.is_over
    ahead.end()
    assert ahead.is_over
