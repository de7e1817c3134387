"""IceMaze-v0 as a Gymnasium environment."""

import importlib
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import engine.env.gymnasium_env
from engine.core.errors import UserError


def make(**keys):
    return gymnasium.make("IceMaze-v0", **keys)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"size": 8, "slip": 0.3, "seed": 2},
        {"map": "SF\nHG", "observation": "neighbourhood", "fall": "restart"},
        {"map": "SFFS\nFFFF\nGFBF", "wind": [0, 1, 1, 0], "rewards": {"step": -1.0}},
    ],
)
def test_gymnasium_accepts_it_without_a_warning(keys):
    env = make(**keys, render_mode="ansi").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # It only says that a registered env is best checked before it is wrapped: it is not wrapped
        check_env(env, skip_render_check=True)


def test_registering_twice_changes_nothing():
    before = gymnasium.registry["IceMaze-v0"]
    importlib.reload(engine.env.gymnasium_env)
    assert gymnasium.registry["IceMaze-v0"] is before
    assert before.max_episode_steps is None


def test_its_table_is_frozen_lakes():
    lake = gymnasium.make("FrozenLake-v1").unwrapped
    env = make(slip=2 / 3).unwrapped
    assert np.allclose(env.initial_state_distrib, lake.initial_state_distrib)
    for s in range(16):
        for a in range(4):
            assert np.allclose(env.P[s][a], lake.P[s][a], atol=1e-12)


def test_episodes_terminate_at_the_prize():
    env = make()
    observation, info = env.reset(seed=0)
    assert (observation, info) == (0, {"prob": 1.0})
    for action in (1, 1, 2, 2, 1):
        *_, terminated, truncated, _ = env.step(action)
        assert not terminated and not truncated
    assert env.step(2) == (15, 1.0, True, False, {"prob": 1.0})


def test_truncation_is_not_termination():
    env = make(max_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    env = make(map="SFG", max_steps=2)
    env.reset(seed=0)
    env.step(2)
    assert env.step(2)[2:4] == (True, False)  # the end comes in the last step: it is no truncation
    env.reset()
    assert env.step(0)[2:4] == (False, False)


def test_the_seed_decides_everything():
    def play(seed):
        env = make(size=6, slip=0.8, hole_density=0.0)
        env.reset(seed=seed)
        return [env.step(2)[0] for _ in range(40)]

    assert play(1) == play(1) != play(2)


def test_frequencies_match_the_table():
    env = make(map="FFF\nFSF\nFFG", slip=0.5)
    env.reset(seed=7)
    n = 4000
    landed = []
    for _ in range(n):
        env.unwrapped.state = 4
        landed.append(env.step(2)[0])
    shares = {cell: landed.count(cell) / n for cell in (1, 5, 7)}
    for cell, chance in ((1, 0.25), (5, 0.5), (7, 0.25)):
        assert abs(shares[cell] - chance) < 5 * (chance * (1 - chance) / n) ** 0.5


def test_the_map_changes_at_the_end_of_the_episode():
    env = make(map="SFG", changes=[{"step": 1, "map": "GFS"}])
    env.reset(seed=0)
    assert env.step(2)[0] == 1
    assert env.step(2)[0] == 2  # still the old map
    assert env.reset()[0] == 2
    assert env.unwrapped.maze.rows == ("GFS",)


def test_render_shows_the_agent():
    env = make(map="SF\nFG", render_mode="ansi")
    env.reset(seed=0)
    env.step(1)
    assert env.render() == "SF\n@G\n"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"slipp": 0.5}, "maze.slipp is no option of IceMaze-v0. Did you mean 'slip'"),
        ({"slip": 2.0}, "slip"),
        ({"gymnasium": "Taxi-v4"}, "call gymnasium.make with that id"),
        ({"map": "S#G"}, "no way from a start"),
    ],
)
def test_bad_options_are_user_errors(keys, words):
    with pytest.raises(UserError, match=words):
        make(**keys)
