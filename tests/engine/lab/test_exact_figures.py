"""Exact figures beyond those of π*: of what can be seen, and of where a policy is used."""

import numpy as np
import pytest

from engine import factory, presets
from engine.config.preset import Preset
from engine.experiments.lab.exact_figures import deployed, observable
from engine.learning.events import PerAgent

# Right of one start, left of the other: both cells beside the starts look the same.
TWO_SIDES = """
title = "x"
summary = "x"
[maze]
map = "S..G..S"
max_steps = 20
observation = "neighbourhood"
memory = 1
[algorithm]
name = "q-learning"
gamma = 0.5
[budget]
env_steps = 50
[run]
agents = 3
"""
# Two moves over a cell with holes on both sides: safe without slip, and mostly fatal with it.
BRIDGE = """
title = "x"
summary = "x"
[maze]
map = '''
#H#
S.G
#H#
'''
[deploy]
slip = 0.6
rewards = {goal = 1.0, hole = -1.0}
[algorithm]
name = "q-learning"
gamma = 0.5
[budget]
env_steps = 50
"""


def read(text: str, *overrides: str) -> Preset:
    return presets.parse(text, overrides=list(overrides))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memory", "best"),
    # From each start the prize is the third move: 0.25. Without memory only from one of them.
    [(1, 0.125), (2, 0.25)],
)
def test_the_best_that_can_be_done_with_what_is_seen(memory: int, best: float) -> None:
    preset = read(TWO_SIDES, f"maze.memory={memory}")
    figures = observable(preset)
    assert figures["observable_optimum"] == pytest.approx(best)
    assert figures["observable_success_rate"] == pytest.approx(best / 0.25)
    learner = factory.make_learner(preset)
    learner.prepare()
    learner.begin()
    learner.advance(50)
    (last,) = (event for event in learner.conclude() if isinstance(event, PerAgent))
    assert last.figures["observable_optimum"] == pytest.approx(np.full(3, best))


def test_no_such_figure_where_the_agent_sees_its_cell_or_worlds_are_drawn() -> None:
    drawn = read(TWO_SIDES, "maze.randomize={slip = [0.0, 0.5], worlds = 2}")
    for preset in (read(TWO_SIDES, "maze.observation=cell"), drawn):
        learner = factory.make_learner(preset)
        assert learner.worlds.observable_optimum(0) is None


def test_nor_where_the_search_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.tabular.worlds.EXAMINED", 1)
    learner = factory.make_learner(read(TWO_SIDES))
    assert learner.worlds.observable_optimum(0) is None


def test_optimal_policies_of_both_worlds_where_the_policy_is_used() -> None:
    found = deployed(read(BRIDGE))
    # The first move is repeated until it succeeds (0.4 each time), the second earns 0.4 - 0.6:
    # x = 0.5·(0.4·(0.4 − 0.6) + 0.6·x).
    assert found["transferred_return"] == pytest.approx(-0.04 / 0.7)
    assert found["transferred_success_rate"] == pytest.approx(0.4)
    # Under those rules it is best to stay.
    assert found["deployed_optimal_return"] == 0.0
    assert found["deployed_optimal_success_rate"] == 0.0


def test_without_a_deployed_world_it_is_the_one_of_training() -> None:
    found = deployed(read(BRIDGE[: BRIDGE.index("[deploy]")] + BRIDGE[BRIDGE.index("[algo") :]))
    assert found["transferred_return"] == found["deployed_optimal_return"] == pytest.approx(0.5)
    assert found["transferred_success_rate"] == found["deployed_optimal_success_rate"] == 1.0
