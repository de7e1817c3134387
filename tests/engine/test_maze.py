"""Maps: what is accepted, what is refused and in which words, where moves end, the generator."""

import msgspec
import numpy as np
import pytest

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes, edit_map
from engine.env.maze import DOWN, LEFT, RIGHT, UP, Maze, landings, starts_without_a_way
from engine.env.settings import MazeSettings, Rewards

SMALL = "SFFF\nFHFH\nFFFH\nHFFG"


def settings(**keys: object) -> MazeSettings:
    return msgspec.convert(keys, MazeSettings)


def only(**keys: object) -> Maze:
    ((step, maze),) = build_mazes(settings(**keys))
    assert step == 0
    return maze


def test_map_is_read_with_defaults():
    maze = only(map="\n  S.F\n  #BG\n\n")
    assert maze.rows == ("SFF", "#BG")
    assert (maze.shape, maze.n_states, maze.cell(4)) == ((2, 3), 6, (1, 1))
    assert (maze.slip, maze.wind, maze.fall, maze.max_steps) == (0.0, (), "end", 100)
    assert maze.rewards == Rewards() and maze.arrows == ("←", "↓", "→", "↑")


def test_maze_survives_json():
    maze = only(map=SMALL, slip=0.5, wind=[0, 1, 0, 0], rewards={"step": -1}, fall="restart")
    assert msgspec.json.decode(msgspec.json.encode(maze), type=Maze) == maze
    taxi = only(gymnasium="Taxi-v4", success=20)
    assert msgspec.json.decode(msgspec.json.encode(taxi), type=Maze) == taxi


def test_changes_keep_the_rules_and_take_their_steps():
    keys = {
        "map": "SFG",
        "slip": 0.25,
        "changes": [{"step": 5, "map": "GFS"}, {"step": 9, "map": "SFG"}],
    }
    mazes = build_mazes(settings(**keys))
    assert [step for step, _ in mazes] == [0, 5, 9]
    assert [maze.rows for _, maze in mazes] == [("SFG",), ("GFS",), ("SFG",)]
    assert {maze.slip for _, maze in mazes} == {0.25}


REFUSED = {
    "none given": ({}, ["found none of them", "maze.map", "maze.size", "maze.gymnasium"]),
    "two given": ({"map": SMALL, "size": 4}, ["maze.map and maze.size", "exactly one"]),
    "unknown tile": ({"map": "SFG\nFxF"}, ["maze.map", "row 2, column 2", "'x'", "mean '#'"]),
    "lower case": ({"map": "sFG"}, ["row 1, column 1", "'s'", "mean 'S'"]),
    "ragged": ({"map": "SFG\nFF"}, ["maze.map: row 2 has 2 cells", "row 1 has 3"]),
    "blank row": ({"map": "SFG\n\nFFF"}, ["row 2 has 0 cells"]),
    "empty": ({"map": " \n "}, ["maze.map is empty"]),
    "no start": ({"map": "FFG"}, ["maze.map has no start", "one S"]),
    "no goal": ({"map": "SFF"}, ["maze.map has no goal", "one G"]),
    "cut off": ({"map": "S#G"}, ["no way from a start to the goal", "row 1, column 1"]),
    "behind holes": ({"map": "SHG"}, ["no way from a start to the goal"]),
    "one of two starts": ({"map": "SG#S"}, ["no way from a start", "row 1, column 4"]),
    "wind in the way": (
        {"map": "FFF\nSFG", "wind": [0, 1, 1]},
        ["no way from a start to the goal (the wind counts)"],
    ),
    "too large": ({"map": "S" + "F" * 64 + "G"}, ["maze.map is 1x66", "64x64"]),
    "wind length": ({"map": SMALL, "wind": [1, 2]}, ["maze.wind has 2 numbers", "4 columns"]),
    "size too small": ({"size": 1}, ["maze.size is 1", "2 to 64"]),
    "size too large": ({"size": [4, 65]}, ["maze.size is [4, 65]", "2 to 64"]),
    "density alone": ({"map": SMALL, "hole_density": 0.5}, ["maze.hole_density", "maze.size"]),
    "seed alone": ({"map": SMALL, "seed": 3}, ["maze.seed", "maze.size"]),
    "infinite reward": ({"map": SMALL, "rewards": {"goal": float("inf")}}, ["maze.rewards.goal"]),
    "success": ({"map": SMALL, "success": 1.0}, ["maze.success is for maze.gymnasium"]),
    "kwargs": ({"map": SMALL, "kwargs": {"a": 1}}, ["maze.kwargs is for maze.gymnasium"]),
    "change of size": (
        {"map": SMALL, "changes": [{"step": 5, "map": "SFG"}]},
        ["maze.changes[0].map is 1x3", "4x4"],
    ),
    "steps descend": (
        {"map": "SG", "changes": [{"step": 5, "map": "SG"}, {"step": 5, "map": "SG"}]},
        ["maze.changes[1].step is 5", "above 5"],
    ),
    "change cut off": (
        {"map": "SFG", "changes": [{"step": 5, "map": "S#G"}]},
        ["maze.changes[0].map: no way from a start to the goal"],
    ),
    "too many restarts": (
        {"map": "\n".join(["S" * 40] * 2 + ["H" * 39 + "G"]), "fall": "restart"},
        ["80 starts", "at most 64"],
    ),
    "unknown env": ({"gymnasium": "CliffWalking-v7"}, ["'CliffWalking-v7'", "mean 'CliffWalking"]),
    "strange env": ({"gymnasium": "os:system"}, ["no environment 'os:system'", "FrozenLake-v1"]),
    "no table": ({"gymnasium": "CartPole-v1"}, ["CartPole-v1 has no .P transition table"]),
    "bad kwargs": (
        {"gymnasium": "FrozenLake-v1", "kwargs": {"slippery": True}},
        ["maze.kwargs = {'slippery': True}", "could not be made"],
    ),
    "fickle": (
        {"gymnasium": "Taxi-v4", "kwargs": {"fickle_passenger": True}},
        ["maze.kwargs.fickle_passenger"],
    ),
    "success never met": (
        {"gymnasium": "CliffWalking-v1", "success": 5.0},
        ["maze.success = 5.0", "[-1.0]"],
    ),
    "success nowhere": (
        {"gymnasium": "CliffWalking-v1", "success": [3]},
        ["maze.success = [3]", "CliffWalking-v1"],
    ),
    "lake without a way": (
        {"gymnasium": "FrozenLake-v1", "kwargs": {"desc": ["SHG"]}},
        ["maze.kwargs.desc: no way from a start to the goal"],
    ),
    "gymnasium and slip": ({"gymnasium": "Taxi-v4", "slip": 0.0}, ["maze.slip", "Taxi-v4"]),
    "gymnasium and wind": ({"gymnasium": "Taxi-v4", "wind": [1]}, ["maze.wind", "maze.kwargs"]),
    "gymnasium and fall": ({"gymnasium": "Taxi-v4", "fall": "end"}, ["maze.fall"]),
    "gymnasium and rewards": ({"gymnasium": "Taxi-v4", "rewards": {}}, ["maze.rewards"]),
    "gymnasium and changes": (
        {"gymnasium": "Taxi-v4", "changes": [{"step": 1, "map": "SG"}]},
        ["maze.changes"],
    ),
    "gymnasium and sight": (
        {"gymnasium": "Taxi-v4", "observation": "neighbourhood"},
        ["maze.observation = 'neighbourhood'"],
    ),
}


@pytest.mark.parametrize(("keys", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_name_the_key_and_what_was_found(keys, words):
    with pytest.raises(UserError) as error:
        build_mazes(settings(**keys))
    for word in words:
        assert word in str(error.value)


def test_env_without_start_distribution_is_refused():
    import gymnasium

    class Bare(gymnasium.Env):
        P = {0: {0: [(1.0, 0, 0.0, True)]}}  # noqa: RUF012

    gymnasium.register("BareTable-v0", entry_point=Bare)
    try:
        with pytest.raises(UserError, match="BareTable-v0 has no initial_state_distrib"):
            only(gymnasium="BareTable-v0")
    finally:
        del gymnasium.registry["BareTable-v0"]


def test_a_start_may_reach_the_goal_through_a_restart():
    keys = {"map": "SHS\n##G"}
    with pytest.raises(UserError, match="row 1, column 1"):
        only(**keys)
    assert only(**keys, fall="restart").rows == ("SHS", "##G")


def test_edit_map_keeps_rules_and_size():
    maze = only(map=SMALL, slip=0.3)
    edited = edit_map(maze, ("SFFF", "FFFF", "FFFF", "FFFG"))
    assert edited.rows[1] == "FFFF" and edited.slip == 0.3
    with pytest.raises(UserError, match=r"maze\.map is 1x3; it must have the size"):
        edit_map(maze, ("SFG",))
    with pytest.raises(UserError, match="no way from a start"):
        edit_map(maze, ("SHFF", "HFFF", "FFFF", "FFFG"))
    with pytest.raises(UserError, match="belongs to Taxi-v4"):
        edit_map(only(gymnasium="Taxi-v4"), ("SG",))


def test_moves_stop_at_edges_and_walls():
    landing, bumped = landings(Maze(rows=("SF#", "FFG")))
    assert landing[0].tolist() == [0, 3, 1, 0]
    assert bumped[0].tolist() == [True, False, False, True]
    assert (landing[1, RIGHT], bumped[1, RIGHT]) == (1, True)
    assert (landing[5, UP], bumped[5, UP]) == (5, True)


def test_wind_of_the_departing_column_adds_to_the_move():
    maze = Maze(rows=("FFF", "FFF", "FFF", "SFG"), wind=(0, 2, -1))
    landing, bumped = landings(maze)

    def ends(cell, direction):
        return maze.cell(int(landing[cell, direction])), bool(bumped[cell, direction])

    assert ends(10, RIGHT) == ((1, 2), False)
    assert ends(10, DOWN) == ((2, 1), False)  # one down, two up
    assert ends(10, UP) == ((0, 1), False)
    assert ends(7, UP) == ((0, 1), True)  # three up from row 2: the edge stops it
    assert ends(9, RIGHT) == ((3, 1), False)  # the wind of the column one enters does not count
    assert ends(2, LEFT) == ((1, 1), False)  # negative wind pushes down


def test_paths_are_traced_sideways_first_and_stopped_by_walls():
    maze = Maze(rows=("FFF", "F#F", "SFG"), wind=(1, 1, 2))
    landing, bumped = landings(maze)
    assert (landing[6, RIGHT], bumped[6, RIGHT]) == (7, True)  # right, then up into the wall
    assert (landing[8, LEFT], bumped[8, LEFT]) == (7, True)
    assert (landing[8, UP], bumped[8, UP]) == (2, True)
    assert (landing[5, LEFT], bumped[5, LEFT]) == (2, True)  # the wall to the left, then up


def test_without_walls_the_path_is_clipped_to_the_grid():
    height, width = 5, 6
    wind = (0, 1, 2, 3, -1, 7)
    landing, _ = landings(Maze(rows=("F" * width,) * height, wind=wind))
    for cell in range(height * width):
        row, column = divmod(cell, width)
        for d, (down, right) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0))):
            r = np.clip(row + down - wind[column], 0, height - 1)
            c = np.clip(column + right, 0, width - 1)
            assert landing[cell, d] == r * width + c
    assert (LEFT, DOWN, RIGHT, UP) == (0, 1, 2, 3)


@pytest.mark.parametrize("density", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("size", [2, (3, 9), 16])
def test_generated_mazes_are_solvable_and_repeatable(size, density):
    for seed in range(12):
        maze = only(size=size, hole_density=density, seed=seed)
        assert maze.rows[0][0] == "S" and maze.rows[-1][-1] == "G"
        assert starts_without_a_way(maze).size == 0
        assert maze.shape == (size if isinstance(size, tuple) else (size, size))
        assert only(size=size, hole_density=density, seed=seed) == maze


def test_the_largest_dense_maze_has_a_way():
    maze = only(size=64, hole_density=0.6, seed=1)
    assert starts_without_a_way(maze).size == 0
    assert "".join(maze.rows).count("H") > 0.5 * 64 * 64
    assert only(size=64, hole_density=0.6, seed=2) != maze


def test_gymnasium_worlds_bring_their_map_limits_and_actions():
    lake = only(gymnasium="FrozenLake-v1", kwargs={"map_name": "8x8"})
    assert lake.shape == (8, 8) and lake.max_steps == 100 and lake.rows[0] == "SFFFFFFF"
    cliff = only(gymnasium="CliffWalking-v1")
    assert cliff.rows[3] == "SHHHHHHHHHHG" and cliff.shape == (4, 12)
    assert cliff.max_steps == 100 and cliff.arrows == ("↑", "→", "↓", "←")
    taxi = only(gymnasium="Taxi-v4", max_steps=50)
    assert (taxi.rows, taxi.n_states, taxi.max_steps) == ((), 500, 50)
    assert taxi.shape == (20, 25) and taxi.actions[4] == "pickup" and taxi.cell(26) == (1, 1)


def test_a_random_lake_is_pinned():
    lake = only(gymnasium="FrozenLake-v1", kwargs={"map_name": None})
    assert lake.kwargs["desc"] == list(lake.rows)
