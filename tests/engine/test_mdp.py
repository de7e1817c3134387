"""Transition tables: FrozenLake's to 1e-12, each rule of the ice, observations, several worlds."""

import gymnasium
import numpy as np
import pytest

from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp, build_mdps, observation_text
from engine.env.maze import DOWN, LEFT, RIGHT, UP
from engine.env.mdp import MDP
from engine.env.settings import MazeSettings, Rewards


def maze_of(text, **rules):
    return build_mazes(MazeSettings(map=text, **rules))[0][1]


def table(text, **rules) -> MDP:
    return build_mdp(maze_of(text, **rules))


def outcomes(mdp: MDP, s: int, a: int):
    """{(next state, reward, terminal): probability} of a state and action."""
    found: dict = {}
    for k in range(mdp.n_branches):
        key = (
            int(mdp.next_state[s, a, k]),
            float(mdp.reward[s, a, k]),
            bool(mdp.terminal[s, a, k]),
        )
        if mdp.probability[s, a, k] > 0:
            found[key] = found.get(key, 0.0) + float(mdp.probability[s, a, k])
    return found


@pytest.mark.parametrize("name", ["4x4", "8x8"])
@pytest.mark.parametrize("slippery", [True, False])
def test_frozen_lake_entry_by_entry(name, slippery):
    lake = gymnasium.make("FrozenLake-v1", map_name=name, is_slippery=slippery).unwrapped
    text = "\n".join("".join(row) for row in lake.desc.astype(str))
    mdp = table(text, slip=2 / 3 if slippery else 0.0)
    assert np.allclose(mdp.start, lake.initial_state_distrib, atol=1e-12)
    assert mdp.n_branches == (3 if slippery else 1)
    for s in range(mdp.n_states):
        for a in range(4):
            branches = np.flatnonzero(mdp.probability[s, a])
            assert len(branches) == len(lake.P[s][a])
            for k, (p, landing, reward, done) in zip(branches, lake.P[s][a], strict=True):
                assert mdp.probability[s, a, k] == pytest.approx(p, abs=1e-12)
                assert mdp.next_state[s, a, k] == landing
                assert mdp.reward[s, a, k] == pytest.approx(reward, abs=1e-12)
                assert mdp.terminal[s, a, k] == done
                assert mdp.success[s, a, k] == (reward == 1)


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("FrozenLake-v1", {}),
        ("CliffWalking-v1", {}),
        ("CliffWalking-v1", {"is_slippery": True}),
        ("Taxi-v4", {}),
        ("Taxi-v4", {"is_rainy": True}),
    ],
)
def test_gymnasium_tables_are_read_as_they_are(env_id, kwargs):
    mdp = build_mdp(build_mazes(MazeSettings(gymnasium=env_id, kwargs=kwargs))[0][1])
    env = gymnasium.make(env_id, **kwargs).unwrapped
    assert np.allclose(mdp.start, env.initial_state_distrib)
    for s in range(0, mdp.n_states, 3):
        for a in range(mdp.n_actions):
            expected: dict = {}
            for p, landing, reward, done in env.P[s][a]:
                key = (int(landing), float(reward), bool(done))
                expected[key] = expected.get(key, 0.0) + p
            assert outcomes(mdp, s, a) == pytest.approx(expected)


def test_success_and_falls_of_gymnasium_worlds():
    taxi = build_mdp(build_mazes(MazeSettings(gymnasium="Taxi-v4"))[0][1])
    assert set(taxi.reward[taxi.success]) == {20.0} and not taxi.fall.any()
    cliff_maze = build_mazes(MazeSettings(gymnasium="CliffWalking-v1"))[0][1]
    cliff = build_mdp(cliff_maze)
    assert cliff.success[35, 2, 0] and cliff.next_state[35, 2, 0] == 47
    assert cliff.fall[36, 1, 0] and not cliff.terminal[36, 1, 0]
    lake = MazeSettings(gymnasium="FrozenLake-v1", success=[5])
    fallen = build_mdp(build_mazes(lake)[0][1])
    assert set(fallen.next_state[fallen.success]) == {5}
    by_reward = MazeSettings(gymnasium="FrozenLake-v1", success=0.0)
    assert set(np.unique(build_mdp(build_mazes(by_reward)[0][1]).next_state)) >= {5, 15}


@pytest.mark.parametrize("slip", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("fall", ["end", "restart"])
def test_every_row_is_a_distribution(slip, fall):
    mdp = table("SFBH\n#FFS\nHFFG", slip=slip, fall=fall, wind=[0, 1, 0, 0])
    assert np.allclose(mdp.probability.sum(axis=2), 1.0, atol=1e-15)
    unused = mdp.probability == 0
    own = np.broadcast_to(np.arange(12)[:, None, None], unused.shape)
    if slip == 0:
        assert (mdp.next_state[unused] == own[unused]).all()
    assert mdp.start.sum() == 1 and mdp.start[0] == 0.5


def test_full_slip_never_goes_ahead():
    mdp = table("FFF\nFSF\nFFG", slip=1.0)
    assert outcomes(mdp, 4, LEFT) == {(7, 0.0, False): 0.5, (1, 0.0, False): 0.5}


def test_slip_picks_the_direction_and_wind_still_blows():
    mdp = table("FFF\nFFF\nFSG", slip=0.2, wind=[0, 1, 0])
    assert outcomes(mdp, 7, RIGHT) == pytest.approx(
        {(5, 0.0, False): 0.8, (1, 0.0, False): 0.1, (7, 0.0, False): 0.1}
    )


PAY = Rewards(goal=10.0, hole=-5.0, step=-1.0, bump=-0.5, bonus=2.0)


def test_rewards_add_up():
    mdp = table("SBG\nFHF", rewards=PAY)
    assert outcomes(mdp, 0, LEFT) == {(0, -1.5, False): 1.0}
    assert outcomes(mdp, 0, RIGHT) == {(1, 1.0, False): 1.0}
    assert outcomes(mdp, 1, UP) == {(1, 0.5, False): 1.0}  # bumped, but on the bonus again
    assert outcomes(mdp, 1, DOWN) == {(4, -6.0, True): 1.0}
    assert outcomes(mdp, 1, RIGHT) == {(2, 9.0, True): 1.0}
    assert mdp.fall[1, DOWN, 0] and mdp.success[1, RIGHT, 0]


def test_only_the_landing_cell_acts():
    mdp = table("FF\nHF\nSG", wind=[2, 0])
    assert outcomes(mdp, 4, UP) == {(0, 0.0, False): 1.0}  # blown over the hole
    assert outcomes(mdp, 4, DOWN) == {(2, 0.0, True): 1.0}  # one down, two up: into it


@pytest.mark.parametrize("fall", ["end", "restart"])
def test_terminal_cells_holes_and_walls_rest(fall):
    mdp = table("SF#\nFFG\nHFF", slip=0.5, fall=fall, rewards=PAY)
    for cell in (2, 5, 6):
        for a in range(4):
            assert outcomes(mdp, cell, a) == {(cell, 0.0, True): 1.0}
            assert not mdp.success[cell, a].any() and not mdp.fall[cell, a].any()


def test_restart_goes_on_at_the_start():
    mdp = table("SFG\nHFF", fall="restart", rewards=PAY)
    assert mdp.n_branches == 1
    assert outcomes(mdp, 4, LEFT) == {(0, -6.0, False): 1.0}
    assert mdp.fall[4, LEFT, 0] and not mdp.success[4, LEFT, 0]


def test_restart_splits_over_the_starts():
    mdp = table("SFG\nHFS", slip=0.5, fall="restart", rewards=PAY)
    assert outcomes(mdp, 0, DOWN) == pytest.approx(
        {(0, -6.0, False): 0.25, (5, -6.0, False): 0.25, (1, -1.0, False): 0.25}
        | {(0, -1.5, False): 0.25}
    )


def test_neighbourhoods_alias_cells_that_look_alike():
    text = "FFFFS\nFFFFF\nFFFFF\nFHFFF\nFFFFG"
    maze = maze_of(text, observation="neighbourhood")
    mdp = build_mdp(maze)
    assert mdp.n_observations == np.unique(mdp.observation).size == 15
    assert mdp.observation[6] == mdp.observation[7]  # nothing but ice around both
    assert mdp.observation[11] != mdp.observation[6]
    text = observation_text(maze, mdp, int(mdp.observation[11]))
    assert text == "ice left, hole below, ice right, ice above"
    assert observation_text(maze, mdp, int(mdp.observation[19])) == (
        "ice left, prize below, wall right, ice above"
    )


def test_observations_mean_the_same_in_every_world():
    first = maze_of("SFFG\nFFFF", observation="neighbourhood")
    other = maze_of("GHFS\nFFFF", observation="neighbourhood", slip=0.5)
    one, two = build_mdps([first, other])
    assert one.n_branches == two.n_branches == 3
    assert one.observation[6] == two.observation[6]  # ice but for the edge below
    assert one.observation[5] != two.observation[5]
    assert outcomes(one, 1, RIGHT) == {(2, 0.0, False): 1.0}
    assert (one.next_state[1, :, 1:] == 1).all() and (one.probability[1, :, 1:] == 0).all()


def test_observation_text_of_cells_and_states():
    maze = maze_of("SF\nFG")
    assert observation_text(maze, build_mdp(maze), 2) == "row 2, column 1"
    taxi = build_mazes(MazeSettings(gymnasium="Taxi-v4"))[0][1]
    assert observation_text(taxi, build_mdp(taxi), 3) == "state 3"
    with pytest.raises(IndexError, match="observation 4"):
        observation_text(maze, build_mdp(maze), 4)
