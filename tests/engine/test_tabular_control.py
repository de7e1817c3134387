"""Control methods against the exact optimum, on mazes they were not tuned on."""

import pytest

from engine import factory, presets
from engine.learning.events import Evaluation

pytestmark = pytest.mark.slow

SMALL = """
SFFF
FHFH
FFFH
HFFG
"""
WALLED = """
SF#FF
FF#FH
F##FF
FFFFG
"""

MAZES = {
    "no slip": f'map = """{SMALL}"""\nmax_steps = 100',
    "walls, slip, step cost": (
        f'map = """{WALLED}"""\nslip = 0.2\nmax_steps = 60\nrewards = {{step = -0.02, hole = -1.0}}'
    ),
    "windy": (
        'map = """\nFFFFF\nSFFFG\nFFFFF\n"""\nwind = [0, 1, 1, 0, 0]\nmax_steps = 80\n'
        "rewards = {goal = 0.0, step = -1.0}"
    ),
    "CliffWalking": 'gymnasium = "CliffWalking-v1"\nmax_steps = 200',
}

FROZEN_LAKE = """
gymnasium = "FrozenLake-v1"
kwargs = {map_name = "8x8", is_slippery = false}
"""


def last_evaluation(
    name: str, maze: str, steps: int, exploration: str, smallest_step: float = 0.01
) -> Evaluation:
    text = f"""
title = "test"
[maze]
{maze}
[algorithm]
name = "{name}"
learning_rate = {{start = 0.3, end = {smallest_step}, steps = {steps}, shape = "exponential"}}
gamma = 0.97
exploration = {exploration}
[budget]
env_steps = {steps}
[run]
agents = 8
seed = 11
"""
    learner = factory.make_learner(presets.parse(text))
    events = []
    while not learner.done:
        events += learner.advance(1_000_000)
    events += learner.conclude()
    return next(e for e in reversed(events) if isinstance(e, Evaluation))


@pytest.mark.parametrize("maze", MAZES)
def test_q_learning_reaches_the_optimal_target_policy(maze: str) -> None:
    evaluation = last_evaluation(
        "q-learning",
        MAZES[maze],
        300_000,
        "{kind = 'epsilon-greedy', start = 1.0, end = 0.2, steps = 200000}",
    )
    reached = evaluation.figures["expected_return"]
    assert reached.low == pytest.approx(evaluation.optimal_return, abs=2e-3)
    assert reached.high <= evaluation.horizon_optimum + 1e-9


@pytest.mark.parametrize("maze", [*list(MAZES.values())[:3], FROZEN_LAKE])
def test_sarsa_reaches_the_optimum_as_its_exploration_ends(maze: str) -> None:
    """Not the cliff: there SARSA has learned to keep away long before its exploration ends."""
    evaluation = last_evaluation(
        "sarsa",
        maze,
        300_000,
        "{kind = 'epsilon-greedy', start = 1.0, end = 0.0, steps = 280000}",
        0.05,
    )
    reached = evaluation.figures["expected_return"]
    assert reached.low == pytest.approx(evaluation.optimal_return, abs=0.02)
    assert reached.high <= evaluation.horizon_optimum + 1e-9


def test_on_the_cliff_the_two_learn_different_policies() -> None:
    """Sutton & Barto, example 6.6: at a constant ε Q-learning walks the edge, SARSA keeps away."""
    maze = MAZES["CliffWalking"]
    edge = last_evaluation("q-learning", maze, 60_000, "{kind = 'epsilon-greedy', start = 0.1}")
    safe = last_evaluation("sarsa", maze, 60_000, "{kind = 'epsilon-greedy', start = 0.1}")
    assert edge.figures["expected_length"].mean == pytest.approx(13.0)
    assert safe.figures["expected_length"].mean > 15.0
