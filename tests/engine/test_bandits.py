"""Bandits: their updates, where they can be used, and figures 2.2 to 2.6 of Sutton & Barto."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from bandit_tools import ARMS, Curves, book, make, ours
from gymnasium.utils.env_checker import check_env

import engine.env.gymnasium_env  # noqa: F401  (registers the env)
from engine import presets
from engine.core.errors import UserError
from engine.env.bandit import BEST, FIRST, OTHER, BanditEnv
from engine.env.mdp import MDP
from engine.env.walk import Walk
from engine.exact.solve import solve
from engine.learning.events import Step
from engine.tabular.kernels.environment import Limits
from engine.tabular.kernels.rng import normal, seed_streams

EPSILON = 'name = "bandit"\nexploration = {{kind = "epsilon-greedy", start = {}}}'
UCB = 'name = "bandit"\nexploration = {{kind = "ucb", c = {}}}'
GRADIENT = 'name = "gradient-bandit"\nlearning_rate = {}\nbaseline = {}'
OPTIMISTIC = EPSILON.replace("{}", "0.0") + "\nlearning_rate = 0.1\ninitial_value = {}"


# ---------------------------------------------------------------- the environment


def test_the_env_is_what_gymnasium_expects() -> None:
    env: Any = gymnasium.make("Bandit-v0", render_mode="ansi", problems=3).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    state, info = env.reset(seed=0)
    assert info == {"prob": 1 / 3} and env.render() == f"problem {state - FIRST + 1}: pull an arm\n"
    best = int(env.q[state - FIRST].argmax())
    landing, _, terminated, truncated, _ = env.step(best)
    assert (landing, terminated, truncated) == (BEST, True, False)
    assert env.render() == "the best arm was pulled\n"
    env.reset(seed=1)
    assert env.step((best + 1) % ARMS)[0] in (BEST, OTHER)


def test_rewards_are_spread_around_what_an_arm_is_worth() -> None:
    env = BanditEnv(problems=2000, mean=4.0, seed=1)
    assert env.q.shape == (2000, ARMS)
    assert env.q.mean() == pytest.approx(4.0, abs=0.03) and env.q.std() == pytest.approx(
        1, abs=0.02
    )
    mdp: MDP = make('name = "bandit"', kwargs="noise = 0.5").worlds.mdps[0]
    assert mdp.noise == 0.5
    expected = mdp.reward[FIRST, :, 0]
    assert expected == pytest.approx(BanditEnv().q[0]), "the table holds what is expected"
    solution = solve(mdp, 1.0)
    assert solution.values[FIRST] == pytest.approx(expected.max())
    assert mdp.success[FIRST, :, 0].tolist() == (expected == expected.max()).tolist()
    walk, paid = Walk(mdp, 1.0, seed=0), []
    for _ in range(400):
        walk.restart()
        paid.append(walk.move(2).reward)
    assert np.mean(paid) == pytest.approx(expected[2], abs=4 * 0.5 / 20)
    assert np.std(paid) == pytest.approx(0.5, abs=0.1)


def test_the_numbers_of_kernels_are_normal() -> None:
    (state,) = seed_streams(0, 1)
    with np.errstate(over="ignore"):
        drawn = np.array([normal(state) for _ in range(4000)])
    assert abs(drawn.mean()) < 4 / 4000**0.5 and drawn.std() == pytest.approx(1, abs=0.05)
    assert (np.abs(drawn) < 1).mean() == pytest.approx(0.6827, abs=4 * 0.0074)
    assert (drawn**3).mean() == pytest.approx(0, abs=0.25)
    assert (drawn**4).mean() == pytest.approx(3, abs=0.7)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ("arms = 1", "arms is 1; expected a whole number from 2 to 1000"),
        ("problems = 0.5", r"problems is 0\.5"),
        ("noise = -1.0", r"noise is -1\.0; expected a number from 0 "),
        ("mean = 1e9", "mean is 1000000000"),
        ("seed = -1", "seed is -1"),
    ],
)
def test_impossible_bandits_are_refused(kwargs: str, says: str) -> None:
    with pytest.raises(UserError, match=f"maze.gymnasium: Bandit-v0 .*{says}"):
        make('name = "bandit"', kwargs=kwargs)


@pytest.mark.parametrize("name", ["bandit", "gradient-bandit"])
def test_a_bandit_is_refused_where_an_episode_goes_on(name: str) -> None:
    text = (
        f"title = 't'\n[maze]\nmap = 'SFG'\n[budget]\nenv_steps = 9\n[algorithm]\nname = '{name}'"
    )
    with pytest.raises(UserError, match=rf"{name} learns what one action pays.*'Bandit-v0'"):
        presets.parse(text)


def test_language_models_are_refused_noisy_rewards() -> None:
    text = """title = "t"
[maze]
gymnasium = "Bandit-v0"
[model]
name = "smollm2-135m"
[algorithm]
name = "grpo"
[budget]
updates = 1"""
    with pytest.raises(UserError, match=r"Bandit-v0 adds noise to its rewards.*the \[model\]"):
        presets.parse(text)


# ---------------------------------------------------------------- the updates


def steps_of(learner: Any, n: int) -> tuple[Step, ...]:
    learner.begin()
    learner.advance(n)
    return tuple(learner.live(0).steps)


@pytest.mark.slow
@pytest.mark.parametrize("rate", ['"1/n"', "0.1"])
def test_values_are_averages_of_what_each_arm_paid(rate: str) -> None:
    learner = make(f"{EPSILON.format(0.3)}\nlearning_rate = {rate}\ninitial_value = 2.0")
    steps = steps_of(learner, 300)
    q, paid = np.full(ARMS, 2.0), [[] for _ in range(ARMS)]  # type: ignore[var-annotated]
    for step in steps:
        assert step.terminated and step.bootstrap == 0.0 and step.target == step.reward
        assert step.before == pytest.approx(q[step.action])
        paid[step.action].append(step.reward)
        alpha = 1 / len(paid[step.action]) if rate == '"1/n"' else 0.1
        q[step.action] += alpha * (step.reward - q[step.action])
    np.testing.assert_allclose(learner.tables.q[0, FIRST], q)
    if rate == '"1/n"':
        np.testing.assert_allclose(q, [np.mean(each) for each in paid])
    told = learner.algorithm.explain(steps[-1], learner.worlds.mazes[0].actions)
    assert f"{steps[-1].after:.4g}" in told.numbers and f"arm {steps[-1].action}" in told.words


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [True, False])
def test_preferences_follow_equation_2_12(baseline: bool) -> None:
    learner = make(GRADIENT.format(0.2, str(baseline).lower()))
    h, rewards = np.zeros(ARMS), []  # type: ignore[var-annotated]
    for step in steps_of(learner, 200):
        pi = np.exp(h) / np.exp(h).sum()
        np.testing.assert_allclose(step.probabilities, pi, rtol=1e-9)
        usual = (np.mean(rewards) if rewards else step.reward) if baseline else 0.0
        assert step.advantage_estimate == pytest.approx(step.reward - usual)
        h += 0.2 * (step.reward - usual) * (np.eye(ARMS)[step.action] - pi)
        rewards.append(step.reward)
        told = learner.algorithm.explain(step, learner.worlds.mazes[0].actions)
        assert "arm" in told.words and ("no baseline" in told.words) != baseline
        moved = np.exp(h) / np.exp(h).sum()
        np.testing.assert_allclose(step.probabilities_after, moved, rtol=1e-9)
    np.testing.assert_allclose(learner.tables.theta[0, FIRST], h, rtol=1e-9)


def pieces(learner: Any, steps: int) -> tuple[Any, ...]:
    """What a kernel is called with."""
    limits = Limits(steps, 2**62, 2**62)
    return (
        *(learner.env, learner.agents, learner.tables, learner.hyperparameters, learner.trace),
        limits,
    )


def test_grpo_on_one_prompt_is_a_gradient_bandit_with_the_mean_of_its_group() -> None:
    """Before its first step: the gradient of GRPO's loss on a group of pulls is the sum of what
    equation 2.12 would move, with the group's mean as baseline, over G and the group's std."""
    grpo = 'name = "grpo"\ngroup_size = 8\nepochs = 1\nnormalise = {}'
    for normalise in (True, False):
        learner = make(grpo.format(str(normalise).lower()))
        with np.errstate(over="ignore"):  # as it is written: compiling GRPO takes longer
            learner.algorithm.kernel(*pieces(learner, 8))
        rewards, arms = learner.tables.rewards[0, :8], learner.tables.actions[0, :8]
        pi = np.full(ARMS, 1 / ARMS)
        moves = (rewards - rewards.mean())[:, None] * (np.eye(ARMS)[arms] - pi)
        spread = rewards.std(ddof=1) + 1e-4 if normalise else 1.0
        gradient = -learner.tables.theta_gradient[0, FIRST]
        np.testing.assert_allclose(gradient, moves.mean(axis=0) / spread, atol=1e-12)
        assert learner.agents.updates[0] == 1 and np.abs(gradient).max() > 0.01


# ---------------------------------------------------------------- the book's figures


def same(one: Curves, other: Curves) -> None:
    """Our kernel and NumPy agree: in the mean of each agent over all pulls, by four standard errors
    of the difference; and in the curves, by tenths of the run."""
    error = np.hypot(
        *(each.of_agent.std(ddof=1) / len(each.of_agent) ** 0.5 for each in (one, other))
    )
    assert abs(one.of_agent.mean() - other.of_agent.mean()) < 4 * error
    tenths = [np.reshape(each.optimal, (10, -1)).mean(axis=1) for each in (one, other)]
    np.testing.assert_allclose(*tenths, atol=4 * (2 * 0.25 / len(one.of_agent)) ** 0.5)


@pytest.mark.slow
def test_figure_2_2_greed_finds_the_best_arm_in_a_third_of_the_problems() -> None:
    greedy, tenth, hundredth = (ours(EPSILON.format(e)) for e in (0.0, 0.1, 0.01))
    for epsilon, found in ((0.0, greedy), (0.1, tenth), (0.01, hundredth)):
        same(found, book(epsilon=epsilon))
    assert greedy.late("reward") == pytest.approx(1.03, abs=0.09)  # "only about 1"
    assert greedy.late("optimal") == pytest.approx(0.36, abs=0.06)  # "approximately one-third"
    assert tenth.late("reward") == pytest.approx(1.37, abs=0.09)
    assert tenth.late("optimal") == pytest.approx(0.80, abs=0.05)
    assert 0.5 < hundredth.late("optimal") < tenth.late("optimal")
    assert hundredth.reward[:100].mean() < tenth.reward[:100].mean()  # slower
    assert tenth.optimal.max() < 0.91 + 0.02  # 1 − ε + ε/10


@pytest.mark.slow
def test_figure_2_3_optimism_explores_first_and_is_better_later() -> None:
    realistic = ours(EPSILON.format(0.1) + "\nlearning_rate = 0.1")
    optimistic = ours(OPTIMISTIC.format(5.0))
    same(realistic, book(epsilon=0.1, alpha=0.1))
    same(optimistic, book(alpha=0.1, initial=5.0))
    assert optimistic.optimal[20:60].mean() < realistic.optimal[20:60].mean()
    assert optimistic.late("optimal") > realistic.late("optimal") + 0.04
    assert optimistic.late("optimal") == pytest.approx(0.85, abs=0.04)
    spike = optimistic.optimal[10]  # every arm has disappointed once: the best the least
    assert spike > 0.3 and spike > 1.5 * np.delete(optimistic.optimal[:20], 10).max()


@pytest.mark.slow
def test_figure_2_4_an_upper_confidence_bound_beats_random_trying() -> None:
    bound, random = ours(UCB.format(2.0)), ours(EPSILON.format(0.1))
    same(bound, book(ucb=2.0))
    assert bound.late("reward") > random.late("reward") + 0.06
    assert bound.reward[10] > bound.reward[11:16].max() + 0.1  # the spike at the eleventh pull
    assert np.abs(bound.reward[:10]).max() < 0.12  # each arm once


@pytest.mark.slow
def test_figure_2_5_without_a_baseline_rewards_around_4_disturb_the_gradient() -> None:
    late = {}
    for alpha in (0.1, 0.4):
        for baseline in (True, False):
            found = ours(GRADIENT.format(alpha, str(baseline).lower()), mean=4.0, every=100)
            same(found, book(gradient=alpha, baseline=baseline, mean=4.0))
            late[alpha, baseline] = found.late("optimal")
    assert late[0.1, True] > late[0.4, True] > late[0.1, False] > late[0.4, False]
    assert late[0.1, True] == pytest.approx(0.84, abs=0.05)
    assert late[0.4, False] < 0.4


PARAMETERS: dict[str, tuple[tuple[float, ...], Any, Any]] = {
    "ε-greedy": (
        (1 / 128, 1 / 16, 1 / 4),
        lambda x: EPSILON.format(x), lambda x: {"epsilon": x},
    ),
    "gradient": (
        (1 / 32, 1 / 4, 2.0),
        lambda x: GRADIENT.format(x, "true"), lambda x: {"gradient": x},
    ),
    "UCB": ((1 / 16, 1.0, 4.0), lambda x: UCB.format(x), lambda x: {"ucb": x}),
    "optimistic": (
        (1 / 4, 1.0, 4.0),
        lambda x: OPTIMISTIC.format(x), lambda x: {"initial": x, "alpha": 0.1},
    ),
}  # fmt: skip
"""Figure 2.6: the parameter of each method, at its ends and near its best."""
STUDIED = 500
"""Problems for each point of the figure."""


@pytest.mark.slow
def test_figure_2_6_each_method_is_best_at_a_middling_parameter_and_ucb_is_best_of_all() -> None:
    best: dict[str, float] = {}
    for name, (values, settings, arguments) in PARAMETERS.items():
        found = [ours(settings(x), agents=STUDIED, every=100) for x in values]
        for x, each in zip(values, found, strict=True):
            same(each, book(**arguments(x), agents=STUDIED))
        low, middle, high = (each.of_agent.mean() for each in found)
        assert middle > low and middle > high, name
        best[name] = float(middle)
    assert max(best, key=best.__getitem__) == "UCB"
    assert min(best, key=best.__getitem__) == "ε-greedy"
    assert best["UCB"] == pytest.approx(1.48, abs=0.09)
