"""Each TD and Monte Carlo control method finds the optimum on mazes it was not tuned on."""

import pytest

from engine import factory, presets
from engine.learning.events import Evaluation

pytestmark = pytest.mark.slow

WALLED = 'map = "SF#FF\\nFF#FH\\nF##FF\\nFFFFG"\nmax_steps = 60'
MAZES = {
    "no slip": 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\nmax_steps = 100',
    "walls, slip, step cost": WALLED + "\nslip = 0.2\nrewards = {step = -0.02, hole = -1.0}",
    "windy": (
        'map = "FFFFF\\nSFFFG\\nFFFFF"\nwind = [0, 1, 1, 0, 0]\nmax_steps = 80\n'
        "rewards = {goal = 0.0, step = -1.0}"
    ),
}
OFF_POLICY = {"double-q-learning": "", "q-lambda": "trace_decay = 0.7"}
ON_POLICY = {
    "expected-sarsa": "",
    "n-step-sarsa": "n = 3",
    "sarsa-lambda": "trace_decay = 0.7",
    "monte-carlo": "",
}
STEPS = 300_000


def last_evaluation(name: str, maze: str, settings: str) -> Evaluation:
    text = f"""
title = "test"
[maze]
{maze}
[algorithm]
name = "{name}"
gamma = 0.97
{settings}
[budget]
env_steps = {STEPS}
[run]
agents = 8
seed = 11
"""
    learner = factory.make_learner(presets.parse(text))
    while not learner.done:
        learner.advance(1_000_000)
    return next(e for e in reversed(learner.conclude()) if isinstance(e, Evaluation))


def rates(smallest: float, exploring: str) -> str:
    rate = f'{{start = 0.3, end = {smallest}, steps = {STEPS}, shape = "exponential"}}'
    return f'learning_rate = {rate}\nexploration = {{kind = "epsilon-greedy", {exploring}}}\n'


@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("name", OFF_POLICY)
def test_off_policy_methods_reach_the_optimal_target_policy(name: str, maze: str) -> None:
    settings = rates(0.005, "start = 1.0, end = 0.2, steps = 200_000") + OFF_POLICY[name]
    evaluation = last_evaluation(name, MAZES[maze], settings)
    reached = evaluation.figures["expected_return"]
    assert reached.low == pytest.approx(evaluation.optimal_return, abs=2e-3)
    assert reached.high <= evaluation.horizon_optimum + 1e-9


@pytest.mark.parametrize("maze", MAZES)
@pytest.mark.parametrize("name", ON_POLICY)
def test_on_policy_methods_reach_the_optimum_as_exploration_ends(name: str, maze: str) -> None:
    settings = rates(0.02, "start = 1.0, end = 0.0, steps = 280_000") + ON_POLICY[name]
    evaluation = last_evaluation(name, MAZES[maze], settings)
    reached = evaluation.figures["expected_return"]
    assert reached.low == pytest.approx(evaluation.optimal_return, abs=0.02)
    assert reached.high <= evaluation.horizon_optimum + 1e-9
