"""Where theory says that two methods are one, they are: bit for bit, or to rounding."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from engine import factory, presets
from engine.config.algorithm import EpsilonGreedy, Exploration, Softmax, UpperConfidenceBound
from engine.core.compiling import compiled
from engine.exact.evaluate import state_values
from engine.tabular.algorithms.expected_sarsa import expected_value
from engine.tabular.kernels.behaviour import (
    behaviour_policy,
    encode_exploration,
    upper_confidence,
    upper_confidence_policy,
)
from engine.tabular.kernels.rng import seed_streams
from engine.tabular.kernels.trace import FLOATS

pytestmark = pytest.mark.slow

SLIPPERY = 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\nslip = 0.3\nmax_steps = 20\nrewards = {step = -0.01}'
EXPLORATIONS = {
    "ε": "{kind = 'epsilon-greedy', start = 0.6, end = 0.1, steps = 1000}",
    "softmax": "{kind = 'softmax', start = 0.2}",
    "ucb": "{kind = 'ucb', c = 0.5}",
}

LAYERS, WIDTH, ACTIONS = 6, 4, 3
END = LAYERS * WIDTH


class LayeredEnv(gymnasium.Env[Any, Any]):
    """Each move goes one layer further, so that no state comes up twice in an episode."""

    def __init__(self) -> None:
        random = np.random.default_rng(8)
        self.P: dict[int, dict[int, list[tuple[float, int, float, bool]]]] = {}
        for state in range(END):
            last, below = state // WIDTH == LAYERS - 1, (state // WIDTH + 1) * WIDTH
            self.P[state] = {
                action: [
                    (chance, min(below + int(random.integers(WIDTH)), END), random.normal(), last)
                    for chance in (0.7, 0.3)
                ]
                for action in range(ACTIONS)
            }
        self.P[END] = {action: [(1.0, END, 0.0, True)] for action in range(ACTIONS)}
        self.initial_state_distrib = np.eye(END + 1)[0]


@pytest.fixture
def layered() -> Iterator[str]:
    """A [maze] table with the layered env, which is registered during the test."""
    gymnasium.register(id="Layered-v0", entry_point=LayeredEnv)
    try:
        yield 'gymnasium = "Layered-v0"'
    finally:
        del gymnasium.registry["Layered-v0"]


def trained(
    name: str, settings: str, maze: str = SLIPPERY, budget: str = "env_steps = 3000"
) -> Any:
    """The learner of 4 agents at the end of its budget."""
    text = f"""
title = "test"
[maze]
{maze}
[algorithm]
name = "{name}"
{settings}
[budget]
{budget}
[run]
agents = 4
seed = 3
"""
    learner = factory.make_learner(presets.parse(text))
    while not learner.done:
        learner.advance(1_000_000)
    return learner


def assert_same(first: Any, second: Any, *more: str) -> None:
    """Tables, random numbers and `more` of two learners are the same bits."""
    ours, theirs = first.state(), second.state()
    for state in (ours, theirs):  # only methods that choose ahead of an update note their chance
        state["trace.floats"] = np.delete(state["trace.floats"], FLOATS.index("chance"), axis=1)
    assert ours["agents.episode"].min() > 20
    for key in ("tables.q", "tables.visits", "agents.random", "agents.stats", *more):
        assert ours[key].tobytes() == theirs[key].tobytes(), key


@pytest.mark.parametrize("rate", ["0.3", '"1/n"'])
@pytest.mark.parametrize("rule", EXPLORATIONS)
@pytest.mark.parametrize(
    ("name", "setting", "other"),
    [
        ("n-step-sarsa", "n = 1", "sarsa"),
        ("sarsa-lambda", "trace_decay = 0.0", "sarsa"),
        ("sarsa-lambda", 'trace_decay = 0.0\ntraces = "accumulating"', "sarsa"),
        ("q-lambda", "trace_decay = 0.0", "q-learning"),
    ],
)
def test_one_step_special_cases_are_the_one_step_methods(
    name: str, setting: str, other: str, rule: str, rate: str
) -> None:
    common = f"learning_rate = {rate}\nexploration = {EXPLORATIONS[rule]}\n"
    special, plain = trained(name, common + setting), trained(other, common)
    assert_same(special, plain, "trace.ints", "trace.floats", "trace.values")


@pytest.mark.parametrize("rule", EXPLORATIONS)
@pytest.mark.parametrize("n", [20, 1000])
def test_an_endless_n_is_every_visit_monte_carlo(rule: str, n: int) -> None:
    """Also where the time limit cuts episodes, and pairs come up many times in one."""
    common = f"learning_rate = 0.2\nexploration = {EXPLORATIONS[rule]}\n"
    # compared between episodes, as SARSA has chosen its next action within one
    waiting = trained("n-step-sarsa", common + f"n = {n}", budget="episodes = 300")
    whole = trained("monte-carlo", common + 'visit = "every"', budget="episodes = 300")
    assert_same(waiting, whole, "trace.floats")
    first = trained("monte-carlo", common + 'visit = "first"', budget="episodes = 300")
    assert (first.state()["tables.q"] != whole.state()["tables.q"]).any()


@pytest.mark.parametrize("rate", ["0.3", '"1/n"'])
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("monte-carlo", 'visit = "every"'),
        ("n-step-sarsa", "n = 6"),
        ("sarsa-lambda", "trace_decay = 1.0"),
        ("sarsa-lambda", 'trace_decay = 1.0\ntraces = "accumulating"'),
    ],
)
def test_without_repeats_lambda_1_and_an_endless_n_are_monte_carlo(
    layered: str, name: str, setting: str, rate: str
) -> None:
    """TD errors telescope to G − Q when Q(s,a) does not change while the episode lasts."""
    common = f"learning_rate = {rate}\nexploration = {EXPLORATIONS['ε']}\ngamma = 0.9\n"
    first_visit = trained("monte-carlo", common, layered).state()
    other = trained(name, common + setting, layered).state()
    assert (other["agents.random"] == first_visit["agents.random"]).all()
    assert np.ptp(other["tables.q"]) > 1.0
    np.testing.assert_allclose(other["tables.q"], first_visit["tables.q"], atol=1e-9)


def test_between_lambda_0_and_1_is_neither(layered: str) -> None:
    common = f"exploration = {EXPLORATIONS['ε']}\n"
    half = trained("sarsa-lambda", common + "trace_decay = 0.5", layered).state()["tables.q"]
    for end in ("0.0", "1.0"):
        other = trained("sarsa-lambda", common + f"trace_decay = {end}", layered)
        assert np.abs(half - other.state()["tables.q"]).max() > 0.01


def test_monte_carlo_with_one_over_n_averages_the_returns(layered: str) -> None:
    learner = trained(
        "monte-carlo", f"exploration = {EXPLORATIONS['ε']}\n", layered, "env_steps = 600"
    )
    returns: dict[tuple[int, int], list[float]] = {}
    for step in learner.live(0).steps:
        returns.setdefault((step.observation, step.action), []).append(step.target)
    q = learner.state()["tables.q"][0]
    assert len(returns) > 20
    for (o, a), seen in returns.items():
        assert q[o, a] == pytest.approx(np.mean(seen), abs=1e-12)


@pytest.mark.parametrize("value", ["0.0", "1.0"])
def test_expected_sarsa_with_a_greedy_target_policy_is_q_learning(value: str) -> None:
    common = (
        "exploration = {kind = 'epsilon-greedy', start = 0.0}\nrandom_starts = 1.0\n"
        f"learning_rate = 0.4\ninitial_value = {value}"
    )
    expected, plain = trained("expected-sarsa", common), trained("q-learning", common)
    assert_same(expected, plain, "trace.floats")


@pytest.mark.parametrize(
    "rule", [EpsilonGreedy(start=0.4), Softmax(start=0.3), UpperConfidenceBound(c=1.5)]
)
def test_the_expected_value_is_the_mean_over_the_behaviour_policy(rule: Exploration) -> None:
    random, encoded = np.random.default_rng(1), encode_exploration(rule)
    for lowest in (0, 1):  # with and without actions never tried
        for _ in range(50):
            values, visits = random.normal(size=5), random.integers(lowest, 4, size=5)
            policy = behaviour_policy(values, visits, encoded, 0)
            expected = expected_value(values, visits, encoded, 0)
            assert expected == pytest.approx(float(policy @ values), abs=1e-12)


def test_on_policy_methods_learn_the_values_of_a_random_policy(layered: str) -> None:
    """At a constant ε = 1 they estimate Q of the random policy; its exact V is known."""
    errors = {}
    for name in ("sarsa", "expected-sarsa", "monte-carlo", "n-step-sarsa", "sarsa-lambda"):
        common = 'exploration = {kind = "epsilon-greedy", start = 1.0}\nlearning_rate = "1/n"\n'
        learner = trained(name, common, layered, "env_steps = 60_000")
        exact = state_values(learner.worlds.mdps[0], np.full((END + 1, ACTIONS), 1 / 3), 0.99)
        values = learner.state()["tables.q"].mean(axis=2)
        errors[name] = np.abs(values - exact)[:, :END].max()
    assert max(errors.values()) < 0.15, errors


@pytest.mark.parametrize(
    ("values", "visits", "chances"),
    [
        ([0.5, 0.5, 0.2, 0.5], [3, 3, 3, 3], [1 / 3, 1 / 3, 0.0, 1 / 3]),
        ([0.0, 0.0, 0.0, 0.0], [1, 5, 1, 5], [0.5, 0.0, 0.5, 0.0]),
        ([0.9, 0.1, 0.2, 0.3], [4, 4, 4, 4], [1.0, 0.0, 0.0, 0.0]),
        ([0.9, 0.1, 0.2, 0.3], [4, 0, 4, 0], [0.0, 0.5, 0.0, 0.5]),
    ],
)
def test_ucb_draws_among_exact_ties_as_its_policy_says(
    values: list[float], visits: list[int], chances: list[float]
) -> None:
    q, counts, random = np.array(values), np.array(visits), seed_streams(4, 1)[0]
    np.testing.assert_allclose(upper_confidence_policy(q, counts, 0.7), chances)
    before = random.copy()
    drawn = [compiled(upper_confidence)(q, counts, 0.7, random)[0] for _ in range(3000)]
    shares = np.bincount(drawn, minlength=4) / 3000
    np.testing.assert_allclose(shares, chances, atol=0.04)
    assert (random == before).all() == (max(chances) == 1.0)  # only a tie costs a random number
    encoded = encode_exploration(UpperConfidenceBound(c=0.7))
    assert expected_value(q, counts, encoded, 0) == pytest.approx(float(np.dot(chances, q)))


def test_the_mean_over_ucb_ties_of_unlike_values_is_that_of_the_draw() -> None:
    """Equal bounds of unlike values and visits: c √(ln 8 / 2) − c √(ln 8 / 6) makes up for it."""
    c, counts = 0.5, np.array([2, 6])
    bonus = c * np.sqrt(np.log(8) / counts)
    values = np.array([0.25, 0.25 + bonus[0] - bonus[1]])
    values[1] += (values[0] + bonus[0]) - (values[1] + bonus[1])  # the last bit
    policy = upper_confidence_policy(values, counts, c)
    assert policy.tolist() == [0.5, 0.5]
    encoded = encode_exploration(UpperConfidenceBound(c=c))
    assert expected_value(values, counts, encoded, 0) == pytest.approx(values.mean())
