"""A run that is paced slowly goes on in plain Python: the same bits, without machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import presets
from engine.algorithms import registry
from engine.core import interpreting
from engine.core.compiling import kernel
from engine.factory import make_learner
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
