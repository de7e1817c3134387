"""The kernels' gradients and updates against torch autograd on the losses as the papers write them.

Everything is float64. O observations, A actions, R steps of a rollout, G episodes of a group.
"""

import numpy as np
import pytest
import torch

from engine import factory, presets
from engine.learning.events import Step
from engine.llm.algorithms.advantages import grpo_advantages
from engine.tabular.algorithms import grpo, ppo
from engine.tabular.kernels import policy_table
from engine.tabular.kernels import surrogate as clipped_surrogate
from engine.tabular.kernels.environment import Limits, make_agents
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.gae import (
    GOES_ON,
    TERMINATED,
    TRUNCATED,
    estimate_advantages,
    group_advantages,
    standardise,
)

pytestmark = pytest.mark.llm

N_OBSERVATIONS, A = 5, 4
EXACT = {"rtol": 0.0, "atol": 1e-10}


def tensor(values: np.ndarray) -> "torch.Tensor":
    return torch.tensor(np.asarray(values, np.float64), requires_grad=True)


def log_policy(theta: "torch.Tensor", states: np.ndarray, actions: np.ndarray) -> "torch.Tensor":
    rows = torch.log_softmax(theta, -1)[torch.as_tensor(states, dtype=torch.long)]
    return rows[torch.arange(len(actions)), torch.as_tensor(actions, dtype=torch.long)]


def surrogate(ratio: "torch.Tensor", advantage: "torch.Tensor", clip: float) -> "torch.Tensor":
    """min( ρ A, clip(ρ, 1−ε, 1+ε) A )."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


# ---------------------------------------------------------------- single rows


def test_the_score_is_the_gradient_of_the_log_probability() -> None:
    rng = np.random.default_rng(0)
    for action in range(A):
        theta = tensor(rng.normal(size=A) * 3)
        torch.log_softmax(theta, 0)[action].backward()
        chances, gradient = np.zeros(A), np.zeros(A)
        policy_table.probabilities(theta.detach().numpy(), chances)
        policy_table.score(chances, action, gradient)
        np.testing.assert_allclose(gradient, theta.grad.numpy(), **EXACT)


def test_the_entropy_gradient_is_that_of_the_entropy() -> None:
    theta = tensor(np.random.default_rng(1).normal(size=A) * 2)
    log_pi = torch.log_softmax(theta, 0)
    entropy = -(log_pi.exp() * log_pi).sum()
    entropy.backward()
    chances, gradient = np.zeros(A), np.zeros(A)
    policy_table.probabilities(theta.detach().numpy(), chances)
    ours = policy_table.entropy_of(chances)
    assert ours == pytest.approx(entropy.item(), abs=1e-12)
    clipped_surrogate.add_entropy_gradient(chances, ours, -1.0, gradient)
    np.testing.assert_allclose(gradient, theta.grad.numpy(), **EXACT)


def test_log_chances_survive_an_underflow() -> None:
    logits = np.array([0.0, -2000.0, -1.0, 3.0])
    expected = torch.log_softmax(torch.tensor(logits), 0).numpy()
    ours = [clipped_surrogate.log_chance(logits, a) for a in range(A)]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


# ---------------------------------------------------------------- advantages


def naive_gae(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    ends: np.ndarray,
    gamma: float,
    lambda_: float,
) -> list[float]:
    """Σ_l (γλ)^l δ_{t+l} up to the end of the episode or the rollout, one sum for each step."""
    result = []
    for t in range(len(rewards)):
        total, weight = 0.0, 1.0
        for j in range(t, len(rewards)):
            ahead = 0.0 if ends[j] == TERMINATED else next_values[j]
            total += weight * (rewards[j] + gamma * ahead - values[j])
            weight *= gamma * lambda_
            if ends[j] != GOES_ON:
                break
        result.append(total)
    return result


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 0.95, 1.0])
def test_gae_equals_the_naive_sums(lambda_: float) -> None:
    rng = np.random.default_rng(2)
    size, gamma = 40, 0.9
    rewards, values, next_values = rng.normal(size=(3, size))
    ends = rng.choice([GOES_ON, TERMINATED, TRUNCATED], size=size, p=[0.7, 0.15, 0.15])
    assert {GOES_ON, TERMINATED, TRUNCATED} == set(ends.tolist())
    next_values[ends == TERMINATED] = 0.0
    estimates, targets = np.zeros(size), np.zeros(size)
    estimate_advantages(rewards, values, next_values, ends, gamma, lambda_, estimates, targets)
    expected = naive_gae(rewards, values, next_values, ends, gamma, lambda_)
    np.testing.assert_allclose(estimates, expected, atol=1e-12)
    np.testing.assert_allclose(targets, estimates + values, atol=1e-12)


def test_standardised_advantages_have_mean_0_and_spread_1() -> None:
    numbers = np.random.default_rng(3).normal(3.0, 2.0, size=50)
    before = numbers.copy()
    assert standardise(numbers, False) == pytest.approx(before.std())
    assert (numbers == before).all()
    standardise(numbers, True)
    np.testing.assert_allclose(numbers, (before - before.mean()) / (before.std() + 1e-8))


def test_a_group_is_measured_against_itself() -> None:
    returns, relative = np.array([1.0, 0.0, 0.25, 0.0]), np.zeros(4)
    mean, spread = group_advantages(returns, True, relative)
    assert (mean, spread) == pytest.approx((returns.mean(), returns.std(ddof=1)))
    expected = (returns - returns.mean()) / (returns.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(relative, expected)
    np.testing.assert_allclose(relative, grpo_advantages(returns[None])[0])  # that of LLMs
    group_advantages(returns, False, relative)
    np.testing.assert_allclose(relative, returns - returns.mean())


# ---------------------------------------------------------------- PPO's and GRPO's losses


def ppo_case(seed: int) -> tuple[ppo.PPOTables, ppo.PPOHyperparameters]:
    """A rollout whose policy has moved away since: every case of sign and clip occurs."""
    rng = np.random.default_rng(seed)
    settings = ppo.PPOSettings(rollout_steps=60, clip=0.2, entropy_coefficient=0.03)
    tables = ppo.ALGORITHM.make_tables(settings, Size(1, N_OBSERVATIONS, A))
    tables.theta[0], tables.v[0] = (
        rng.normal(size=(N_OBSERVATIONS, A)),
        rng.normal(size=N_OBSERVATIONS),
    )
    tables.states[0], tables.actions[0] = (
        rng.integers(N_OBSERVATIONS, size=60),
        rng.integers(A, size=60),
    )
    tables.estimates[0], tables.targets[0] = rng.normal(size=(2, 60))
    old = tensor(tables.theta[0] + 0.6 * rng.normal(size=(N_OBSERVATIONS, A)))
    tables.log_probs[0] = log_policy(old, tables.states[0], tables.actions[0]).detach().numpy()
    tables.order[0] = rng.permutation(60)
    tables.figures[:] = 0.0
    return tables, ppo.ALGORITHM.make_hyperparameters(settings)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppos_gradient_is_that_of_its_loss(seed: int) -> None:
    tables, hyperparameters = ppo_case(seed)
    first, last = 7, 49  # a minibatch
    ppo.ppo_gradient(tables, hyperparameters, 0, first, last)
    batch = tables.order[0, first:last]
    states, actions = tables.states[0, batch], tables.actions[0, batch]
    theta, v = tensor(tables.theta[0]), tensor(tables.v[0])
    log_ratio = log_policy(theta, states, actions) - torch.tensor(tables.log_probs[0, batch])
    advantage = torch.tensor(tables.estimates[0, batch])
    ratio = log_ratio.exp()
    outside = (ratio.detach() - 1).abs() > hyperparameters.clip
    for side in (ratio > 1 + hyperparameters.clip, ratio < 1 - hyperparameters.clip):
        assert (side & (advantage > 0)).any() and (side & (advantage < 0)).any()
    log_pi = torch.log_softmax(theta, -1)[torch.as_tensor(states, dtype=torch.long)]
    entropy = -(log_pi.exp() * log_pi).sum(-1)
    loss = -(
        surrogate(ratio, advantage, hyperparameters.clip) + hyperparameters.entropy * entropy
    ).mean()
    errors = v[torch.as_tensor(states, dtype=torch.long)] - torch.tensor(tables.targets[0, batch])
    (loss + (errors**2).mean()).backward()
    np.testing.assert_allclose(tables.theta_gradient[0], theta.grad.numpy(), **EXACT)
    np.testing.assert_allclose(tables.v_gradient[0], v.grad.numpy(), **EXACT)
    figures = dict(zip(ppo.ALGORITHM.figure_names, tables.figures[0] / len(batch), strict=True))
    assert figures["clip_fraction"] == pytest.approx(outside.double().mean().item())
    assert figures["entropy"] == pytest.approx(entropy.mean().item())
    assert figures["value_loss"] == pytest.approx((errors**2).mean().item())
    k3 = ratio - 1 - log_ratio
    assert figures["approx_kl"] == pytest.approx(k3.mean().item())


def grpo_case(
    seed: int, kl: float, estimator: str = "auto", kl_in: str = "loss"
) -> tuple[grpo.GRPOTables, grpo.GRPOHyperparameters]:
    rng = np.random.default_rng(seed)
    settings = grpo.GRPOSettings(group_size=4, kl=kl, kl_estimator=estimator, kl_in=kl_in)
    tables = grpo.ALGORITHM.make_tables(settings, Size(1, N_OBSERVATIONS, A, longest=20))
    tables.theta[0], tables.reference[0] = rng.normal(size=(2, N_OBSERVATIONS, A))
    tables.lengths[0] = [20, 3, 11, 6]
    tables.relative[0] = [0.5, -1.2, 1.1, -0.4]
    n = tables.collected[0] = 40
    tables.states[0, :n], tables.actions[0, :n] = (
        rng.integers(N_OBSERVATIONS, size=n),
        rng.integers(A, size=n),
    )
    old = tensor(tables.theta[0] + 0.6 * rng.normal(size=(N_OBSERVATIONS, A)))
    log_old = log_policy(old, tables.states[0, :n], tables.actions[0, :n]).detach().numpy()
    tables.log_probs[0, :n] = log_old
    tables.figures[:] = 0.0
    return tables, grpo.ALGORITHM.make_hyperparameters(settings)


def grpo_loss(
    theta: "torch.Tensor",
    tables: grpo.GRPOTables,
    hyperparameters: grpo.GRPOHyperparameters,
    estimator: str = "auto",
) -> "torch.Tensor":
    """−1/G Σ_i 1/|o_i| Σ_t [ min(ρ Â, clip(ρ) Â) − β (π_ref/π − ln π_ref/π − 1) ], eq. 3 and 4;
    or with another estimator of the KL."""
    total, end = torch.zeros((), dtype=torch.float64), 0
    for length, advantage in zip(tables.lengths[0], tables.relative[0], strict=True):
        cut = slice(end, end + length)
        states, actions = tables.states[0, cut], tables.actions[0, cut]
        log_pi = log_policy(theta, states, actions)
        ratio = (log_pi - torch.tensor(tables.log_probs[0, cut])).exp()
        quotient = log_policy(tensor(tables.reference[0]), states, actions).detach() - log_pi
        rows = torch.as_tensor(states, dtype=torch.long)
        log_all = torch.log_softmax(theta, -1)[rows]
        of_all = log_all - torch.log_softmax(torch.tensor(tables.reference[0]), -1)[rows]
        divergence = {
            "k1": -quotient,
            "k2": quotient**2 / 2,
            "exact": (log_all.exp() * of_all).sum(-1),
        }.get(estimator, quotient.exp() - quotient - 1)
        gained = surrogate(ratio, torch.tensor(advantage), hyperparameters.clip)
        total = total + (gained - hyperparameters.kl * divergence).mean()
        end += length
    return -total / len(tables.lengths[0])


@pytest.mark.parametrize(
    ("kl", "estimator"),
    [(0.0, "auto"), (0.04, "auto"), (1.0, "k3"), (1.0, "k1"), (1.0, "k2"), (1.0, "exact")],
)
def test_grpos_gradient_is_that_of_its_loss(kl: float, estimator: str) -> None:
    tables, hyperparameters = grpo_case(4, kl, estimator)
    grpo.grpo_gradient(tables, hyperparameters, 0)
    theta = tensor(tables.theta[0])
    grpo_loss(theta, tables, hyperparameters, estimator).backward()
    np.testing.assert_allclose(tables.theta_gradient[0], theta.grad.numpy(), **EXACT)
    assert tables.figures[0, grpo.CLIPPED] > 5  # steps outside the clip


@pytest.mark.parametrize("estimator", ["auto", "k2", "k3"])
def test_a_kl_in_the_reward_is_taken_off_the_returns_and_not_in_the_loss(estimator: str) -> None:
    tables, hyperparameters = grpo_case(7, 0.3, estimator, "reward")
    hyperparameters = hyperparameters._replace(gamma=0.9)
    earned = tables.returns[0] = np.array([1.0, 0.0, 0.25, 0.0])
    expected, end = earned.copy(), 0
    for j, length in enumerate(tables.lengths[0]):
        cut = slice(end, end + length)
        to = tensor(tables.reference[0])
        away = log_policy(to, tables.states[0, cut], tables.actions[0, cut]).detach().numpy()
        away -= tables.log_probs[0, cut]
        k = {"k2": away**2 / 2, "k3": np.exp(away) - away - 1}.get(estimator, -away)
        expected[j] -= 0.3 * (0.9 ** np.arange(length) * k).sum()
        end += length
    grpo.compute_advantages(tables, hyperparameters, 0)
    np.testing.assert_allclose(tables.returns[0], expected, **EXACT)
    np.testing.assert_allclose(tables.relative[0], grpo_advantages(expected[None])[0], **EXACT)
    grpo.grpo_gradient(tables, hyperparameters, 0)
    theta = tensor(tables.theta[0])
    grpo_loss(theta, tables, hyperparameters._replace(kl=0.0)).backward()
    np.testing.assert_allclose(tables.theta_gradient[0], theta.grad.numpy(), **EXACT)


@pytest.mark.parametrize("value", [0.1, -0.63, 1.0 / 3.0])
def test_a_group_of_equal_returns_has_exactly_no_gradient(value: float) -> None:
    tables, hyperparameters = grpo_case(5, 0.0)
    tables.returns[0] = value
    group_advantages(tables.returns[0], True, tables.relative[0])
    grpo.grpo_gradient(tables, hyperparameters, 0)
    assert (tables.theta_gradient == 0.0).all()
    held, held_hyperparameters = grpo_case(5, 0.1)
    held.relative[0] = 0.0
    grpo.grpo_gradient(held, held_hyperparameters, 0)
    assert (held.theta_gradient != 0.0).any()


def test_every_pass_is_a_step_of_adam() -> None:
    tables, hyperparameters = grpo_case(6, 0.02)
    agents = make_agents(1, 0)
    theta = torch.nn.Parameter(tensor(tables.theta[0]).detach())
    optimizer = torch.optim.Adam([theta], lr=float(hyperparameters.alpha[1]))
    for _ in range(hyperparameters.epochs):
        optimizer.zero_grad()
        grpo_loss(theta, tables, hyperparameters).backward()
        optimizer.step()
    grpo.improve(tables, hyperparameters, agents, 0, Limits(1, 10**9, 10**9))
    np.testing.assert_allclose(tables.theta[0], theta.detach().numpy(), rtol=0, atol=1e-9)
    assert agents.updates[0] == hyperparameters.epochs


# ---------------------------------------------------------------- whole runs, replayed with torch

PRESET = """
title = "test"
[maze]
map = \"\"\"
SFF
FHF
FFG
\"\"\"
slip = 0.2
max_steps = 9
rewards = {{step = -0.05, hole = -1.0}}
[algorithm]
name = "{name}"
gamma = 0.9
{settings}
[budget]
env_steps = 600
[run]
agents = 1
seed = 3
"""


def played(name: str, settings: str) -> tuple[list[list[Step]], dict[str, np.ndarray]]:
    """The steps of a run by episode (the last one may not be whole), and its tables at the end."""
    learner = factory.make_learner(presets.parse(PRESET.format(name=name, settings=settings)))
    learner.begin()
    learner.advance(10**6)
    episodes: dict[int, list[Step]] = {}
    for step in learner.live(0).steps:
        episodes.setdefault(step.episode, []).append(step)
    ends = [episode[-1] for episode in episodes.values()]
    assert any(end.terminated for end in ends) and any(end.truncated for end in ends)
    return list(episodes.values()), learner.state()


@pytest.mark.parametrize("baseline", [False, True])
def test_reinforce_is_stochastic_gradient_ascent_on_its_loss(baseline: bool) -> None:
    alpha, alpha_v = 0.3, 0.2
    settings = f"baseline = {str(baseline).lower()}\nlearning_rate = {alpha}\n"
    episodes, state = played("reinforce", settings + f"value_learning_rate = {alpha_v}")
    theta, v = torch.zeros(9, 4, dtype=torch.float64), np.zeros(9)
    for steps in episodes:
        if not (steps[-1].terminated or steps[-1].truncated):
            continue  # it is still being played, nothing was learned from it
        tail = v[steps[-1].next_observation] if steps[-1].truncated and baseline else 0.0
        for t, step in enumerate(steps):
            later = steps[t:]
            g = sum(0.9**k * s.reward for k, s in enumerate(later)) + 0.9 ** len(later) * tail
            expected = v[step.observation] if baseline else 0.0
            assert step.advantage_estimate == pytest.approx(g - expected, abs=1e-10)
            theta.requires_grad_(True)
            log_pi = torch.log_softmax(theta[step.observation], 0)[step.action]
            (gradient,) = torch.autograd.grad(0.9**t * (g - expected) * log_pi, theta)
            theta = (theta + alpha * gradient).detach()
            v[step.observation] += alpha_v * (g - expected) if baseline else 0.0
        for step in steps:
            after = torch.softmax(theta[step.observation], 0).numpy()
            np.testing.assert_allclose(step.probabilities_after, after, atol=1e-9)
    np.testing.assert_allclose(state["tables.theta"][0], theta.numpy(), **EXACT)
    if baseline:
        np.testing.assert_allclose(state["tables.v"][0], v, **EXACT)


def test_actor_critic_is_stochastic_gradient_ascent_on_its_loss() -> None:
    alpha, alpha_v = 0.3, 0.2
    settings = f"learning_rate = {alpha}\nvalue_learning_rate = {alpha_v}"
    episodes, state = played("actor-critic", settings)
    theta = torch.zeros(9, 4, dtype=torch.float64)
    v = torch.zeros(9, dtype=torch.float64)
    for steps in episodes:
        for t, step in enumerate(steps):
            theta.requires_grad_(True)
            v.requires_grad_(True)
            ahead = 0.0 if step.terminated else v[step.next_observation].item()
            delta = step.reward + 0.9 * ahead - v[step.observation]
            np.testing.assert_allclose(step.error, delta.item(), **EXACT)
            log_pi = torch.log_softmax(theta[step.observation], 0)[step.action]
            (up,) = torch.autograd.grad(0.9**t * delta.item() * log_pi, theta)
            (down,) = torch.autograd.grad(0.5 * delta**2, v)
            theta, v = (theta + alpha * up).detach(), (v - alpha_v * down).detach()
    np.testing.assert_allclose(state["tables.theta"][0], theta.numpy(), **EXACT)
    np.testing.assert_allclose(state["tables.v"][0], v.numpy(), **EXACT)
    last = episodes[-1][-1]
    after = torch.softmax(theta[last.observation], 0).numpy()
    np.testing.assert_allclose(last.probabilities_after, after, **EXACT)


def test_ppo_is_adam_on_its_loss() -> None:
    """Three rollouts of a run, each of them one batch: advantages, passes and optimizer at once."""
    rollout, epochs = 40, 3
    settings = "learning_rate = 0.03\nvalue_learning_rate = 0.03\nentropy_coefficient = 0.01\n"
    settings += f"rollout_steps = {rollout}\nepochs = {epochs}\nminibatches = 1\ngae_lambda = 0.8"
    text = PRESET.format(name="ppo", settings=settings)
    learner = factory.make_learner(presets.parse(text, overrides=["budget.env_steps=120"]))
    learner.begin()
    learner.advance(10**6)
    steps = learner.live(0).steps
    theta = torch.nn.Parameter(torch.zeros(9, 4, dtype=torch.float64))
    v = torch.nn.Parameter(torch.zeros(9, dtype=torch.float64))
    optimizer = torch.optim.Adam([theta, v], lr=0.03)
    for first in range(0, 120, rollout):
        batch = steps[first : first + rollout]
        states = np.array([s.observation for s in batch])
        following = np.array([s.next_observation for s in batch])
        actions = np.array([s.action for s in batch])
        ends = [TERMINATED if s.terminated else TRUNCATED if s.truncated else 0 for s in batch]
        known = v.detach().numpy().copy()
        rewards = np.array([s.reward for s in batch])
        gae = naive_gae(rewards, known[states], known[following], np.array(ends), 0.9, 0.8)
        targets = torch.tensor(gae + known[states])
        normal = torch.tensor((np.array(gae) - np.mean(gae)) / (np.std(gae) + 1e-8))
        log_old = log_policy(theta, states, actions).detach()
        for _ in range(epochs):
            optimizer.zero_grad()
            ratio = (log_policy(theta, states, actions) - log_old).exp()
            log_pi = torch.log_softmax(theta, -1)[torch.as_tensor(states)]
            entropy = -(log_pi.exp() * log_pi).sum(-1)
            loss = -(surrogate(ratio, normal, 0.2) + 0.01 * entropy).mean()
            (loss + ((v[torch.as_tensor(states)] - targets) ** 2).mean()).backward()
            optimizer.step()
        given = [s.advantage_estimate for s in batch]
        np.testing.assert_allclose(given, normal.numpy(), rtol=0, atol=1e-6)
        after = torch.softmax(theta.detach()[batch[0].observation], 0).numpy()
        np.testing.assert_allclose(batch[0].probabilities_after, after, rtol=0, atol=1e-6)
    state = learner.state()
    np.testing.assert_allclose(state["tables.theta"][0], theta.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(state["tables.v"][0], v.detach().numpy(), atol=1e-6)
