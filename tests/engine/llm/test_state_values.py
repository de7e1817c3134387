"""Action values from episodes: against loops, against the exact Q, and the recipe they are for."""

import numpy as np
import pytest
import torch

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.exact.evaluate import evaluate, greedy
from engine.exact.solve import Problem, open_problem
from engine.llm.algorithms import losses
from engine.llm.algorithms.surrogates import Clip, ClippedRatio
from engine.llm.tasks.cells import state_values as estimates
from engine.llm.tasks.cells.rollouts import (
    Rollouts,
    at_steps,
    even_weights,
    gather,
    importance_weights,
    mixed_with_uniform,
    sample_episodes,
    stack_mdps,
)

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
GAMMA = 0.9
MDP = build_mdp(Maze(rows=LAKE, slip=0.5, max_steps=200))
WORLDS = stack_mdps([MDP])
PI = np.random.default_rng(0).dirichlet(np.ones(4), size=16)


def sample(behaviour: np.ndarray, n: int, seed: int = 0) -> Rollouts:
    return sample_episodes(WORLDS, behaviour, n, 1, np.random.default_rng(seed), 0.5)


def exact_q(policy: np.ndarray) -> np.ndarray:
    """Q^π [O, A] by iterating the Bellman equation on the true table."""
    problem: Problem = open_problem(MDP)
    values = np.zeros(problem.states.size)
    for _ in range(400):
        q = problem.backup(values, GAMMA)
        values = (policy[problem.states] * q).sum(1)
    table = np.zeros((16, 4))
    table[problem.states] = q
    return table


def test_a_running_average_fades_by_the_decay() -> None:
    known = estimates.no_estimates(WORLDS)
    total, count = np.zeros((16, 4)), np.zeros((16, 4))
    for seed in range(3):
        r = sample(PI, 30, seed)
        targets = r.returns_to_go(GAMMA)
        known = estimates.updated(known, WORLDS, r, targets, decay=0.6)
        total, count = 0.6 * total, 0.6 * count
        for i, t in zip(*np.nonzero(r.mask), strict=True):
            total[r.observation[i, t], r.action[i, t]] += targets[i, t]
            count[r.observation[i, t], r.action[i, t]] += 1
    np.testing.assert_allclose(known.tries[0], count)
    np.testing.assert_allclose(
        known.q[0][count > 0], (total / np.where(count, count, 1))[count > 0]
    )
    np.testing.assert_array_equal(known.seen[0], count > 0)
    np.testing.assert_array_equal(known.q[0][count == 0], 0)


def test_values_and_advantages_look_at_tried_actions_only() -> None:
    known = estimates.Estimates(
        total=np.array([[[2.0, 8.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]),
        tries=np.array([[[2.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]),
    )
    pi = np.array([[0.3, 0.1, 0.2, 0.4], [0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(known.values(pi), [[(0.3 * 1 + 0.1 * 2) / 0.4, 0.0]])
    plain = known.advantages(pi)
    np.testing.assert_allclose(plain[0, 0], [-0.25, 0.75, 0.0, 0.0])
    np.testing.assert_array_equal(plain[0, 1], 0.0)
    for scale in ("global", "state"):
        size = np.sqrt((0.25**2 + 0.75**2) / 2)
        np.testing.assert_allclose(known.advantages(pi, scale), plain / size)


def test_scales_differ_where_states_do() -> None:
    advantages = np.array([[[1.0, -1.0], [0.01, -0.01], [0.0, 0.0]]])
    seen = np.ones_like(advantages, dtype=bool)
    np.testing.assert_allclose(
        estimates.scaled(advantages, seen, "state"), [[[1, -1], [1, -1], [0, 0]]]
    )
    everywhere = np.sqrt((advantages**2).mean())
    np.testing.assert_allclose(
        estimates.scaled(advantages, seen, "global"), advantages / everywhere
    )


def test_averages_of_returns_find_q_on_policy() -> None:
    r = sample(PI, 60_000)
    known = estimates.updated(
        estimates.no_estimates(WORLDS), WORLDS, r, r.returns_to_go(GAMMA), decay=0.6
    )
    often = known.tries[0] > 500
    assert often.sum() >= 30
    assert np.abs(known.q[0] - exact_q(PI))[often].max() < 0.05


def retrace_by_the_sum(
    r: Rollouts, known: estimates.Estimates, pi: np.ndarray, lambda_: float
) -> np.ndarray:
    """Munos et al. 2016, eq. 3: Q + Σ_t γ^t (Π c_i) [ r_t + γ E_π Q(x_{t+1}, ·) − Q(x_t, a_t) ]."""
    q, v = known.q[0], known.values(pi)[0]
    targets = np.zeros(r.mask.shape)
    for i in range(r.length.size):
        for first in range(r.length[i]):
            total, factor = q[r.observation[i, first], r.action[i, first]], 1.0
            for t in range(first, r.length[i]):
                o, a = r.observation[i, t], r.action[i, t]
                if t > first:
                    c = lambda_ * min(1.0, pi[o, a] / np.exp(r.log_behaviour[i, t]))
                    factor *= GAMMA * c
                over = r.terminated[i] and t == r.length[i] - 1
                ahead = 0.0 if over else GAMMA * v[r.next_observation[i, t]]
                total += factor * (r.reward[i, t] + ahead - q[o, a])
            targets[i, first] = total
    return targets


@pytest.mark.parametrize("lambda_", [1.0, 0.7])
def test_retrace_is_the_sum_of_the_paper(lambda_: float) -> None:
    r = sample(mixed_with_uniform(PI, 0.4), 40)
    rng = np.random.default_rng(1)
    known = estimates.Estimates(rng.normal(size=(1, 16, 4)), np.ones((1, 16, 4)))
    found = estimates.retrace(r, known, PI, GAMMA, lambda_)
    expected = retrace_by_the_sum(r, known, PI, lambda_)
    np.testing.assert_allclose(found[r.mask], expected[r.mask], rtol=1e-9, atol=1e-12)


def test_retrace_values_the_policy_where_returns_value_its_exploration() -> None:
    """Batches of an exploring behaviour: Retrace finds Q^π, plain returns-to-go do not."""
    pi = greedy(exact_q(np.full((16, 4), 0.25)))
    behaviour = mixed_with_uniform(pi, 0.4)
    truth = exact_q(pi)
    plain = corrected = estimates.no_estimates(WORLDS)
    for seed in range(12):
        r = sample(behaviour, 4000, seed)
        plain = estimates.updated(plain, WORLDS, r, r.returns_to_go(GAMMA), decay=0.6)
        targets = estimates.retrace(r, corrected, pi, GAMMA)
        corrected = estimates.updated(corrected, WORLDS, r, targets, decay=0.6)
    often = corrected.tries[0] > 200
    assert often.sum() >= 40
    error = np.abs(corrected.q[0] - truth)[often]
    assert error.max() < 0.06
    assert np.abs(plain.q[0] - truth)[often].mean() > 4 * error.mean()


# ------------------------------------------------------- the recipes of the slippery presets

ICE = build_mdp(Maze(rows=LAKE, slip=2 / 3))
"""FrozenLake 4×4: the optimum is 0.7402 within 100 steps."""
ICE_WORLDS = stack_mdps([ICE])


def learn(algorithm: str, seed: int, updates: int = 60) -> np.ndarray:
    """Success [updates, 2] of π and of its greedy policy: a table of logits in a model's place.

    Four passes of Adam an update fit the target only in part, as an LLM would.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    logits = (0.3 * torch.randn(16, 4, dtype=torch.float64)).requires_grad_()
    adam = torch.optim.Adam([logits], lr=0.2)
    known = estimates.no_estimates(ICE_WORLDS)
    inside = torch.tensor(ICE_WORLDS.anywhere[0])
    history = []
    for update in range(updates):
        left = max(0.0, 1 - update / (30 if algorithm == "mpo" else 40))
        explore = 0.05 + 0.15 * left
        log_old = torch.log_softmax(logits, -1).detach()
        pi = log_old.exp().numpy()
        history.append([evaluate(ICE, p, 0.99).success_rate for p in (pi, greedy(pi))])
        behaviour = mixed_with_uniform(pi, explore)
        r = sample_episodes(ICE_WORLDS, behaviour, 2048, 1, rng, random_starts=0.5)
        targets = estimates.retrace(r, known, pi, 0.99)
        known = estimates.updated(known, ICE_WORLDS, r, targets, decay=0.6)
        scale = "state" if algorithm == "mpo" else "global"
        advantages = known.advantages(pi, scale)[0]
        target = losses.mpo_target(  # it is the exploring behaviour that is improved
            torch.tensor(np.log(behaviour)), torch.tensor(advantages), 0.3, 0.1 * left
        )
        weights = even_weights(ICE_WORLDS, r) * importance_weights(r, pi)
        steps = gather(ICE_WORLDS, r, at_steps(r, advantages), weights)
        tensors = [torch.tensor(part[0], dtype=torch.float64) for part in steps]
        for _ in range(4):
            log_pi = torch.log_softmax(logits, -1)
            if algorithm == "mpo":
                loss = losses.mpo_loss(log_pi, target, inside).loss
            else:
                batch = losses.TableBatch(log_pi, log_old, *tensors)
                bonus = 0.03 + 0.57 * left
                loss = losses.table_loss(batch, ClippedRatio(Clip()), entropy=bonus).loss
            adam.zero_grad()
            loss.backward()
            adam.step()
    return np.array(history)


@pytest.mark.parametrize("seed", [0, 1])
def test_mpo_learns_the_slippery_lake_greedy_and_stochastic(seed: int) -> None:
    found = learn("mpo", seed)
    assert found[:, 1].max() >= 0.735
    assert found[:, 0].max() >= 0.70


@pytest.mark.parametrize("seed", [0, 1])
def test_grpo_with_advantages_per_state_learns_it_too(seed: int) -> None:
    found = learn("grpo", seed)
    assert found[:, 1].max() >= 0.72
    assert found[:, 0].max() >= 0.65
