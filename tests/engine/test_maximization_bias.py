"""Sutton & Barto, figure 6.5: Q-learning believes the luckiest of ten estimates, double Q not."""

import warnings
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import engine.env.gymnasium_env  # noqa: F401  (registers the env)
from engine import factory, presets
from engine.env.maximization_bias import LEFT_END, RIGHT_END, A, B, goes_left
from engine.exact.solve import solve

AGENTS, EPISODES = 400, 300
FLOOR = 0.05  # ε/2: what an agent that knows better still does


@cache
def left_share(name: str, seed: int = 4) -> np.ndarray[Any, Any]:
    """The share of agents that went left, in each of the first 300 episodes."""
    text = f"""
title = "test"
[maze]
gymnasium = "MaximizationBias-v0"
success = [{RIGHT_END}]
[algorithm]
name = "{name}"
gamma = 1.0
learning_rate = 0.1
exploration = {{kind = "epsilon-greedy", start = 0.1}}
[budget]
episodes = {EPISODES}
[run]
agents = {AGENTS}
seed = {seed}
"""
    learner: Any = factory.make_learner(presets.parse(text))
    ends = []
    for learner.episode_limit in range(1, EPISODES + 1):
        while not learner.done:
            learner.advance(10)
        ends.append(learner.agents.steps.copy())
    lengths = np.diff(ends, axis=0, prepend=0)
    assert set(np.unique(lengths)) == {1, 2}
    share: np.ndarray[Any, Any] = (lengths == 2).mean(axis=1)
    return share


def test_the_env_is_what_gymnasium_expects() -> None:
    env = gymnasium.make("MaximizationBias-v0", render_mode="ansi").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    env.reset(seed=0)
    assert env.render() == "end - B - [A] - end\n"
    _, reward, terminated, truncated, info = env.step(0)
    assert (reward, terminated, truncated, info) == (0.0, False, False, {"prob": 1.0})
    assert env.render() == "end - [B] - A - end\n"
    ends = [env.P[B][3][k] for k in range(2)]
    assert env.step(3)[1:3] in [(reward, True) for _, _, reward, _ in ends]


def test_every_way_from_b_has_mean_minus_a_tenth_and_variance_1() -> None:
    table = gymnasium.make("MaximizationBias-v0").unwrapped.P  # type: ignore[attr-defined]
    assert len(table[B]) == 10
    for branches in table[B].values():
        chances = np.array([branch[0] for branch in branches])
        rewards = np.array([branch[2] for branch in branches])
        assert chances @ rewards == pytest.approx(-0.1)
        assert chances @ rewards**2 - 0.01 == pytest.approx(1.0)
        assert all(branch[1] == LEFT_END and branch[3] for branch in branches)


def test_going_right_is_optimal() -> None:
    preset = presets.load("maximization-bias-double-q")
    learner: Any = factory.make_learner(preset)
    solution = solve(learner.worlds.mdps[0], 1.0)
    assert solution.values[[A, B]] == pytest.approx([0.0, -0.1])
    assert not goes_left(int(solution.policy[A].argmax()))
    optimum = learner.worlds.optimum(0)
    assert (optimum.success_rate, optimum.optimal_return) == (1.0, 0.0)


@pytest.mark.slow
def test_q_learning_goes_left_far_too_often() -> None:
    share = left_share("q-learning")
    assert 0.85 < share[15:35].mean() < 0.99  # the figure's peak
    assert share[:100].min() > 5 * FLOOR
    assert share[:100].mean() > 0.7
    assert 1.5 * FLOOR < share[250:].mean() < 0.25  # and it has still not recovered


@pytest.mark.slow
def test_double_q_learning_soon_goes_left_only_to_explore() -> None:
    share = left_share("double-q-learning")
    assert 0.4 < share[:5].mean() < 0.7  # it starts knowing nothing
    assert share[:100].max() < 0.75
    assert share[90:150].mean() < 2.5 * FLOOR
    assert 0.6 * FLOOR < share[250:].mean() < 1.7 * FLOOR


@pytest.mark.slow
def test_double_q_learning_goes_left_less_often_throughout() -> None:
    single, double = left_share("q-learning"), left_share("double-q-learning")
    blocks = single.reshape(-1, 25).mean(axis=1), double.reshape(-1, 25).mean(axis=1)
    assert (blocks[0] > blocks[1] + 0.02).all()
