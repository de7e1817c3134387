"""The oracle: known values, the proof of its bound, γ = 1, and what it refuses."""

import gymnasium
import numpy as np
import pytest

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.maze import RIGHT, UP
from engine.env.mdp import reachable
from engine.env.settings import MazeSettings, Rewards
from engine.exact.chain import chain_values
from engine.exact.evaluate import evaluate, optimal_figures
from engine.exact.solve import optimal_path, solve

FOUR = "SFFF\nFHFH\nFFFH\nHFFG"
EIGHT = "\n".join(
    ["SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"]
)
SLIPPERY = 2 / 3
LEDGE = "FF#\nF##\nSFG"
WINDY = "\n".join(["F" * 10] * 3 + ["SFFFFFFGFF"] + ["F" * 10] * 3)


def mdp_of(text, **rules):
    return build_mdp(build_mazes(MazeSettings(map=text, **rules))[0][1])


def gym_mdp(env_id, **kwargs):
    return build_mdp(build_mazes(MazeSettings(gymnasium=env_id, kwargs=kwargs))[0][1])


def plain_value_iteration(mdp, gamma, sweeps):
    """A slow reference, one entry at a time."""
    values = [0.0] * mdp.n_states
    for _ in range(sweeps):
        values = [
            max(
                sum(
                    mdp.probability[s, a, k]
                    * (
                        mdp.reward[s, a, k]
                        + gamma * (not mdp.terminal[s, a, k]) * values[mdp.next_state[s, a, k]]
                    )
                    for k in range(mdp.n_branches)
                )
                for a in range(mdp.n_actions)
            )
            for s in range(mdp.n_states)
        ]
    return np.array(values)


@pytest.mark.parametrize(
    ("text", "slip", "value"),
    [(FOUR, SLIPPERY, 0.542026), (EIGHT, SLIPPERY, 0.414640), (FOUR, 0.0, 0.950990)],
)
def test_known_values_of_frozen_lake(text, slip, value):
    solution = solve(mdp_of(text, slip=slip), 0.99)
    assert solution.values[0] == pytest.approx(value, abs=1e-6)
    assert solution.error_bound <= 1e-10


@pytest.mark.parametrize(("max_steps", "success"), [(100, 0.7402), (200, 0.8164)])
def test_known_success_of_frozen_lake(max_steps, success):
    mdp = mdp_of(FOUR, slip=SLIPPERY, max_steps=max_steps)
    assert round(optimal_figures(mdp, 0.99).success_rate, 4) == success
    assert round(solve(mdp, 1.0).values[0], 4) == 0.8235


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9])
def test_values_agree_with_plain_value_iteration(gamma):
    mdp = mdp_of("SFBH\nF#FS\nHFFG", slip=0.3, fall="restart", rewards=Rewards(step=-0.1, bonus=1))
    solution = solve(mdp, gamma)
    reference = plain_value_iteration(mdp, gamma, 300)
    inside = solution.reachable
    assert np.abs(solution.values - reference)[inside].max() <= solution.error_bound + 1e-12
    assert not solution.values[~inside].any()


def test_the_bound_is_true_and_met():
    mdp = mdp_of(EIGHT, slip=SLIPPERY)
    exact = solve(mdp, 0.9999)
    assert exact.error_bound <= 1e-10
    backup = (mdp.probability * (mdp.reward + 0.9999 * exact.values[mdp.next_state])).sum(axis=2)
    settled = mdp.terminal.all(axis=(1, 2))
    gap = np.abs(backup.max(axis=1) - exact.values)[exact.reachable & ~settled]
    assert gap.max() * 0.9999 / 0.0001 <= 1e-10


def test_windy_gridworld_takes_fifteen_steps():
    """Sutton & Barto, example 6.5."""
    wind = [0, 0, 0, 1, 1, 1, 2, 2, 1, 0]
    mdp = mdp_of(WINDY, wind=wind, rewards=Rewards(goal=0, step=-1))
    solution = solve(mdp, 1.0)
    assert solution.values[30] == pytest.approx(-15) and solution.steps[30] == pytest.approx(15)
    path = optimal_path(mdp, solution)
    assert len(path) == 16 and (path[0], path[-1]) == (30, 37)


def test_cliff_walking_and_our_own_cliff_agree():
    gym = solve(gym_mdp("CliffWalking-v1"), 1.0)
    assert gym.values[36] == pytest.approx(-13)
    rows = ["F" * 12] * 3 + ["S" + "H" * 10 + "G"]
    pay = Rewards(goal=0, hole=-99, step=-1)
    own = solve(mdp_of("\n".join(rows), fall="restart", rewards=pay), 1.0)
    assert np.allclose(own.values[own.reachable], gym.values[own.reachable])


def test_taxi():
    mdp = gym_mdp("Taxi-v4")
    solution = solve(mdp, 1.0)
    assert mdp.start @ solution.values == pytest.approx(7.93)
    figures = optimal_figures(mdp, 1.0, solution)
    assert figures.success_rate == pytest.approx(1) and figures.optimal_return == pytest.approx(
        7.93
    )
    states = optimal_path(mdp, solution)
    assert len(states) == round(solution.steps[states[0]]) + 1


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_ties_go_to_the_fewest_steps(gamma):
    """Without a step cost and discount every detour is as good: π* takes none."""
    mdp = mdp_of("SFFF\nFFFF\nFFFF\nFFFG")
    solution = solve(mdp, gamma)
    assert solution.steps[0] == pytest.approx(6)
    figures = optimal_figures(mdp, gamma, solution)
    assert figures.expected_length == pytest.approx(6) and figures.success_rate == pytest.approx(1)
    assert solution.policy[0].tolist() == [0, 1, 0, 0]  # down before right: the lower number
    assert (solution.policy.sum(axis=1) == 1).all()


def test_staying_unpaid_is_worth_nothing_and_beats_a_bad_bet():
    """One step from the prize, nine slips in ten, holes at both sides: better not to move."""
    lost = mdp_of("##H#\n#SFG\n##H#", slip=0.9, rewards=Rewards(goal=1, hole=-9))
    assert reachable(lost).sum() == 2
    solution = solve(lost, 1.0)
    assert solution.values[5] == 0 and np.isinf(solution.steps[5])
    assert (
        lost.probability[5, solution.policy[5].argmax()]
        @ lost.reward[5, solution.policy[5].argmax()]
        == 0
    )
    figures = optimal_figures(lost, 1.0, solution)
    assert figures.expected_score == 0 and figures.success_rate == 0


def test_the_way_on_is_taken_where_the_end_is_not_certain():
    """Half the time it leads to the prize, else into a corner without an exit."""
    table = {
        0: {0: [(1.0, 0, 0.0, False)], 1: [(0.5, 1, 0.0, False), (0.5, 2, 1.0, True)]},
        1: {0: [(1.0, 1, 0.0, False)], 1: [(1.0, 1, 0.0, False)]},
        2: {0: [(1.0, 2, 0.0, True)], 1: [(1.0, 2, 0.0, True)]},
    }

    class Ledge(gymnasium.Env):
        P = table
        initial_state_distrib = np.array([1.0, 0.0, 0.0])

    gymnasium.register("Ledge-v0", entry_point=Ledge)
    try:
        solution = solve(gym_mdp("Ledge-v0"), 1.0)
    finally:
        del gymnasium.registry["Ledge-v0"]
    assert solution.values[0] == 0.5 and solution.policy[0].tolist() == [0, 1]
    assert np.isinf(solution.steps[0])


@pytest.mark.parametrize(
    ("text", "rules", "words"),
    [
        ("SBG", {"rewards": Rewards(bonus=1)}, "collect reward for ever"),
        ("SFG", {"rewards": Rewards(step=0.1)}, "collect reward for ever"),
        ("SFG\nFBF", {"rewards": Rewards(step=-0.4, bonus=1, bump=-1)}, "collect reward for ever"),
        ("SHG\nFFF", {"rewards": Rewards(hole=1), "fall": "restart"}, "collect reward for ever"),
        # The wind lifts one onto a ledge and keeps one there: for ever, at a cost or for nothing.
        (LEDGE, {"wind": [2, 0, 0], "rewards": Rewards(step=-1)}, r"from state \d an episode can"),
        (LEDGE, {"wind": [2, 0, 0]}, None),
        (LEDGE, {"rewards": Rewards(step=-1)}, None),
        ("SHG\nFFF", {"rewards": Rewards(hole=-1), "fall": "restart"}, None),
        ("SFBG", {"rewards": Rewards(step=-1, bonus=0.5)}, None),
        ("SFBG\nFFFF", {"rewards": Rewards(step=-1, bonus=1.9, bump=-1)}, None),
    ],
)
def test_undiscounted_problems_are_refused_only_if_unbounded(text, rules, words):
    mdp = mdp_of(text, **rules)
    if words is None:
        assert np.isfinite(solve(mdp, 1.0).values).all()
    else:
        with pytest.raises(UserError, match=words):
            solve(mdp, 1.0)
    assert np.isfinite(solve(mdp, 0.99).values).all()


def test_bonus_loops_are_fine_with_discounting():
    solution = solve(mdp_of("SBG", rewards=Rewards(bonus=1)), 0.9)
    assert solution.values[1] == pytest.approx(10) and np.isinf(solution.steps[1])
    assert solution.policy[1].argmax() in (1, UP)  # bumping on the bonus tile for ever


def test_the_optimal_policy_earns_its_value_even_if_it_may_stay_for_ever():
    """Bonus tiles between costly holes: collect first, then stand still where that is possible."""
    rows = ["SHSS", "FBFF", "HFFS", "#SH#", "FHSG"]
    rules = {"slip": 2 / 3, "wind": [1, 1, 0, 0], "fall": "restart"}
    mdp = mdp_of("\n".join(rows), rewards=Rewards(goal=1, hole=-10, bonus=1), **rules)
    solution = solve(mdp, 1.0)
    earned = evaluate(mdp, solution.policy, 1.0, 20_000, by_state=True).expected_return
    assert mdp.start @ solution.values == pytest.approx(1.3181818)
    assert earned == pytest.approx(mdp.start @ solution.values, abs=1e-6)


def test_pay_that_surely_runs_out_is_bounded():
    """Every fall pays, but sooner or later it lands one on the start at the right, cut off by wind.

    Rounding must not pass for improvement on the way, or the policy found would never end.
    """
    pay = Rewards(goal=0, hole=0.5, bonus=0.2)
    mdp = mdp_of("SSH#S\nFFSHG", slip=0.2, wind=[2, 1, 0, 1, 0], fall="restart", rewards=pay)
    solution = solve(mdp, 1.0)
    earned = evaluate(mdp, solution.policy, 1.0, 20_000, by_state=True).expected_return
    assert earned == pytest.approx(mdp.start @ solution.values, abs=1e-6)
    assert solution.values[4] == pytest.approx(0, abs=1e-9) and solution.values[0] > 1


def test_large_mazes_are_solved_to_the_same_bound():
    settings = MazeSettings(size=40, slip=0.5, fall="restart", rewards=Rewards(step=-1), seed=4)
    for gamma in (0.99, 1.0):
        solution = solve(build_mdp(build_mazes(settings)[0][1]), gamma)
        assert solution.error_bound <= 1e-10 * max(1, np.abs(solution.values).max())
        assert solution.policy[0].argmax() in (1, RIGHT)


@pytest.mark.parametrize("apart", [0, 1, 5])
@pytest.mark.parametrize("n", [7, 130, 400])
def test_chain_values_equal_a_dense_solve(n, apart):
    rng = np.random.default_rng(n + apart)
    near = np.clip(np.arange(n)[:, None] + rng.integers(-9, 10, (n, 3)), 0, n - 1)
    follow = np.column_stack([near, rng.integers(0, max(apart, 1), n)])
    weight = rng.random((n, 4)) * [1, 1, 1, bool(apart)]
    weight *= 0.999 / weight.sum(axis=1, keepdims=True)
    reward = rng.normal(size=n)
    matrix = np.zeros((n, n))
    np.add.at(matrix, (np.arange(n)[:, None], follow), weight)
    assert np.allclose(
        chain_values(follow, weight, reward), np.linalg.solve(np.eye(n) - matrix, reward), rtol=1e-9
    )


def test_the_path_of_a_hopeless_policy_is_its_start():
    mdp = mdp_of("##H#\n#SFG\n##H#", slip=0.9, rewards=Rewards(goal=1, hole=-9))
    assert optimal_path(mdp, solve(mdp, 1.0)) == [5]
