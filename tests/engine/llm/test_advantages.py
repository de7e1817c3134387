"""Advantages against the papers' formulas written as loops."""

import statistics

import numpy as np
import pytest

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.llm.algorithms import advantages

RNG = np.random.default_rng(3)
RETURNS = RNG.normal(size=(5, 8)) * np.array([[1.0], [0.01], [100.0], [1.0], [1.0]])


def by_member(returns, formula):
    return np.array([[formula(list(group), i) for i in range(len(group))] for group in returns])


def test_grpo_is_the_standardised_return() -> None:
    expected = by_member(
        RETURNS, lambda r, i: (r[i] - statistics.mean(r)) / (statistics.stdev(r) + 1e-4)
    )
    np.testing.assert_allclose(advantages.grpo_advantages(RETURNS), expected, rtol=1e-12)


def test_dr_grpo_only_subtracts_the_mean() -> None:
    expected = by_member(RETURNS, lambda r, i: r[i] - statistics.mean(r))
    np.testing.assert_allclose(advantages.dr_grpo_advantages(RETURNS), expected, rtol=1e-9)


def test_rloo_compares_with_the_others() -> None:
    expected = by_member(RETURNS, lambda r, i: r[i] - statistics.mean(r[:i] + r[i + 1 :]))
    np.testing.assert_allclose(advantages.rloo_advantages(RETURNS), expected, rtol=1e-9)


def test_rloo_needs_others() -> None:
    with pytest.raises(ValueError, match="group of one"):
        advantages.rloo_advantages([[1.0]])


def test_reinforce_subtracts_the_mean_of_the_batch() -> None:
    expected = RETURNS - statistics.mean(RETURNS.ravel())
    np.testing.assert_allclose(advantages.reinforce_advantages(RETURNS), expected, rtol=1e-9)


def test_a_floor_under_the_spread_tames_groups_that_hardly_differ() -> None:
    nearly = np.array([[0.5, 0.5, 0.5, 0.501]])
    plain = advantages.grpo_advantages(nearly)
    floored = advantages.grpo_advantages(nearly, floor=0.1)
    assert plain.max() > 1.0
    np.testing.assert_allclose(floored, (nearly - nearly.mean()) / (0.1 + 1e-4), rtol=1e-12)
    np.testing.assert_array_equal(  # and changes nothing where the spread is larger
        advantages.grpo_advantages(RETURNS[2:3], floor=0.1),
        advantages.grpo_advantages(RETURNS[2:3]),
    )


@pytest.mark.parametrize("name", sorted(LANGUAGE_MODELS.names))
def test_equal_returns_have_advantage_exactly_zero(name: str) -> None:
    returns = np.full((1, 7), 0.1)
    assert returns.mean() != 0.1  # rounding: a plain r − mean would not be 0
    algorithm = LANGUAGE_MODELS.get(name)
    found = algorithm.advantages(returns, algorithm.settings())
    np.testing.assert_array_equal(found, np.zeros((1, 7)))


def test_a_group_of_one_teaches_grpo_nothing() -> None:
    np.testing.assert_array_equal(advantages.grpo_advantages([[3.0]]), [[0.0]])


def test_all_equal_groups_are_told_and_dropped_by_dynamic_sampling() -> None:
    returns = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 1], [0.2, 0.2, 0.3]])
    np.testing.assert_array_equal(advantages.all_equal(returns), [True, True, False, False])
    np.testing.assert_array_equal(advantages.groups_to_keep(returns), [False, False, True, True])


def test_overlong_penalty_follows_equation_13() -> None:
    longest, interval = 24, 6

    def equation_13(length: int) -> float:
        if length <= longest - interval:
            return 0.0
        if length <= longest:
            return ((longest - interval) - length) / interval
        return -1.0

    lengths = np.arange(1, 40)
    np.testing.assert_allclose(
        advantages.overlong_penalty(lengths, longest, interval),
        [equation_13(n) for n in lengths],
        rtol=1e-12,
    )
    with pytest.raises(ValueError, match="expected 1 to 24"):
        advantages.overlong_penalty(lengths, 24, 0)


def random_steps(t: int) -> dict[str, np.ndarray]:
    ends = RNG.choice(3, size=t, p=[0.6, 0.2, 0.2])
    return {
        "rewards": RNG.normal(size=t),
        "values": RNG.normal(size=t),
        "next_values": RNG.normal(size=t),
        "terminated": ends == 1,
        "truncated": ends == 2,
    }


def gae_by_the_sum(steps: dict[str, np.ndarray], gamma: float, lambda_: float) -> list[float]:
    """Equation 16: Â_t = Σ_l (γλ)^l δ_{t+l}, up to the end of the episode that step t is in."""
    r, v, v_next = steps["rewards"], steps["values"], steps["next_values"]
    estimates = []
    for t in range(len(r)):
        total, factor = 0.0, 1.0
        for i in range(t, len(r)):
            bootstrap = 0.0 if steps["terminated"][i] else gamma * v_next[i]
            total += factor * (r[i] + bootstrap - v[i])
            if steps["terminated"][i] or steps["truncated"][i]:
                break
            factor *= gamma * lambda_
        estimates.append(total)
    return estimates


@pytest.mark.parametrize(("gamma", "lambda_"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0)])
def test_gae_is_the_sum_of_the_paper(gamma: float, lambda_: float) -> None:
    rows = [random_steps(30) for _ in range(4)]
    together = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    found = advantages.gae(**together, gamma=gamma, lambda_=lambda_)
    expected = np.array([gae_by_the_sum(row, gamma, lambda_) for row in rows])
    np.testing.assert_allclose(found.advantages, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.targets, expected + together["values"], rtol=1e-10)


def test_a_truncation_bootstraps_and_a_termination_does_not() -> None:
    def last(**ends: bool) -> float:
        found = advantages.gae(
            [1.0], [0.5], [10.0], [ends.get("terminated", False)], [ends.get("truncated", False)],
            0.9, 0.95,
        )  # fmt: skip
        return float(found.advantages[0])

    assert last(terminated=True) == 0.5
    assert last(truncated=True) == 9.5


def test_returns_to_go_discount_what_follows() -> None:
    rewards = RNG.normal(size=(3, 6))
    expected = [
        [sum(0.9 ** (j - t) * row[j] for j in range(t, 6)) for t in range(6)] for row in rewards
    ]
    np.testing.assert_allclose(advantages.returns_to_go(rewards, 0.9), expected, rtol=1e-12)


def test_standardised_looks_at_the_mask_only() -> None:
    values = np.array([[1.0, 2.0, 1e9], [3.0, 4.0, -1e9]])
    mask = np.array([[1, 1, 0], [1, 1, 0]])
    found = advantages.standardised(values, mask)
    kept = np.array([1.0, 2.0, 3.0, 4.0])
    expected = (kept - kept.mean()) / (kept.std() + 1e-8)
    np.testing.assert_allclose(found[:, :2].ravel(), expected, rtol=1e-12)
    np.testing.assert_array_equal(found[:, 2], [0.0, 0.0])
    np.testing.assert_array_equal(advantages.standardised(values, mask * 0), np.zeros((2, 3)))


def test_normalisers_are_the_papers_means() -> None:
    lengths, longest = np.array([2, 5, 1]), 6
    terms = [RNG.normal(size=n) for n in lengths]
    everything = np.concatenate(terms)
    expected = {
        "grpo": np.mean([t.mean() for t in terms]),
        "gspo": np.mean([t.mean() for t in terms]),
        "dapo": everything.mean(),
        "cispo": everything.mean(),
        "ppo": everything.mean(),
        "dr-grpo": everything.sum() / (3 * longest),
        "reinforce": np.mean([t.sum() for t in terms]),
        "rloo": np.mean([t.sum() for t in terms]),
    }
    for name, mean in expected.items():
        weights = LANGUAGE_MODELS.get(name).normaliser(lengths, longest)
        found = sum(w * t.sum() for w, t in zip(weights, terms, strict=True))
        assert found == pytest.approx(mean, rel=1e-12), name
