"""The numbers that the lessons on bandits and importance sampling say, computed."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from engine import factory, presets
from engine.experiments.lab.challenge import lab_folder
from engine.llm.algorithms.advantages import (
    dr_grpo_advantages,
    grpo_advantages,
    rloo_advantages,
)
from engine.tabular.algorithms.bandits.gradient_bandit import GradientBanditSettings
from engine.tabular.algorithms.ppo import PPOSettings
from engine.tabular.given_policy import behaviour_policy, given_policy

GROUP = np.array([[1.0, 0, 0, 0, 1, 0, 0, 0]])


@cache
def page(name: str) -> str:
    return (lab_folder() / "pages" / f"{name}.md").read_text("utf-8")


def says(name: str, *words: str) -> None:
    """The page says each of these."""
    assert [each for each in words if each not in page(name)] == []


BANDIT, RATIO = "grpo-is-a-bandit", "from-importance-sampling-to-ppo"


def test_one_update_of_the_gradient_bandit() -> None:
    alpha = GradientBanditSettings().learning_rate
    pi = np.full(10, 0.1)
    moved = alpha * 1.0 * (np.eye(10)[3] - pi)
    assert moved[3] == pytest.approx(0.09) and moved[0] == pytest.approx(-0.01)
    says(BANDIT, "0.1 × 1 × (1 − 0.1) = 0.09", "0.1 × 1 × 0.1 = 0.01 each", f"α is {alpha:g}")


def test_the_group_of_eight() -> None:
    mean, plain = GROUP.mean(), dr_grpo_advantages(GROUP)[0]
    assert (mean, plain[0], plain[1]) == (0.25, 0.75, -0.25)
    says(BANDIT, "1, 0, 0, 0, 1, 0, 0, 0", "2/8 = 0.25", "0 − 0.25 = −0.25", '"0.75"')
    divided = grpo_advantages(GROUP)[0]
    spread = GROUP.std(ddof=1)
    says(BANDIT, f"here {spread:.2f}", f"+{divided[0]:.2f}", f"−{-divided[1]:.2f}")
    np.testing.assert_allclose(dr_grpo_advantages(GROUP) / rloo_advantages(GROUP), 7 / 8)
    says(BANDIT, "is 7/8 of the true one")


def test_a_baseline_that_holds_the_own_reward_shrinks_the_expected_gradient_by_an_eighth() -> None:
    """Over all groups of two arms, one of which pays 1: exact."""
    pi, expected = np.array([0.3, 0.7]), np.zeros(2)
    for which in range(2**8):
        arms = np.array([which >> j & 1 for j in range(8)])
        rewards = (arms == 0).astype(float)
        moves = (rewards - rewards.mean())[:, None] * (np.eye(2)[arms] - pi)
        expected += pi[arms].prod() * moves.mean(axis=0)
    true = pi * (np.array([1.0, 0.0]) - pi[0])
    np.testing.assert_allclose(expected, 7 / 8 * true, atol=1e-12)


def test_what_dividing_by_the_spread_does() -> None:
    rare, half = math.sqrt(0.05 * 0.95), math.sqrt(0.5 * 0.5)
    says(BANDIT, f"{half:g} and {rare:.2f}", f"by {1 / rare:.1f}, the first by {1 / half:g}")
    equal = 0.95**8 + 0.05**8
    says(BANDIT, f"At 5 % that happens in {100 * equal:.0f} % of the groups")


def test_both_runs_have_the_same_arms_and_eight_pulls_a_group() -> None:
    one, other = presets.load("gradient-bandit"), presets.load("grpo-bandit")
    assert one.maze == other.maze and one.maze.kwargs["arms"] == 10
    assert getattr(other.algorithm, "group_size") == 8  # noqa: B009 (of one kind of settings)


def test_the_ratio_of_six_moves() -> None:
    preset = presets.load("importance-sampling-weighted")
    learner = factory.make_learner(preset)
    mdp, maze = learner.worlds.mdps[0], learner.worlds.mazes[0]  # type: ignore[attr-defined]
    settings = preset.algorithm
    pi = given_policy(settings.policy, mdp, maze.actions, 1.0)[0]  # type: ignore[attr-defined]
    b = behaviour_policy(settings, mdp, maze.actions)[0]
    ratios = pi / b
    assert ratios.tolist() == [0.0, 2.0, 2.0, 0.0]
    assert 2.0**6 == 64 and b[pi > 0].sum() ** 6 == 1 / 64
    assert b @ ratios == 1.0 and b @ ratios**2 == 2.0
    says(RATIO, "π gives down 0.5, b gives it 0.25", "2⁶ = 64", "0.5²/0.25 + 0.5²/0.25 = 2")
    says(RATIO, f"2²⁰ = {2**20:,}", '"about a million"')
    assert preset.run.agents == 200
    says(RATIO, "the estimates of the 200 agents")


def test_the_ratios_of_texts() -> None:
    assert round(1.01**1000, -3) == 21_000
    says(RATIO, "1.01¹⁰⁰⁰, about 21,000")
    assert math.exp(math.log(1.01**1000) / 1000) == pytest.approx(1.01)


def test_the_clip_of_the_run() -> None:
    settings = presets.load("ppo-table").algorithm
    assert isinstance(settings, PPOSettings) and settings.clip == 0.2
    says(RATIO, "has left 0.8 to 1.2")


def test_ordinary_estimates_lie_further_apart() -> None:
    """The claims of the presets say by how much; here that they are of the same episodes."""
    one, other = (presets.load(f"importance-sampling-{w}") for w in ("ordinary", "weighted"))
    assert one.maze == other.maze and one.budget == other.budget and one.run == other.run
    bounds = [
        {e.metric: (e.at_least, e.at_most) for e in p.expect}["variance"] for p in (one, other)
    ]
    assert bounds[0][0] > bounds[1][1]  # type: ignore[operator]
