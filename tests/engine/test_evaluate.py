"""Exact evaluation against plain dynamic programming and simulation."""

import numpy as np
import pytest

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.settings import MazeSettings, Rewards
from engine.exact.evaluate import evaluate, greedy, horizon_optimum, optimal_figures, state_values
from engine.exact.solve import solve

FOUR = "SFFF\nFHFH\nFFFH\nHFFG"
PAY = Rewards(goal=2, hole=-1, step=-0.1, bump=-0.05, bonus=0.3)
WORLDS = {
    "lake": {"map": FOUR, "slip": 2 / 3, "max_steps": 40},
    "starts": {
        "map": "SFBH\nF#FS\nHFFG",
        "slip": 0.3,
        "fall": "restart",
        "rewards": PAY,
        "max_steps": 23,
    },
    "windy": {"map": "FFFF\nSFFG\nFFFF", "wind": [0, 1, 0, 0], "rewards": PAY, "max_steps": 17},
    "aliased": {
        "map": FOUR,
        "slip": 0.2,
        "observation": "neighbourhood",
        "rewards": PAY,
        "max_steps": 33,
    },
    "large": {"size": 20, "slip": 0.1, "rewards": PAY, "max_steps": 50, "hole_density": 0.05},
    "cliff": {"gymnasium": "CliffWalking-v1", "max_steps": 60},
}


def world(name):
    return build_mdp(build_mazes(MazeSettings(**WORLDS[name]))[0][1])


def some_policies(mdp, n, seed=0):
    rng = np.random.default_rng(seed)
    soft = rng.dirichlet(np.full(mdp.n_actions, 0.5), (n, mdp.n_observations))
    soft[0] = np.eye(mdp.n_actions)[rng.integers(mdp.n_actions, size=mdp.n_observations)]
    soft[1] = 1 / mdp.n_actions
    return soft


def by_hand(mdp, policy, gamma, max_steps):
    """(success, return, score, length) by backward recursion, one branch at a time."""
    zero = np.zeros((mdp.n_states, 4))
    ahead = zero
    for _ in range(max_steps):
        now = zero.copy()
        for s in range(mdp.n_states):
            for a in range(mdp.n_actions):
                for k in range(mdp.n_branches):
                    p = policy[mdp.observation[s], a] * mdp.probability[s, a, k]
                    if p == 0:
                        continue
                    r = mdp.reward[s, a, k]
                    step = np.array([mdp.success[s, a, k], r, r, 1.0])
                    if not mdp.terminal[s, a, k]:
                        step = step + ahead[mdp.next_state[s, a, k]] * [1, gamma, 1, 1]
                    now[s] += p * step
        ahead = now
    return mdp.start @ ahead


def figures(evaluation):
    return np.stack(
        [
            evaluation.success_rate,
            evaluation.expected_return,
            evaluation.expected_score,
            evaluation.expected_length,
        ],
        axis=-1,
    )


@pytest.mark.parametrize("name", ["lake", "starts", "windy", "aliased", "cliff"])
def test_figures_equal_plain_dynamic_programming(name):
    mdp = world(name)
    policies = some_policies(mdp, 3)
    exact = figures(evaluate(mdp, policies, 0.95))
    for policy, found in zip(policies, exact, strict=True):
        assert np.allclose(found, by_hand(mdp, policy, 0.95, mdp.max_steps), atol=1e-12)


@pytest.mark.parametrize("horizon", [0, 1, 15, 16, 17, 32, 33])
def test_any_horizon(horizon):
    mdp = world("lake")
    policies = some_policies(mdp, 2)
    exact = figures(evaluate(mdp, policies, 0.9, horizon))
    for policy, found in zip(policies, exact, strict=True):
        assert np.allclose(found, by_hand(mdp, policy, 0.9, horizon), atol=1e-12)


@pytest.mark.parametrize("name", WORLDS)
def test_dense_and_sparse_ways_agree(name, monkeypatch):
    import engine.exact.evaluate as module

    mdp = world(name)
    policies = some_policies(mdp, 4)
    usual = figures(evaluate(mdp, policies, 0.97))
    monkeypatch.setattr(module, "AT_ONCE", 0)
    assert np.allclose(figures(evaluate(mdp, policies, 0.97)), usual, atol=1e-12)
    monkeypatch.setattr(module, "SMALL", 0)
    assert np.allclose(figures(evaluate(mdp, policies, 0.97)), usual, atol=1e-12)
    monkeypatch.setattr(module, "SMALL", 10**6)
    assert np.allclose(figures(evaluate(mdp, policies, 0.97)), usual, atol=1e-12)


@pytest.mark.parametrize("horizon", [1000, 1001, 1023, 1024])
@pytest.mark.parametrize("gamma", [0.9, 0.999, 1.0])
def test_going_round_in_circles_is_summed_to_the_end(horizon, gamma):
    """Right, left, right, left … until the limit: one step in two pays."""
    mdp = build_mdp(build_mazes(MazeSettings(map="SBG", rewards=Rewards(bonus=1)))[0][1])
    policy = np.eye(4)[[2, 0, 0]]
    found = evaluate(mdp, policy, gamma, horizon)
    paid = np.arange(horizon) % 2 == 0
    assert found.expected_score == pytest.approx(paid.sum())
    assert found.expected_return == pytest.approx((gamma ** np.arange(horizon))[paid].sum())
    assert (found.expected_length, found.success_rate) == (pytest.approx(horizon), 0)


@pytest.mark.parametrize("name", ["lake", "starts", "aliased"])
def test_figures_agree_with_simulation(name):
    mdp = world(name)
    policy = some_policies(mdp, 3, seed=3)[2]
    rng = np.random.default_rng(11)
    n, gamma = 20_000, 0.95
    state = rng.choice(mdp.n_states, n, p=mdp.start)
    alive = np.ones(n, dtype=bool)
    sums = np.zeros((4, n))
    for t in range(mdp.max_steps):
        pi = policy[mdp.observation[state]]
        action = (rng.random((n, 1)) > pi.cumsum(axis=1)[:, :-1]).sum(axis=1)
        chance = mdp.probability[state, action].cumsum(axis=1)
        k = (rng.random((n, 1)) > chance[:, :-1]).sum(axis=1)
        where = (state, action, k)
        reward = np.where(alive, mdp.reward[where], 0)
        sums += [alive & mdp.success[where], gamma**t * reward, reward, alive]
        alive = alive & ~mdp.terminal[where]
        state = mdp.next_state[where]
    error = sums.std(axis=1) / n**0.5
    assert (np.abs(sums.mean(axis=1) - figures(evaluate(mdp, policy, gamma))) < 5 * error).all()


def test_batches_of_any_shape_and_repeated_policies():
    mdp = world("lake")
    policies = some_policies(mdp, 3)
    grid = policies[[0, 1, 2, 0, 0, 1]].reshape(2, 3, 16, 4)
    found = evaluate(mdp, grid, 0.9).expected_return
    singles = np.array([evaluate(mdp, policy, 0.9).expected_return for policy in policies])
    assert found.shape == (2, 3)
    assert np.allclose(found.ravel(), singles[[0, 1, 2, 0, 0, 1]], atol=1e-15)


def test_the_state_is_seen_by_state_policies_only():
    mdp = world("aliased")
    solution = solve(mdp, 0.99)
    assert (mdp.observation != np.arange(mdp.n_states)).any()
    found = evaluate(mdp, solution.policy, 0.99, 2000, by_state=True)
    assert found.expected_return == pytest.approx(mdp.start @ solution.values, abs=1e-8)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_the_horizon_optimum_bounds_every_policy(name, gamma):
    mdp = world(name)
    best = optimal_figures(mdp, gamma)
    assert best.horizon_optimum >= best.optimal_return - 1e-12
    others = evaluate(mdp, some_policies(mdp, 5), gamma).expected_return
    assert (others <= best.horizon_optimum + 1e-12).all()
    far = horizon_optimum(mdp, gamma, 20_000)
    assert far == pytest.approx(mdp.start @ solve(mdp, gamma).values, abs=1e-9)


def test_the_clock_is_worth_something():
    best = optimal_figures(world("lake"), 0.99)
    assert best.horizon_optimum > best.optimal_return + 1e-4


@pytest.mark.parametrize("name", WORLDS)
def test_state_values_are_the_limit_of_the_return(name):
    mdp = world(name)
    policy = some_policies(mdp, 2)[1]
    values = state_values(mdp, policy, 0.9)
    far = evaluate(mdp, policy, 0.9, 2000)
    assert mdp.start @ values == pytest.approx(float(far.expected_return), abs=1e-9)
    assert not values[~solve(mdp, 0.9).reachable].any()


def test_state_values_without_discounting():
    mdp = build_mdp(build_mazes(MazeSettings(map="SFG", rewards=Rewards(step=-1)))[0][1])
    onward = np.eye(4)[[2, 2, 2]]
    assert state_values(mdp, onward, 1.0)[:2].tolist() == [-1, 0]
    with pytest.raises(UserError, match="this policy never ends"):
        state_values(mdp, np.eye(4)[[0, 0, 0]], 1.0)
    unpaid = build_mdp(build_mazes(MazeSettings(map="SFG"))[0][1])
    assert state_values(unpaid, np.eye(4)[[0, 0, 0]], 1.0).tolist() == [0, 0, 0]


def test_greedy_shares_exact_ties():
    assert greedy([[1.0, 2.0, 2.0, 0.0], [0, 0, 0, 0]]).tolist() == [[0, 0.5, 0.5, 0], [0.25] * 4]
