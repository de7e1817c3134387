"""What counts as success in environments of Gymnasium's: the goal where there is one, whatever it
pays; else a rule that is told with the figure."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.settings import MazeSettings
from engine.exact.evaluate import evaluate

SCHEDULES = [[1, 0, 0], [0, 0, -1], [1, 1, 0], [-1, 5, 0], [0, 0, 0]]
"""What goal, hole and ice pay."""
ROWS = ["SFFG", "FHFS", "GFFH"]


def made(env: str, **settings: Any) -> tuple[Maze, MDP]:
    ((_, maze),) = build_mazes(MazeSettings(gymnasium=env, **settings))
    return maze, build_mdp(maze)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("slippery", [True, False])
@pytest.mark.parametrize(
    "lake", [{"map_name": "4x4"}, {"map_name": "8x8"}, {"desc": ROWS}], ids=["4x4", "8x8", "own"]
)
def test_success_on_a_frozen_lake_is_the_goal_whatever_it_pays(
    lake: dict[str, Any], slippery: bool, schedule: list[float]
) -> None:
    kwargs = {**lake, "is_slippery": slippery, "reward_schedule": schedule}
    maze, mdp = made("FrozenLake-v1", kwargs=kwargs)
    env = gymnasium.make("FrozenLake-v1", **kwargs).unwrapped
    tiles = env.desc.ravel()  # type: ignore[attr-defined]
    for s, actions in env.P.items():  # type: ignore[attr-defined]
        for a, branches in actions.items():
            for k, (_, landing, reward, _) in enumerate(branches):
                arrives = tiles[s] not in b"GH" and tiles[landing] == b"G"
                assert mdp.success[s, a, k] == arrives
                assert mdp.reward[s, a, k] == reward
    assert maze.success_rule == ""


def test_jumping_into_a_hole_is_no_success() -> None:
    """It pays 0 as the goal does, and each step costs 1: the fewest steps end in the hole."""
    kwargs = {"is_slippery": False, "reward_schedule": [0, 0, -1]}
    _, mdp = made("FrozenLake-v1", kwargs=kwargs)
    into_the_hole = np.zeros((16, 4))
    into_the_hole[:, 1] = 1.0  # down, down, …
    into_the_hole[[4, 0], :] = [[0, 0, 1, 0], [0, 1, 0, 0]]
    found = evaluate(mdp, into_the_hole, 1.0)
    assert float(found.expected_length) == 2.0 and float(found.success_rate) == 0.0


@pytest.mark.parametrize("env", ["CliffWalking-v1", "CliffWalkingSlippery-v1"])
def test_success_at_the_cliff_is_the_goal(env: str) -> None:
    maze, mdp = made(env)
    table = gymnasium.make(env).unwrapped.P  # type: ignore[attr-defined]
    for s in range(47):  # an episode is over in state 47
        for a, branches in table[s].items():
            for k, (_, landing, _, terminated) in enumerate(branches):
                assert mdp.success[s, a, k] == (terminated and landing == 47)
    assert mdp.success.any() and maze.success_rule == ""


@pytest.mark.parametrize("rainy", [False, True])
def test_without_a_map_the_rule_is_told(rainy: bool) -> None:
    """Only a delivery ends an episode in the taxi, and pays 20."""
    maze, mdp = made("Taxi-v4", kwargs={"is_rainy": rainy})
    assert set(mdp.reward[mdp.success]) == {20.0}
    assert maze.success == 20.0
    assert maze.success_rule == "an episode that ends with a reward of at least 20"
    assert build_mdp(maze).success.sum() == mdp.success.sum()


def test_a_rule_of_ones_own_is_told_too() -> None:
    maze, mdp = made("FrozenLake-v1", success=[5, 7])
    assert maze.success_rule == "an episode that ends in states 5, 7"
    assert set(mdp.next_state[mdp.success]) == {5, 7}
    by_reward, _ = made("FrozenLake-v1", success=0.0)
    assert by_reward.success_rule == "an episode that ends with a reward of at least 0"
    goal, _ = made("FrozenLake-v1")
    assert goal.success is None
