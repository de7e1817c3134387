"""Tree backup: the one-step methods as special cases, and the tree of section 7.5 by recursion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_td_theory import EXPLORATIONS, SLIPPERY, trained

from engine.config.algorithm import EpsilonGreedy, Exploration, Softmax, UpperConfidenceBound
from engine.exact.evaluate import greedy
from engine.learning.events import Step
from engine.tabular.algorithms.multistep.tree_backup import target_chances
from engine.tabular.kernels.behaviour import behaviour_policy, encode_exploration

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rate", ["0.3", '"1/n"'])
@pytest.mark.parametrize("rule", EXPLORATIONS)
def test_with_n_1_it_is_expected_sarsa_or_q_learning(rule: str, rate: str) -> None:
    common = f"learning_rate = {rate}\nexploration = {EXPLORATIONS[rule]}\n"
    for other, target in (("expected-sarsa", "behaviour"), ("q-learning", "greedy")):
        special = trained("tree-backup", f'{common}n = 1\ntarget_policy = "{target}"')
        plain = trained(other, common)
        np.testing.assert_allclose(special.tables.q, plain.tables.q, rtol=0.0, atol=1e-14)
        assert (special.agents.random == plain.agents.random).all()
        assert (special.tables.learned == plain.tables.visits).all()


@pytest.mark.parametrize(
    "rule", [EpsilonGreedy(start=0.4), Softmax(start=0.3), UpperConfidenceBound(c=1.5)]
)
def test_the_chances_of_the_target_are_those_of_the_policy(rule: Exploration) -> None:
    random, encoded, chances = np.random.default_rng(1), encode_exploration(rule), np.zeros(5)
    for lowest in (0, 1):  # with and without actions never tried
        for _ in range(50):
            values = np.round(random.normal(size=5), 1)  # so that there are ties
            visits = random.integers(lowest, 4, size=5)
            target_chances(values, visits, encoded, 0, chances)
            policy = behaviour_policy(values, visits, encoded, 0)
            np.testing.assert_allclose(chances, policy, atol=1e-14)


def tree(steps: list[Step], q: np.ndarray[Any, Any], gamma: float) -> float:
    """G of the first of `steps` under the greedy policy on `q` [O,A]: (7.16) as it is written."""
    first, rest = steps[0], steps[1:]
    if first.terminated:
        return first.reward
    s2 = first.next_observation
    policy = greedy(q)[s2]
    if not rest:
        return first.reward + gamma * float(policy @ q[s2])
    taken = rest[0].action
    others = sum(policy[a] * q[s2, a] for a in range(len(policy)) if a != taken)
    return float(first.reward + gamma * others + gamma * policy[taken] * tree(rest, q, gamma))


@pytest.mark.parametrize("n", [2, 5])
def test_each_update_is_that_of_the_tree(n: int) -> None:
    settings = f"n = {n}\ngamma = 0.9\nlearning_rate = 0.3\nexploration = {EXPLORATIONS['ε']}\n"
    maze = SLIPPERY.replace("max_steps = 20", "max_steps = 8")
    steps = trained("tree-backup", settings, maze, "env_steps = 700").live(0).steps
    q = np.zeros((16, 4))
    told = 0
    for at, newest in enumerate(steps):
        whole = steps[at - newest.t : at + 1]
        over = newest.terminated or newest.truncated
        first = max(len(whole) - n, 0)
        for tau in range(first, len(whole) if over else len(whole) - n + 1):
            step = whole[tau]
            target = tree(list(whole[tau:]), q, 0.9)
            assert step.target == pytest.approx(target, abs=1e-12)
            assert step.before == pytest.approx(q[step.observation, step.action], abs=1e-12)
            q[step.observation, step.action] += 0.3 * (target - q[step.observation, step.action])
            told += target != 0.0
    assert told > 300 and any(s.terminated for s in steps) and any(s.truncated for s in steps)
