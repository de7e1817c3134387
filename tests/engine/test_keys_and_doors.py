"""Keys, doors and lesser prizes: states, transitions, what is refused, generated mazes."""

import numpy as np
import pytest

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes, edit_map
from engine.env.build_mdp import build_mdp, build_mdps, observation_text
from engine.env.maze import DOWN, LEFT, RIGHT, UP, Maze
from engine.env.mdp import reachable
from engine.env.settings import MazeSettings, Rewards
from engine.exact.evaluate import evaluate
from engine.exact.solve import solve


def maze_of(text: str, **rules) -> Maze:
    return build_mazes(MazeSettings(map=text, **rules))[0][1]


def onward(mdp, state: int, action: int) -> dict[int, float]:
    """{next state: probability} of a state and action."""
    found: dict[int, float] = {}
    for k in range(mdp.n_branches):
        landing, chance = int(mdp.next_state[state, action, k]), mdp.probability[state, action, k]
        if chance > 0:
            found[landing] = found.get(landing, 0.0) + float(chance)
    return found


ROOM = "kSDG"  # cells 0 to 3; with the key 4 to 7
PAY = Rewards(goal=10.0, lesser=3.0, key=2.0, step=-1.0, bump=-0.5)


def test_states_are_masks_times_cells():
    maze = maze_of(ROOM)
    mdp = build_mdp(maze)
    assert (maze.n_cells, maze.n_keys, maze.n_states, mdp.n_states) == (4, 1, 8, 8)
    assert mdp.cell.tolist() == [0, 1, 2, 3] * 2 and mdp.held.tolist() == [0] * 4 + [1] * 4
    assert mdp.n_cells == 4 and maze.cell(6) == (0, 2)
    assert mdp.start.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert np.flatnonzero(reachable(mdp)).tolist() == [1, 4, 5, 6]


def test_a_door_is_a_wall_until_the_key_is_held():
    mdp = build_mdp(maze_of(ROOM, rewards=PAY))
    assert onward(mdp, 1, RIGHT) == {1: 1.0} and mdp.reward[1, RIGHT, 0] == -1.5
    assert onward(mdp, 1, LEFT) == {4: 1.0} and mdp.reward[1, LEFT, 0] == 1.0
    assert mdp.reward[4, LEFT, 0] == -1.5  # the key is taken once
    assert onward(mdp, 5, LEFT) == {4: 1.0} and mdp.reward[5, LEFT, 0] == -1.0
    assert onward(mdp, 5, RIGHT) == {6: 1.0}
    assert mdp.success[6, RIGHT, 0] and mdp.reward[6, RIGHT, 0] == 9.0


def test_all_keys_are_needed():
    mdp = build_mdp(maze_of("kSk\n#D#\n#G#"))
    full = 3 * 9
    assert onward(mdp, 1, DOWN) == {1: 1.0} and onward(mdp, 9 + 1, DOWN) == {10: 1.0}
    assert onward(mdp, full + 1, DOWN) == {full + 4: 1.0}
    assert onward(mdp, 9 + 1, RIGHT) == {full + 2: 1.0}  # bit 0 is the key on the left
    best = solve(mdp, 0.9)
    assert best.steps[1] == pytest.approx(6)
    assert best.values[1] == pytest.approx(0.9**5)


def test_slip_takes_a_key_and_is_stopped_by_a_door():
    mdp = build_mdp(maze_of("FFF\nkSD\nFFG", slip=0.4))
    here = 4
    assert onward(mdp, here, UP) == pytest.approx({1: 0.6, 9 + 3: 0.2, here: 0.2})
    assert onward(mdp, 9 + here, UP) == pytest.approx({10: 0.6, 12: 0.2, 9 + 5: 0.2})


def test_wind_stops_at_a_door_and_only_the_landing_cell_gives_its_key():
    maze = maze_of("FFG\nDFF\nFkF\nSFF", wind=[2, 2, 0])
    mdp = build_mdp(maze)
    assert onward(mdp, 9, UP) == {6: 1.0}  # three up, but the door is shut
    assert onward(mdp, 12 + 9, UP) == {12 + 0: 1.0}
    assert onward(mdp, 10, UP) == {1: 1.0}  # blown over the key
    assert onward(mdp, 4, DOWN) == {1: 1.0}


def test_a_fall_that_leads_back_keeps_the_keys():
    mdp = build_mdp(maze_of("kSDG\nFHFF", fall="restart", rewards=PAY))
    assert onward(mdp, 1, DOWN) == {1: 1.0} and mdp.fall[1, DOWN, 0]
    assert onward(mdp, 8 + 1, DOWN) == {8 + 1: 1.0} and mdp.fall[9, DOWN, 0]
    two = build_mdp(maze_of("kSDGS\nFHFFF", fall="restart"))
    assert onward(two, 10 + 1, DOWN) == {11: 0.5, 14: 0.5}


def test_a_lesser_prize_ends_the_episode_without_success():
    mdp = build_mdp(maze_of("gSFG", rewards=PAY))
    assert mdp.terminal[1, LEFT, 0] and not mdp.success[1, LEFT, 0] and not mdp.fall.any()
    assert mdp.reward[1, LEFT, 0] == 2.0
    assert onward(mdp, 0, RIGHT) == {0: 1.0} and mdp.reward[0, RIGHT, 0] == 0.0
    left = np.zeros((4, 4))
    left[:, LEFT] = 1.0
    found = evaluate(mdp, left, 0.9)
    assert (found.success_rate, found.expected_return, found.expected_length) == (0.0, 2.0, 1.0)


def test_observations_of_cells_know_the_keys():
    maze = maze_of("kSk\n#D#\n#G#")
    mdp = build_mdp(maze)
    assert mdp.observation.tolist() == list(range(36)) and mdp.n_observations == 36
    assert observation_text(maze, mdp, 1) == "row 1, column 2, no key held"
    assert observation_text(maze, mdp, 10) == (
        "row 1, column 2, 1 of 2 keys held (from row 1, column 1)"
    )
    assert observation_text(maze, mdp, 28) == "row 1, column 2, both keys held"


def test_neighbourhoods_see_keys_doors_and_lesser_prizes_as_they_are_now():
    maze = maze_of("gFk\nSFD\nFFG", observation="neighbourhood")
    mdp = build_mdp(maze)

    def words(state: int) -> str:
        return observation_text(maze, mdp, int(mdp.observation[state]))

    assert words(1) == "lesser prize left, ice below, key right, wall above, 0 of 1 key held"
    assert words(4) == "ice left, ice below, door right, ice above, 0 of 1 key held"
    assert words(9 + 4) == "ice left, ice below, ice right, ice above, 1 of 1 key held"
    assert words(9 + 1).startswith("lesser prize left, ice below, ice right")


def test_worlds_with_other_keys_have_equally_many_states():
    one, two = build_mdps([maze_of("kSDG"), maze_of("FSFG")])
    assert one.n_states == two.n_states == one.n_observations == two.n_observations == 8
    assert two.cell.tolist() == one.cell.tolist() and two.observation.tolist() == list(range(8))
    assert np.allclose(two.probability.sum(axis=2), 1) and not reachable(two)[4:].any()
    assert two.terminal[4:, :, 0].all()


REFUSED = {
    "a door alone": ({"map": "SDG"}, ["maze.map has a door and no key"]),
    "too many keys": ({"map": "SkkkkkkkG"}, ["maze.map has 7 keys", "at most 6"]),
    "a key behind its door": ({"map": "SFDkG"}, ["no way from a start", "to every key"]),
    "a key out of reach": ({"map": "SDG\n###\nkFF"}, ["no way from a start to the goal"]),
    "a lesser prize in the way": ({"map": "SgG"}, ["no way from a start to the goal"]),
    "one key of two": ({"map": "kSDG\n####\nkFFF"}, ["no way from a start to the goal"]),
    "keys of a map": ({"map": "kSDG", "keys": 1}, ["maze.keys is for generated mazes"]),
    "walls of a map": ({"map": "SG", "walls": 0.1}, ["maze.walls is for generated mazes"]),
    "no room": ({"size": 3, "keys": 6}, ["maze.keys is 6", "3x3 has room for 5"]),
    "too large": ({"size": 64, "keys": 6}, ["262,144 states", "at most 100,000"]),
}


@pytest.mark.parametrize(("keys", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(keys, words):
    with pytest.raises(UserError) as error:
        build_mazes(MazeSettings(**keys))
    for word in words:
        assert word in str(error.value)


def test_a_way_may_cross_the_map_twice():
    assert maze_of("SFFFk\n####F\nGDFFF").n_keys == 1
    maze = maze_of("SFk\nFFF\nDFF\nG##")
    assert edit_map(maze, ("kFS", "FFF", "DFF", "G##")).key_cells == (0,)


@pytest.mark.slow
@pytest.mark.parametrize("density", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("size", "keys"), [(3, 5), (4, 1), ((2, 9), 6), (12, 3), ((9, 2), 2)])
def test_generated_mazes_with_keys_can_be_solved(size, keys, density):
    for seed in range(6):
        settings = MazeSettings(size=size, keys=keys, hole_density=density, walls=0.2, seed=seed)
        ((_, maze),) = build_mazes(settings)
        tiles = "".join(maze.rows)
        assert (tiles.count("k"), tiles.count("D"), tiles.count("G")) == (keys, 1, 1)
        mdp = build_mdp(maze)
        assert solve(mdp, 0.99).values[0] > 0  # there is a way
        won = mdp.success & (mdp.probability > 0) & reachable(mdp)[:, None, None]
        assert set(mdp.held[np.flatnonzero(won.any(axis=(1, 2)))]) == {2**keys - 1}
        assert build_mazes(settings)[0][1] == maze


def test_walls_of_generated_mazes_leave_others_as_they_were():
    ((_, plain),) = build_mazes(MazeSettings(size=4, seed=0, hole_density=0.4))
    ((_, walled),) = build_mazes(MazeSettings(size=4, seed=0, hole_density=0.4, walls=0.3))
    assert plain.rows == ("SHHH", "FFFF", "FFFH", "FHFG")
    assert "#" in "".join(walled.rows)
