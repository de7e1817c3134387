"""TD(0) and n-step TD: V becomes the exact V of the given policy; the 19-state random walk."""

import copy
from typing import Any

import numpy as np
import pytest

from engine import factory, presets
from engine.core.errors import UserError
from engine.exact.evaluate import evaluate, state_values
from engine.exact.solve import solve
from engine.learning.events import Evaluation, Policy, Update

pytestmark = pytest.mark.slow

CHAIN = 'map = "HFFFFFFFFFSFFFFFFFFFG"\nmax_steps = 10_000\nrewards = {hole = -1.0, goal = 1.0}'
SLIPPERY = 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\nslip = 0.5\nmax_steps = 50\nrewards = {hole = -1.0}'
WINDY = (
    'map = "FFFFF\\nSFFFG\\nFFFFF"\nwind = [0, 1, 1, 0, 0]\nmax_steps = 30\n'
    "rewards = {goal = 0.0, step = -1.0}"
)


def make(maze: str, settings: str, budget: str, agents: int = 16, seed: int = 0) -> Any:
    text = f"""
title = "test"
[maze]
{maze}
[algorithm]
name = "td-0"
{settings}
[budget]
{budget}
[run]
agents = {agents}
seed = {seed}
"""
    return factory.make_learner(presets.parse(text))


def finish(learner: Any) -> list[Any]:
    events = learner.begin()
    while not learner.done:
        events += learner.advance(10**6)
    return [*events, *learner.conclude()]


@pytest.mark.parametrize("n", [1, 4, 1000])
@pytest.mark.parametrize(
    ("maze", "policy"),
    [
        (SLIPPERY, '"random"'),
        (SLIPPERY, '"optimal"'),
        (WINDY, "{right = 0.7, down = 0.3}"),
        ('gymnasium = "CliffWalking-v1"\nmax_steps = 60', '"optimal"'),
    ],
)
def test_v_becomes_the_exact_v_of_the_policy(maze: str, policy: str, n: int) -> None:
    """Also where time limits cut most episodes: V is that of a world without one."""
    rate = '{start = 0.5, end = 0.002, steps = 80_000, shape = "exponential"}'
    settings = f"policy = {policy}\nn = {n}\nlearning_rate = {rate}\ngamma = 0.9"
    learner = make(maze, settings, "env_steps = 100_000")
    events = finish(learner)
    errors = [e.metrics["value_rmse"].mean for e in events if isinstance(e, Update)]
    assert errors[-1] < 0.1 and errors[-1] < errors[0] / 5
    mdp = learner.worlds.mdps[0]
    exact = state_values(mdp, learner.tables.policy[0], 0.9)
    met = learner.tables.visits.sum(axis=(0, 2)) > 0
    assert (met == learner.met[0]).all()
    np.testing.assert_allclose(learner.tables.values.mean(axis=0)[met], exact[met], atol=0.1)


def test_the_error_is_the_distance_to_the_exact_values() -> None:
    learner = make(SLIPPERY, 'policy = "random"\ninitial_value = 0.25', "env_steps = 10")
    exact = state_values(learner.worlds.mdps[0], np.full((16, 4), 0.25), 0.99)
    moving = [0, 1, 2, 3, 4, 6, 8, 9, 10, 13, 14]
    expected = np.sqrt(np.mean((0.25 - exact[moving]) ** 2))
    assert learner.value_errors() == pytest.approx(np.full(16, expected))


def test_only_states_that_the_policy_meets_count_but_random_starts_meet_all() -> None:
    def counted(more: str) -> int:
        return int(make(CHAIN, "policy = {right = 1.0}" + more, "env_steps = 10").met[0].sum())

    assert counted("") == 10
    assert counted("\nrandom_starts = 0.5") == 19


def test_bias_and_variance_add_up_to_the_squared_error() -> None:
    learner = make(SLIPPERY, 'policy = "random"', "env_steps = 800", agents=7)
    last = finish(learner)[-1].figures
    met, truth = learner.met[0], learner.truth[0]
    values = learner.tables.values[:, met]
    bias2 = np.mean((values.mean(axis=0) - truth[met]) ** 2)
    variance = np.mean(((values - values.mean(axis=0)) ** 2).mean(axis=0))
    told = learner._extra_metrics()
    np.testing.assert_allclose(told["bias2"], bias2, rtol=1e-12)
    np.testing.assert_allclose(told["variance"], variance, rtol=1e-12)
    np.testing.assert_allclose(np.mean(told["rmse"] ** 2), bias2 + variance, rtol=1e-12)
    assert bias2 > 0 and variance > 0
    unbiased = variance * 7 / 6
    np.testing.assert_allclose(last["bias2"] + last["variance"], last["rmse"] ** 2, rtol=1e-9)
    np.testing.assert_allclose(last["variance"].mean(), unbiased, rtol=1e-9)
    np.testing.assert_allclose(last["bias2"].mean(), bias2 - unbiased / 7, rtol=1e-9)
    assert last["bias2"].std() > 0 and last["variance"].std() > 0


def test_a_single_agent_has_no_variance() -> None:
    last = finish(make(SLIPPERY, 'policy = "random"', "env_steps = 100", agents=1))[-1].figures
    assert last["variance"] == [0.0]
    assert last["bias2"] == pytest.approx(last["rmse"] ** 2)


@pytest.mark.parametrize("policy", ['"random"', '"optimal"', "{left = 0.25, right = 0.75}"])
def test_the_figures_are_exact_for_the_given_policy(policy: str) -> None:
    learner = make(SLIPPERY, f"policy = {policy}", "env_steps = 200")
    events = finish(learner)
    mdp = learner.worlds.mdps[0]
    table = {
        '"random"': np.full((16, 4), 0.25),
        '"optimal"': solve(mdp, 0.99).policy,
        "{left = 0.25, right = 0.75}": np.tile([0.25, 0.0, 0.75, 0.0], (16, 1)),
    }[policy]
    exact = evaluate(mdp, table, 0.99)
    for evaluation in (e for e in events if isinstance(e, Evaluation)):
        assert evaluation.figures["success_rate"].mean == pytest.approx(float(exact.success_rate))
        assert evaluation.figures["expected_return"].mean == pytest.approx(
            float(exact.expected_return)
        )
    shown = next(e for e in events if isinstance(e, Policy))
    assert shown.q is None
    np.testing.assert_allclose(shown.target, table, rtol=1e-6)
    np.testing.assert_allclose(shown.behaviour, table, rtol=1e-6)


def test_actions_are_drawn_with_their_chances() -> None:
    learner = make(WINDY, "policy = {left = 0.2, right = 0.7, up = 0.1}", "env_steps = 20_000")
    finish(learner)
    visits = learner.tables.visits.sum(axis=(0, 1))
    assert visits[1] == 0
    np.testing.assert_allclose(visits / visits.sum(), [0.2, 0.0, 0.7, 0.1], atol=0.005)


def test_an_edited_map_has_other_exact_values_for_the_same_policy() -> None:
    learner = make(CHAIN, "policy = {left = 0.5, right = 0.5}\ngamma = 1.0", "episodes = 50")
    learner.begin()
    learner.advance(100)
    learner.edit(["HFFFHFFFFFSFFFFFFFFFG"])
    assert learner.met[1].sum() == 15 and learner.truth[1][10] == pytest.approx(2 * 6 / 16 - 1)
    other = make(CHAIN, "policy = {left = 0.5, right = 0.5}\ngamma = 1.0", "episodes = 50")
    other.load(copy.deepcopy(learner.state()))
    assert (other.value_errors() == learner.value_errors()).all()


def test_values_without_a_bound_after_an_edit_are_not_measured() -> None:
    learner = make(
        'map = "SFG\\nFFF"\nrewards = {step = -1.0}',
        "policy = {right = 1.0}\ngamma = 1.0",
        "env_steps = 100",
    )
    learner.begin()
    learner.advance(20)
    assert not np.isnan(learner.value_errors()).any()
    learner.edit(["S#G", "FFF"])
    assert np.isnan(learner.value_errors()).all()
    learner.advance(20)


@pytest.mark.parametrize(
    ("maze", "settings", "message"),
    [
        (SLIPPERY, "policy = {lft = 1.0}", r"policy\.lft: there is no such action.*'left'"),
        (SLIPPERY, "policy = {left = 0.5, up = 0.4}", r"sum to 0\.9; expected a sum of 1"),
        (SLIPPERY, "policy = {left = 1.5}", r"policy"),
        (SLIPPERY, 'policy = "optimum"', r"policy"),
        (SLIPPERY, "n = 0", r"algorithm\.n"),
        (SLIPPERY + '\nobservation = "neighbourhood"', 'policy = "optimal"', "does not see its"),
        (WINDY, "policy = {left = 1.0}\ngamma = 1.0", "never ends an episode"),
        (SLIPPERY, "n = 2\ntrace_decay = 0.5", r"trace_decay: found 0\.5 beside n = 2"),
        (SLIPPERY, "trace_decay = 1.5", r"algorithm\.trace_decay"),
        (CHAIN, "n = 100_000\n[run]\nagents = 4000\n#", r"algorithm\.n.*lower algorithm\.n"),
    ],
)
def test_mistakes_are_found_before_anything_starts(maze: str, settings: str, message: str) -> None:
    text = f'title = "t"\n[maze]\n{maze}\n[budget]\nenv_steps = 1\n[algorithm]\nname = "td-0"\n'
    with pytest.raises(UserError, match=message):
        presets.parse(text + settings)


def test_a_preset_with_a_policy_survives_being_written() -> None:
    text = f'title = "t"\n[maze]\n{CHAIN}\n[budget]\nenv_steps = 1\n[algorithm]\nname = "td-0"\n'
    for policy in ('"optimal"', "{left = 0.5, right = 0.5}"):
        preset = presets.parse(text + f"policy = {policy}")
        assert presets.parse(presets.dump(preset)) == preset


# ---------------------------------------------------------------- TD(λ)


@pytest.mark.parametrize(("decay", "rate"), [(0.7, "0.1"), (1.0, "0.05"), (0.9, '"1/n"')])
def test_td_lambda_follows_the_book(decay: float, rate: str) -> None:
    """Equations 12.5 to 12.7, written down once more and fed with the agent's own steps."""
    more = f'policy = "random"\ntrace_decay = {decay}\nlearning_rate = {rate}\ngamma = 0.9'
    learner = make(SLIPPERY, more, "env_steps = 400", agents=2)
    learner.begin()
    learner.advance(400)
    values, z, met = np.zeros(16), np.zeros(16), np.zeros(16)
    for step in learner.live(0).steps:
        z = z * 0.9 * decay if step.t else np.zeros(16)
        s = step.observation
        z[s] += 1
        met[s] += 1
        alpha = 1 / np.maximum(met, 1) if rate == '"1/n"' else float(rate)
        following = 0.0 if step.terminated else values[step.next_observation]
        error = step.reward + 0.9 * following - values[s]
        assert step.error == pytest.approx(error)
        assert step.step_size == pytest.approx((alpha * z)[s])
        values += alpha * error * z
    np.testing.assert_allclose(learner.tables.values[0], values, atol=1e-9)
    assert z.max() > 0 and learner.counters.updates == 400


def test_td_lambda_without_decay_is_td_0() -> None:
    plain, traced = (make(SLIPPERY, more, "episodes = 40") for more in ("n = 1", "trace_decay = 0"))
    finish(plain)
    finish(traced)
    assert (plain.tables.values == traced.tables.values).all()


def test_where_no_state_comes_up_twice_lambda_1_is_monte_carlo() -> None:
    follow = "policy = {right = 1.0}\ninitial_value = 0.5\n"
    whole, traced = (
        make(CHAIN, follow + more, "episodes = 1") for more in ("n = 10_000", "trace_decay = 1")
    )
    finish(whole)
    finish(traced)
    np.testing.assert_allclose(traced.tables.values, whole.tables.values, atol=1e-12)
    assert (traced.tables.values != 0.5).any()


# ---------------------------------------------------------------- Sutton & Barto, figure 7.2

TRUE_VALUES = np.arange(-18, 19, 2) / 20


def walk_errors(n: int, alpha: float, seed: int) -> np.ndarray[Any, Any]:
    """RMS error over the 19 states, averaged over the first 10 episodes, of 200 agents."""
    settings = (
        f"policy = {{left = 0.5, right = 0.5}}\nn = {n}\nlearning_rate = {alpha}\ngamma = 1.0"
    )
    learner = make(CHAIN, settings, "episodes = 10", agents=200, seed=seed)
    np.testing.assert_allclose(learner.truth[0][1:-1], TRUE_VALUES, atol=1e-9)
    errors = []
    for learner.episode_limit in range(1, 11):
        while not learner.done:
            learner.advance(100_000)
        errors.append(learner.value_errors())
    return np.mean(errors, axis=0)


def plain_walk_errors(n: int, alpha: float, seed: int) -> np.ndarray[Any, Any]:
    """The same, by the box of section 7.1 written down once more."""
    random, errors = np.random.default_rng(seed), []
    for _ in range(200):
        values, of_run = np.zeros(21), []
        for _ in range(10):
            states = [10]
            while 0 < states[-1] < 20:
                states.append(states[-1] + int(random.choice((-1, 1))))
            end, reward = len(states) - 1, 1.0 if states[-1] == 20 else -1.0
            for tau in range(end):
                target = reward if tau + n >= end else values[states[tau + n]]
                values[states[tau]] += alpha * (target - values[states[tau]])
            of_run.append(np.sqrt(np.mean((values[1:20] - TRUE_VALUES) ** 2)))
        errors.append(np.mean(of_run))
    return np.array(errors)


FIGURE_7_2 = {(1, 0.8): 0.345, (2, 0.6): 0.277, (4, 0.4): 0.264, (8, 0.3): 0.285, (64, 0.1): 0.44}
"""(n, α): the figure's error near the best α of each n, which this reproduces to ±0.02."""


@pytest.mark.parametrize(("n", "alpha"), FIGURE_7_2)
def test_the_random_walk_has_the_errors_of_figure_7_2(n: int, alpha: float) -> None:
    ours, plain = walk_errors(n, alpha, seed=1), plain_walk_errors(n, alpha, seed=1)
    deviation = np.sqrt(ours.var() / ours.size + plain.var() / plain.size)
    assert abs(ours.mean() - plain.mean()) < 4 * deviation
    assert ours.mean() == pytest.approx(FIGURE_7_2[n, alpha], abs=0.02)


def test_an_intermediate_n_is_best_on_the_random_walk() -> None:
    """n = 4 at α = 0.4 beats n = 1 at any α, and both ends are worse than the middle."""
    four = walk_errors(4, 0.4, seed=2)
    for other in [*(walk_errors(1, a, seed=2) for a in (0.6, 0.7, 0.8, 0.9, 1.0))]:
        assert four.mean() + 0.05 < other.mean()
    assert four.mean() + 0.1 < walk_errors(64, 0.1, seed=2).mean()
