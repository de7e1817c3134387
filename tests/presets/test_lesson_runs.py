"""The numbers that lessons say of what was measured: the runs are made again, on another seed.

Bounds leave room for luck: about four times what seeds were seen to differ by.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from claim_tools import Figures, run
from lesson_tools import says

from engine import factory, presets
from engine.learning.events import AnyEvent, Evaluation, Update

pytestmark = pytest.mark.slow
SEED = "run.seed=77"


@cache
def points(name: str, metric: str, *overrides: str) -> dict[int, float]:
    """A figure at all recording points of a run, mean over agents."""
    learner = factory.make_learner(presets.load(name, [SEED, *overrides]))
    learner.prepare()
    events: list[AnyEvent] = learner.begin()
    while not learner.done:
        events += learner.advance(10**9)
    told = [(e.step, e.figures) for e in events if isinstance(e, Evaluation)]
    told += [(e.step, e.metrics) for e in events if isinstance(e, Update)]
    return {step: figures[metric].mean for step, figures in told if metric in figures}


@cache
def measured(name: str, *overrides: str) -> tuple[Figures, Figures]:
    return run(presets.load(name, [SEED, *overrides]))


def last(name: str, metric: str, *overrides: str) -> float:
    """The last figure of a run."""
    final = measured(name, *overrides)[0]
    return float({**final["metrics"], **final}[metric])


def median(name: str, metric: str, *overrides: str) -> float:
    """Over the agents."""
    found: Any = measured(name, *overrides)[1][metric]
    return float(np.median(np.nan_to_num(np.asarray(found, float), nan=np.inf)))


def near(value: float, said: float, share: float = 0.15) -> bool:
    return abs(value - said) <= share * said


def test_bias_and_variance() -> None:
    name = "bias-variance"
    says(name, "it rises from 0.41", "To about 0.21", "with C's own best, C has 0.16")
    assert near(last("bias-td-0", "rmse"), 0.41, 0.03)

    def least(run: str, *rates: float) -> float:
        return min(last(run, "rmse", f"algorithm.learning_rate={rate}") for rate in rates)

    assert near(last("bias-td-0", "rmse", "algorithm.learning_rate=0.8"), 0.21, 0.1)
    assert near(least("bias-td-0", 0.6, 0.7, 0.8, 0.9), 0.21, 0.1)
    assert near(least("bias-n-step", 0.2, 0.25, 0.3, 0.35), 0.16, 0.1)
    says(name, "0.10 against 0.18")
    longer = [last(f"bias-{run}", "rmse", "budget.episodes=100") for run in ("td-0", "n-step")]
    assert near(longer[0], 0.10) and near(longer[1], 0.18)
    assert last("bias-monte-carlo", "rmse") > 0.548


def test_credit_assignment() -> None:
    name = "credit-assignment"
    says(name, '"1", "about 5", "about 20"', '"5", "10", "20", "400"', "One cell an episode")
    assert median("credit-lambda", "first_optimal_episode") <= 2
    assert 17 <= median("credit-sarsa", "first_optimal_episode") <= 25


def test_curse_of_dimensionality() -> None:
    name = "curse-of-dimensionality"
    says(name, "after some 200 steps", '"after about 3,000"', "near 1.9", "near 0.6")
    assert near(median("curse-features", "first_optimal_step"), 200, 0.25)
    assert near(median("curse-table", "first_optimal_step"), 3000, 0.25)


def test_features_at_a_constant_step_size() -> None:
    says("curse-of-dimensionality", "After a thousand steps its success is then 0.6 on average")
    found = points("curse-features", "success_rate", "algorithm.learning_rate=0.3")
    late = [success for step, success in found.items() if step >= 1000]
    assert near(float(np.mean(late)), 0.6, 0.2) and max(late) - min(late) > 0.3, "up and down"


def test_non_stationarity() -> None:
    says("non-stationarity", "every third step of A's ends in the hole")
    falls = points("moving-averages", "falls_per_1000_steps")
    assert near(max(falls.values()), 1000 / 3, 0.25)


def test_sample_efficiency() -> None:
    name = "sample-efficiency"
    says(name, "about 530 steps, C about 260", '"about 3,500"', "about 3,500 steps again")
    for run_of, steps, enough in (
        ("q-learning", 3500, 6000),
        ("dyna-q", 530, 1000),
        ("prioritized", 260, 10_000),
    ):
        found = median(f"efficiency-{run_of}", "first_optimal_step", f"budget.env_steps={enough}")
        assert near(found, steps, 0.15), run_of
    says(name, '"about a seventh"', '"between 1 and 2"')
    updates, steps_ = (
        last("efficiency-prioritized", m, "budget.env_steps=10000")
        for m in ("updates", "env_steps")
    )
    assert 1 < updates / steps_ < 2


def test_forgetting() -> None:
    name = "forgetting"
    says(name, "Map 0 took about 1,100 steps", '"about 1,400"', "less than one time in four")
    assert near(last("forget-again", "first_optimal_step"), 1100)
    assert near(last("forget-again", "recovery_steps"), 1400)
    assert last("forget-plain", "success_rate_map_0") < 0.25


def test_reward_design() -> None:
    says("reward-design", '"about ten times"')
    steps = [median(f"reward-{run}", "first_optimal_step") for run in ("prize", "shaping")]
    assert 7 < steps[0] / steps[1] < 14
    says("reward-design", "it gets there, a thousand times later")
    deep = ("maze.shaping.weight=5", "budget.env_steps=100_000")
    assert 500 < median("reward-shaping", "first_optimal_step", *deep) / steps[1] < 2000


def test_safety() -> None:
    name = "safety"
    says(name, '"about 20 times"', "nearly 300 times", '"between 20 and 60"', "over four moves")
    assert near(last("safe-q-learning", "falls_per_1000_steps"), 20, 0.25)
    assert near(last("safe-sarsa", "falls_total"), 294, 0.04)
    assert 20 < last("safe-fall-budget", "fall_price") < 60
    assert last("safe-shield", "falls_total") == 0
    price = "maze.fall_budget={per_1000_steps=2.0,learning_rate=0.5}"
    assert last("safe-q-learning", "fall_price", price) > 100
    says(name, "It climbs past 100, and the edge stays")
    assert last("safe-q-learning", "expected_score", price) == -13
    assert 4 <= -13 - median("safe-sarsa", "expected_score") <= 5


def test_generalization() -> None:
    """The ranges of six draws hold another one, or nearly."""
    says("generalization", "six other draws: A 0.26 to 0.39, B 0.54 to 0.74, C 0.89 to 1.00")
    for name, count, low, high in (
        ("one", 1, 0.26, 0.39), ("many", 64, 0.54, 0.74), ("features", 64, 0.89, 1.0),
    ):  # fmt: skip
        sets = [
            f"maze.{kind}={{count={n},size=4,hole_density=0.2,seed={seed}}}"
            for kind, n, seed in (("train", count, 2), ("test", 16, 2000))
        ]
        solved = last(f"generalize-{name}", "held_out_success_rate", "run.agents=8", *sets)
        assert low - 0.05 < solved < high + 0.05, name
