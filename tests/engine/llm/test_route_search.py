"""Shortest routes against brute force; the expert on slippery ice against the exact solution."""

import itertools

import numpy as np
import pytest

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.exact.evaluate import evaluate
from engine.exact.solve import solve
from engine.llm.tasks import route_search as routes

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
LAKE_MDP = build_mdp(Maze(rows=LAKE))
SLIPPERY = build_mdp(Maze(rows=LAKE, slip=2 / 3))
WALLED = build_mdp(Maze(rows=("SF#G", "FFFF", "BHF#"), wind=(0, 0, 1, 0), max_steps=20))


def follow(mdp: MDP, start: int, route: tuple[int, ...]) -> bool:
    """Whether `route` reaches the prize with its last move."""
    state = start
    for i, action in enumerate(route):
        if mdp.terminal[state, action, 0]:
            return bool(mdp.success[state, action, 0]) and i == len(route) - 1
        state = int(mdp.next_state[state, action, 0])
    return False


def brute_force(mdp: MDP, start: int, longest: int = 6) -> set[tuple[int, ...]]:
    """All shortest routes among all sequences of up to `longest` moves."""
    for n in range(1, longest + 1):
        found = {r for r in itertools.product(range(4), repeat=n) if follow(mdp, start, r)}
        if found:
            return found
    return set()


@pytest.mark.parametrize("mdp", [LAKE_MDP, WALLED], ids=["lake", "wind and walls"])
def test_routes_are_the_shortest_of_all(mdp: MDP) -> None:
    distance, best = routes.distances(mdp), routes.shortest_actions(mdp)
    for start in range(mdp.n_states):
        expected = brute_force(mdp, start)
        assert {tuple(r) for r in routes.all_routes(mdp, start)} == expected
        if expected:
            assert distance[start] == len(min(expected))
            assert set(np.flatnonzero(best[start])) == {route[0] for route in expected}


def test_cells_without_a_way_have_no_targets() -> None:
    at_rest = [5, 7, 11, 12, 15]  # holes and the prize
    best = routes.shortest_actions(LAKE_MDP)
    assert not best[at_rest].any() and best[[0, 1, 2, 3, 4, 6, 8, 9, 10, 13, 14]].any(1).all()
    assert np.isinf(routes.distances(LAKE_MDP)[at_rest]).all()
    policy = routes.expert_policy(LAKE_MDP, 0.99)
    np.testing.assert_array_equal(policy[at_rest], 0.0)


def test_equally_good_moves_share_evenly_and_always_arrive() -> None:
    policy = routes.expert_policy(LAKE_MDP, 0.99)
    np.testing.assert_array_equal(policy[0], [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(policy[9], [0, 0.5, 0.5, 0])
    found = evaluate(LAKE_MDP, policy, 0.99)
    assert found.success_rate == pytest.approx(1.0)
    assert found.expected_length == pytest.approx(6.0)


def test_on_slippery_ice_the_expert_is_the_optimal_policy() -> None:
    with pytest.raises(ValueError, match="do what they say"):
        routes.shortest_actions(SLIPPERY)
    policy = routes.expert_policy(SLIPPERY, 0.99)
    solution = solve(SLIPPERY, 0.99)
    decides = policy.any(axis=1)
    assert decides.sum() == 11
    np.testing.assert_allclose(
        (policy * solution.q).sum(1)[decides], solution.values[decides], rtol=1e-9
    )
    assert evaluate(SLIPPERY, policy, 0.99).expected_return == pytest.approx(
        evaluate(SLIPPERY, solution.policy, 0.99).expected_return, rel=1e-9
    )


def test_states_that_look_alike_share_one_target() -> None:
    mdp = build_mdp(Maze(rows=("SFFFG",), observation="neighbourhood"))
    policy = routes.expert_policy(mdp, 0.99)
    assert policy.shape == (mdp.n_observations, 4)
    np.testing.assert_array_equal(policy[mdp.observation[:4]], [[0, 0, 1, 0]] * 4)
    assert policy.sum() == len(set(mdp.observation[:4].tolist()))


def test_a_route_is_drawn_among_the_shortest() -> None:
    rng = np.random.default_rng(0)
    drawn = {tuple(routes.sample_route(LAKE_MDP, 0, rng)) for _ in range(60)}
    assert drawn == {tuple(r) for r in routes.all_routes(LAKE_MDP, 0)} and len(drawn) == 3
    assert routes.sample_route(LAKE_MDP, 5, rng) == []
    assert len(routes.all_routes(LAKE_MDP, 0, limit=2)) == 2


def test_a_route_in_words() -> None:
    assert routes.route_text([1, 2, 0, 3]) == "down right left up"
    assert routes.route_text([0], ("west", "east")) == "west"
