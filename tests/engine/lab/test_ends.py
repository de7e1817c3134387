"""The least and the most that a figure of an agent can be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine import presets
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.exact.evaluate import evaluate
from engine.experiments.ends import FigureEnds, happening
from engine.experiments.intervals import FROM_ZERO, OPEN, Ends

LAKE = """
title = "Lake"
group = "tabular"
[maze]
map = "SFFF/FHFH/FFFH/HFFG"
slip = 0.6666666666666666
max_steps = 100
rewards = {goal = 2.0, step = -0.01}
[algorithm]
name = "q-learning"
gamma = 0.9
[budget]
env_steps = 100
""".replace("/", "\\n")


def ends(text: str = LAKE) -> FigureEnds:
    return FigureEnds.of_preset(presets.parse(text, "a test"))


def test_no_policy_is_worth_less_or_more() -> None:
    preset = presets.parse(LAKE, "a test")
    mdp = build_mdp(build_mazes(preset.maze)[0][1])
    random = np.random.default_rng(0)
    policies = random.dirichlet(np.full(4, 0.2), (200, 16))
    found, known = evaluate(mdp, policies, 0.9), ends()
    for name in ("success_rate", "expected_return", "expected_score", "expected_length"):
        values, (low, high) = getattr(found, name), known[name]
        assert low <= values.min() and values.max() <= high


def test_success_reaches_from_nothing_to_what_the_best_policy_can() -> None:
    """0.74 is the optimum of the slippery lake within 100 steps, as Gymnasium registers it."""
    low, high = ends()["success_rate"]
    assert low == 0.0 and high == pytest.approx(0.744, abs=0.005)
    assert ends()["greedy_success_rate"] == ends()["success_rate_map_0"] == (low, high)
    assert ends()["held_out_success_rate"] == (0.0, 1.0)  # there are no held-out mazes here


def test_a_score_that_is_success_has_the_ends_of_success() -> None:
    known = ends(LAKE.replace("goal = 2.0, step = -0.01", "goal = 2.0"))
    success, score = known["success_rate"], known["expected_score"]
    assert score == pytest.approx((2 * success.low, 2 * success.high))


def test_with_all_luck_an_episode_can_bring_more_than_can_be_expected() -> None:
    """From beside the goal one move, which pays 2 and costs 0.01; or a hundred moves to nowhere."""
    known = ends()
    assert known["online_score"] == pytest.approx((-1.0, 1.99))
    assert known["online_success_rate"] == (0.0, 1.0)
    mdp = build_mdp(build_mazes(presets.parse(LAKE, "a test").maze)[0][1])
    assert happening(mdp, mdp.reward, 0.9).high == pytest.approx(1.99)


def test_what_is_counted_begins_at_zero_and_of_the_rest_nothing_is_known() -> None:
    known = ends()
    assert known["first_optimal_step"] == FROM_ZERO
    assert known["expected_length"] == Ends(1.0, 100.0)
    assert all(map(math.isnan, known["regret"])) and known["regret"] is OPEN
