"""Linear prediction: the online λ-return, step by step; off-policy TD; Baird's counterexample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from engine import factory, presets
from engine.core.errors import UserError
from engine.env.baird import DASHED, LOWER, N_STATES, SOLID, UPPER
from engine.env.registration import BAIRD, register
from engine.learning.events import AnyEvent, Note, Step, Update
from engine.tabular.kernels.features import describe

pytestmark = pytest.mark.slow

LAKE = 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\nslip = 0.3\nmax_steps = 12\nrewards = {step = -0.1}'
WALK = 'map = "HFFFFFFFFFSFFFFFFFFFG"\nmax_steps = 10_000\nrewards = {hole = -1.0, goal = 1.0}'
OFF_POLICY = """
features = "own"
policy = {solid = 1.0}
behaviour = {dashed = 0.857142857142857, solid = 0.142857142857143}
gamma = 0.99
"""
Table = np.ndarray[Any, Any]


def make(
    name: str, settings: str, maze: str = LAKE, budget: str = "env_steps = 800", agents: int = 2
) -> Any:
    text = f'title = "t"\n[maze]\n{maze}\n[algorithm]\nname = "{name}"\n{settings}\n'
    text += f"[budget]\n{budget}\n[run]\nagents = {agents}\nseed = 7\n"
    return factory.make_learner(presets.parse(text))


def baird(settings: str, steps: int, agents: int) -> Any:
    return make(
        "linear-td", OFF_POLICY + settings, f'gymnasium = "{BAIRD}"', f"env_steps = {steps}", agents
    )


def run(learner: Any) -> list[AnyEvent]:
    events: list[AnyEvent] = learner.begin()
    while not learner.done:
        events += learner.advance(10**6)
    return events


def last_metrics(events: list[AnyEvent]) -> dict[str, Any]:
    return [event for event in events if isinstance(event, Update)][-1].metrics


# ---------------------------------------------------------------- true online TD(λ)


def lambda_return(
    steps: list[Step], t: int, x: Table, online: list[Table], gamma: float, decay: float
) -> float:
    """G_{t:h}^λ with h = len(steps) (12.9). G_{t:t+n} ends with v̂(S_{t+n}, w_{t+n-1}) (12.1)."""
    h, total, paid = len(steps), 0.0, 0.0
    for n in range(1, h - t + 1):
        newest = steps[t + n - 1]
        paid += gamma ** (n - 1) * newest.reward
        ahead = 0.0 if newest.terminated else float(x[newest.next_observation] @ online[t + n - 1])
        full = t + n == h
        weight = decay ** (n - 1) * (1.0 if full else 1.0 - decay)
        total += weight * (paid + gamma**n * ahead)
    return total


@pytest.mark.parametrize("features", ["cell", "row+column", "tiles"])
@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_true_online_td_is_the_online_lambda_return_at_every_step(
    features: str, decay: float
) -> None:
    """Section 12.4 as it is written: at each step every update of the episode is made anew."""
    settings = f'features = "{features}"\ntrace_decay = {decay}\nlearning_rate = 0.3\ngamma = 0.9\n'
    learner = make("true-online-td", settings, budget="env_steps = 150", agents=1)
    learner.begin()
    x = describe(learner.settings, learner.worlds.mazes, 16).matrix()
    start = np.zeros(x.shape[1])
    online, episode = [start], list[Step]()
    for count in range(150):
        before = learner.tables.w[0].copy()
        learner.advance(1)
        (step,) = learner.live(count).steps
        episode.append(step)
        w = start.copy()
        for t, past in enumerate(episode):
            g = lambda_return(episode, t, x, online, 0.9, decay)
            w += 0.3 * (g - x[past.observation] @ w) * x[past.observation]
        online.append(w)
        np.testing.assert_allclose(learner.tables.w[0], w, rtol=0.0, atol=1e-12)
        assert step.before == pytest.approx(x[step.observation] @ before, abs=1e-12)
        assert step.after == pytest.approx(x[step.observation] @ w, abs=1e-12)
        if step.terminated or step.truncated:
            start, online, episode = w, [w], []
    assert np.abs(start).max() > 0.1


def test_with_lambda_0_and_a_feature_for_each_cell_it_is_td_0() -> None:
    common = "learning_rate = 0.2\npolicy = {left = 0.2, down = 0.3, right = 0.3, up = 0.2}\n"
    plain = make("td-0", common)
    run(plain)
    cell = f'{common}features = "cell"\n'
    for name, more in (
        ("true-online-td", "trace_decay = 0.0"),
        ("linear-td", "behaviour = {left = 0.2, down = 0.3, right = 0.3, up = 0.2}"),
    ):
        linear = make(name, cell + more)
        run(linear)
        np.testing.assert_allclose(linear.tables.w, plain.tables.values, rtol=0.0, atol=1e-13)
        assert (linear.agents.random == plain.agents.random).all()


def test_with_large_steps_it_stays_near_the_truth_where_td_lambda_runs_away() -> None:
    """The random walk of figure 12.8, at λ = 0.9 and α = 0.9."""
    walk = (
        "policy = {left = 0.5, right = 0.5}\ngamma = 1.0\ntrace_decay = 0.9\nlearning_rate = 0.9\n"
    )
    exact = make("true-online-td", f'{walk}features = "cell"', WALK, "episodes = 10", 100)
    plain = make("td-0", walk, WALK, "episodes = 10", 100)
    errors = [last_metrics(run(learner))["value_rmse"] for learner in (exact, plain)]
    assert errors[0].mean < 0.5 and errors[1].low > 10


# ---------------------------------------------------------------- off-policy TD(0)


def test_off_policy_td_weighs_each_update_by_the_ratio() -> None:
    settings = "policy = {left = 0.1, down = 0.5, right = 0.4}\nbehaviour = 'random'\ngamma = 0.9\n"
    learner = make("linear-td", f"{settings}learning_rate = 0.2\ntarget_every = 7", agents=1)
    run(learner)
    x = describe(learner.settings, learner.worlds.mazes, 16).matrix()
    w = np.zeros(x.shape[1])
    still = w.copy()
    pi = np.array([0.1, 0.5, 0.4, 0.0])
    for count, step in enumerate(learner.live(0).steps, 1):
        ahead = 0.0 if step.terminated else x[step.next_observation] @ still
        error = step.reward + 0.9 * ahead - x[step.observation] @ w
        assert step.error == pytest.approx(error, abs=1e-12)
        assert step.log_prob == pytest.approx(np.log(0.25))
        w = w + 0.2 * pi[step.action] / 0.25 * error * x[step.observation]
        assert step.after == pytest.approx(x[step.observation] @ w, abs=1e-12)
        still = w.copy() if count % 7 == 0 else still
    np.testing.assert_allclose(learner.tables.w[0], w, rtol=0.0, atol=1e-12)


def test_without_shared_features_off_policy_td_finds_the_values_of_the_policy() -> None:
    settings = 'features = "cell"\npolicy = {down = 0.5, right = 0.5}\nbehaviour = "random"\n'
    settings += "learning_rate = {start = 0.2, end = 0.002, steps = 60_000}\ngamma = 0.9"
    learner = make("linear-td", settings, budget="env_steps = 100_000", agents=8)
    metrics = last_metrics(run(learner))
    assert metrics["value_rmse"].mean < 0.04


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("policy = {left = 1.0}\nbehaviour = {down = 1.0}", r"behaviour never takes 'left'"),
        ("behaviour = {lft = 1.0}", r"algorithm\.behaviour\.lft.*Did you mean 'left'"),
        ('features = "own"', r"features is 'own', and this maze brings no features"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(settings: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make("linear-td", settings)


def test_features_of_an_environment_that_brings_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"FrozenLake-v1 brings no array `features`"):
        make("linear-td", 'features = "own"', 'gymnasium = "FrozenLake-v1"')
    with pytest.raises(UserError, match=r"initial_value is 2 beside algorithm\.features = 'own'"):
        baird("initial_value = 2.0", 10, 1)


# ---------------------------------------------------------------- Baird's counterexample


def test_bairds_environment_is_what_gymnasium_expects() -> None:
    register()
    env: Any = gymnasium.make(BAIRD, render_mode="ansi").unwrapped
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    assert env.step(SOLID)[:4] == (LOWER, 0.0, False, False)
    assert env.render() == "1 2 3 4 5 6 [7]\n"
    assert env.step(DASHED)[0] in UPPER
    v = env.features @ np.array([1, 2, 3, 4, 5, 6, 7, 8.0])
    assert v.tolist() == [2 * i + 8 for i in range(1, 7)] + [7 + 2 * 8]
    assert np.linalg.matrix_rank(env.features) == N_STATES  # any values can be expressed


def expected_updates(steps: int, alpha: float) -> Table:
    """The weights after so many sweeps of the expected update, Sutton & Barto (11.9)."""
    x = np.zeros((7, 8))
    x[range(6), range(6)], x[:6, 7], x[6, 6], x[6, 7] = 2.0, 1.0, 1.0, 2.0
    w = np.array([1, 1, 1, 1, 1, 1, 10, 1.0])
    for _ in range(steps):
        w = w + alpha / 7 * ((0.99 * x[6] @ w - x @ w) @ x)
    return w


def test_td_runs_away_as_in_the_books_figure() -> None:
    """Figure 11.2, left: α = 0.01, 1000 steps. The expected update of its right half tells how far:
    it is the same dynamics without the noise."""
    learner = baird("learning_rate = 0.01", 1000, 400)
    events = run(learner)
    right = expected_updates(1000, 0.01)
    mean = learner.tables.w.mean(axis=0)
    assert 250 < right[7] < 400  # the figure's curve of w₈ leaves it at about 300
    assert mean[7] == pytest.approx(right[7], rel=0.25)
    assert mean[:6] == pytest.approx(right[:6], rel=0.35)
    assert (learner.tables.w[:, 7] > 50).all()
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.term == "deadly-triad" and "no policy can earn more than 0 here" in note.text
    assert "target_every" in note.remedy


def test_a_smaller_step_size_only_delays_it() -> None:
    for alpha in (0.1, 0.01, 0.001):
        w = expected_updates(round(60 / alpha), alpha)
        assert np.abs(w).max() > 1e4


def test_each_step_in_bairds_example_is_the_books_update() -> None:
    learner = baird("learning_rate = 0.01", 500, 1)
    run(learner)
    x = gymnasium.make(BAIRD).unwrapped.features  # type: ignore[attr-defined]
    w = np.array([1, 1, 1, 1, 1, 1, 10, 1.0])
    for step in learner.live(0).steps:
        rho = 7.0 if step.action == SOLID else 0.0
        error = 0.99 * x[step.next_observation] @ w - x[step.observation] @ w
        w = w + 0.01 * rho * error * x[step.observation]
    np.testing.assert_allclose(learner.tables.w[0], w, rtol=1e-9)


def test_on_policy_nothing_diverges() -> None:
    learner = baird("learning_rate = 0.05", 20_000, 8)
    learner.tables.behaviour[...] = learner.tables.policy
    events = run(learner)
    assert not [event for event in events if isinstance(event, Note)]
    values = learner.algorithm.state_values(learner.tables, learner.tables.policy)
    assert np.abs(values[:, LOWER]).max() < 0.1  # where the policy stays for good


def test_a_target_network_mends_it() -> None:
    """With each copy the error shrinks by γ: to 12 · 0.99⁵⁸⁰ < 0.05 after 580 of them."""
    learner = baird("learning_rate = 0.02\ntarget_every = 1000", 600_000, 4)
    events = run(learner)
    assert not [event for event in events if isinstance(event, Note)]
    assert last_metrics(events)["value_rmse"].high < 0.05
    assert np.abs(learner.tables.w).max() < 10


class WAnd2W(gymnasium.Env[Any, Any]):
    """Sutton & Barto, example 11.1 (Tsitsiklis and Van Roy): values w and 2w, no reward; from the
    second state an episode goes on there, or ends with chance ε."""

    def __init__(self) -> None:
        end = 0.01
        self.P = {
            0: {0: [(1.0, 1, 0.0, False)]},
            1: {0: [(1.0 - end, 1, 0.0, False), (end, 2, 0.0, True)]},
            2: {0: [(1.0, 2, 0.0, True)]},
        }
        self.features = np.array([[1.0], [2.0], [0.0]])
        self.initial_weights = np.ones(1)
        self.initial_state_distrib = np.array([0.999, 0.001, 0.0])


@pytest.fixture
def w_and_2w() -> Iterator[str]:
    gymnasium.register(id="WAnd2W-v0", entry_point=WAnd2W, max_episode_steps=2)
    try:
        yield 'gymnasium = "WAnd2W-v0"'
    finally:
        del gymnasium.registry["WAnd2W-v0"]


@pytest.mark.parametrize("target_every", [1, 200])
def test_a_target_network_is_no_guarantee(w_and_2w: str, target_every: int) -> None:
    """Cut after two steps, both states are met equally often, which no policy would do that goes
    on: off-policy in effect. Each regression multiplies w by (6 − 4ε)γ/5 > 1."""
    settings = (
        f'features = "own"\nlearning_rate = 0.05\ntarget_every = {target_every}\ngamma = 0.99'
    )
    learner = make("linear-td", settings, w_and_2w, "env_steps = 20_000", 2)
    events = run(learner)
    assert [event.term for event in events if isinstance(event, Note)] == ["deadly-triad"]
    assert np.abs(learner.tables.w).min() > 1e4
    assert np.isfinite(learner.tables.w).all()
