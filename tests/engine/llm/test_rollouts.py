"""Sampled episodes against the transition table and the exact figures."""

import numpy as np
import pytest

from engine.env.build_mdp import build_mdp, build_mdps
from engine.env.maze import Maze
from engine.env.mdp import reachable
from engine.env.settings import Rewards
from engine.exact.evaluate import evaluate
from engine.exact.solve import solve
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
OTHER = ("FFFS", "HFHF", "HFFF", "GFFH")
PAY = Rewards(step=-0.01, hole=-0.5, bump=-0.1)
MDPS = build_mdps([Maze(rows=rows, slip=0.4, rewards=PAY, max_steps=25) for rows in (LAKE, OTHER)])
WORLDS = stack_mdps(MDPS)
TABLE = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 16))


def sample(
    n_groups: int = 300, group_size: int = 4, seed: int = 1, random_starts: float = 0.5
) -> Rollouts:
    rng = np.random.default_rng(seed)
    return sample_episodes(WORLDS, TABLE, n_groups, group_size, rng, random_starts)


def test_every_step_is_a_transition_of_its_world() -> None:
    r = sample()
    for i in range(r.length.size):
        mdp, n = MDPS[r.world[i]], r.length[i]
        for t in range(n):
            s, a = r.state[i, t], r.action[i, t]
            after = r.state[i, t + 1] if t + 1 < n else r.final_state[i]
            branches = [
                k
                for k in range(mdp.n_branches)
                if mdp.probability[s, a, k] > 0
                and mdp.next_state[s, a, k] == after
                and mdp.reward[s, a, k] == r.reward[i, t]
                and mdp.terminal[s, a, k] == (t == n - 1 and r.terminated[i])
            ]
            assert branches
            assert r.observation[i, t] == mdp.observation[s]
            assert r.next_observation[i, t] == mdp.observation[after]
            chance = TABLE[r.world[i], r.observation[i, t], a]
            assert r.log_behaviour[i, t] == pytest.approx(np.log(chance))
        assert r.success[i] == (r.terminated[i] and mdp.success[s, a, branches].any())
        assert r.truncated[i] != r.terminated[i]
        assert n == mdp.max_steps or r.terminated[i]
        assert r.mask[i].sum() == n and not r.reward[i, n:].any()


def test_means_are_the_exact_figures() -> None:
    r = sample(n_groups=40_000, group_size=1, random_starts=0.0)
    for w, mdp in enumerate(MDPS):
        exact, of = evaluate(mdp, TABLE[w], 0.97), r.world == w
        for found, expected in (
            (r.success, exact.success_rate),
            (r.returns(0.97), exact.expected_return),
            (r.score, exact.expected_score),
            (r.length, exact.expected_length),
        ):
            error = found[of].std() / np.sqrt(of.sum())
            assert found[of].mean() == pytest.approx(float(expected), abs=5 * error)


def test_returns_to_go_begin_with_the_return() -> None:
    r = sample()
    np.testing.assert_allclose(r.returns_to_go(0.9)[:, 0], r.returns(0.9), rtol=1e-10)
    np.testing.assert_allclose(r.returns_to_go(1.0)[:, 0], r.score, rtol=1e-10)
    last = r.ends(r.terminated | r.truncated)
    np.testing.assert_array_equal(last.sum(axis=1), 1)
    np.testing.assert_allclose(r.returns_to_go(0.9)[last], r.reward[last])


def test_groups_share_world_and_first_cell() -> None:
    r = sample()
    np.testing.assert_array_equal(r.group, np.repeat(np.arange(300), 4))
    for of in (r.world, r.state[:, 0], r.random_start):
        np.testing.assert_array_equal(of.reshape(300, 4), of.reshape(300, 4)[:, :1].repeat(4, 1))
    np.testing.assert_array_equal(r.world[::4], np.arange(300) % 2)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_each_worlds_groups_begins_anywhere(share: float) -> None:
    r = sample(n_groups=400, group_size=1, random_starts=share)
    for w, mdp in enumerate(MDPS):
        of = r.world == w
        assert r.random_start[of].mean() == share
        begun = set(r.state[of & r.random_start, 0].tolist())
        assert begun <= set(np.flatnonzero(reachable(mdp)).tolist())
        assert len(begun) >= 10 or share == 0
        fixed = r.state[of & ~r.random_start, 0]
        assert set(fixed.tolist()) <= set(np.flatnonzero(mdp.start).tolist())


@pytest.mark.parametrize(("n_groups", "share"), [(2, 0.5), (2, 0.9), (4, 0.3), (6, 0.1)])
def test_the_share_holds_on_average_however_few_groups_there_are(
    n_groups: int, share: float
) -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_episodes(WORLDS, TABLE, n_groups, 1, rng, share) for _ in range(2000)]
    found = np.mean([r.random_start.mean() for r in drawn])
    assert found == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / (2000 * n_groups)))


def test_a_generator_decides_everything() -> None:
    one, same, other = sample(seed=5), sample(seed=5), sample(seed=6)
    np.testing.assert_array_equal(one.action, same.action)
    np.testing.assert_array_equal(one.state, same.state)
    assert one.action.shape != other.action.shape or (one.action != other.action).any()


def test_a_certain_policy_is_followed_to_the_letter() -> None:
    """Probabilities of exactly 0 and 1: no rounding may let another action slip in."""
    mdp = build_mdp(Maze(rows=LAKE))
    policy = solve(mdp, 0.99).policy
    r = sample_episodes(stack_mdps([mdp]), policy, 500, 1, np.random.default_rng(0))
    assert r.success.all() and (r.length == 6).all() and not r.log_behaviour.any()
    assert (policy[r.observation[r.mask], r.action[r.mask]] == 1).all()


def test_one_table_serves_all_worlds() -> None:
    rng = np.random.default_rng(2)
    r = sample_episodes(WORLDS, TABLE[0], 50, 2, rng)
    chosen = TABLE[0][r.observation[r.mask], r.action[r.mask]]
    np.testing.assert_allclose(r.log_behaviour[r.mask], np.log(chosen))


def test_worlds_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        stack_mdps([MDPS[0], build_mdp(Maze(rows=("SFG",), max_steps=25))])


@pytest.mark.parametrize("per_step", [False, True])
def test_gathered_weights_are_sums_over_steps_with_the_signs_apart(per_step: bool) -> None:
    r = sample(n_groups=20)
    rng = np.random.default_rng(3)
    shape = r.mask.shape if per_step else r.length.shape
    advantage, weight = rng.normal(size=shape), rng.random(shape)
    found = gather(WORLDS, r, advantage, weight)
    size = (2, 16, 4)
    positive, negative, visits = np.zeros(size), np.zeros(size), np.zeros(size[:2])
    counts = np.zeros(size, int), np.zeros(size, int)
    for i, t in zip(*np.nonzero(r.mask), strict=True):
        at = (i, t) if per_step else i
        place = (r.world[i], r.observation[i, t])
        pair = (*place, r.action[i, t])
        (positive if advantage[at] > 0 else negative)[pair] += weight[at] * advantage[at]
        counts[0 if advantage[at] > 0 else 1][pair] += 1
        visits[place] += weight[at]
    np.testing.assert_allclose(found.positive, positive)
    np.testing.assert_allclose(found.negative, negative)
    np.testing.assert_array_equal(found.count_positive, counts[0])
    np.testing.assert_array_equal(found.count_negative, counts[1])
    np.testing.assert_allclose(found.visits, visits)


def test_an_advantage_of_zero_counts_on_neither_side() -> None:
    r = sample(n_groups=4)
    found = gather(WORLDS, r, np.zeros(r.length.size), np.ones(r.length.size))
    assert not found.count_positive.any() and not found.count_negative.any()
    assert found.visits.sum() == r.mask.sum()


def test_worlds_know_their_shapes() -> None:
    assert (WORLDS.n_worlds, WORLDS.n_observations, WORLDS.n_actions) == (2, 16, 4)
    np.testing.assert_allclose(WORLDS.anywhere.sum(axis=1), 1.0)


def test_tables_are_looked_up_at_the_steps() -> None:
    r = sample(n_groups=40)
    np.testing.assert_allclose(at_steps(r, np.log(TABLE)), r.log_behaviour)
    one = at_steps(r, TABLE[0])
    np.testing.assert_array_equal(one[r.mask], TABLE[0][r.observation[r.mask], r.action[r.mask]])
    assert not one[~r.mask].any()


def test_importance_weights_turn_one_behaviour_into_another() -> None:
    """The mean of weighted first rewards is what the policy itself would be paid."""
    rng = np.random.default_rng(4)
    behaviour = mixed_with_uniform(TABLE, 0.5)
    r = sample_episodes(WORLDS, behaviour, 60_000, 1, rng)
    weights = importance_weights(r, TABLE)
    assert weights[r.mask].min() > 0 and weights.max() <= 2.0 and not weights[~r.mask].any()
    for w, mdp in enumerate(MDPS):
        one_step = evaluate(mdp, TABLE[w], 1.0, max_steps=1).expected_score
        paid = (weights * r.reward)[r.world == w, 0]
        error = paid.std() / np.sqrt(paid.size)
        assert paid.mean() == pytest.approx(float(one_step), abs=5 * error)


def test_even_weights_give_every_visited_state_the_same_share() -> None:
    r = sample(n_groups=10)
    visits = gather(WORLDS, r, np.ones(r.length.size), even_weights(WORLDS, r)).visits
    there = visits[visits > 0]
    np.testing.assert_allclose(there, 1 / there.size)
    assert there.size > 5
