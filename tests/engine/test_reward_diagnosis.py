"""The note on reward hacking: when it is given, what it says, and that it is given once."""

from __future__ import annotations

import numpy as np
import pytest

from engine import factory, presets
from engine.config.preset import Preset
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.exact.evaluate import horizon_optimum
from engine.learning.events import AnyEvent, Note
from engine.tabular import reward_hacking
from engine.tabular.reward_hacking import (
    RewardHackingMonitor,
    make_monitor,
    possible_success,
    update_monitor,
)
from engine.tabular.worlds import TabularWorlds

Figures = dict[str, np.ndarray]


def of_preset(name: str, **maze: object) -> tuple[Preset, TabularWorlds]:
    preset = presets.load(name, [f"maze.{key}={value}" for key, value in maze.items()])
    return preset, TabularWorlds(preset.maze, preset.algorithm.gamma)


def figures(success: float, score: float, returned: float = 0.0, n: int = 4) -> Figures:
    named = {"success_rate": success, "expected_score": score, "expected_return": returned}
    return {name: np.full(n, value) for name, value in named.items()}


def follow(
    worlds: TabularWorlds, points: list[tuple[int, float, float]]
) -> tuple[RewardHackingMonitor, list[Note]]:
    """What is said at steps with these success rates and scores."""
    monitor, notes = make_monitor(), list[Note]()
    maze = presets.load("q-learning").maze
    for step, success, score in points:
        notes += update_monitor(monitor, step, figures(success, score), worlds, maze)
    return monitor, notes


@pytest.mark.slow
def test_success_must_fall_and_the_score_rise_for_a_while() -> None:
    _, worlds = of_preset("reward-bonus")
    start = [(1, 0.5, 0.6), (500, 1.0, 1.0)]
    bad = [(step, 0.4, 1.8) for step in (1000, 1100, 1250)]
    _, notes = follow(worlds, [*start, *bad])
    assert [note.step for note in notes] == [1250]
    assert "up from 1" in notes[0].text and "40%" in notes[0].text and "100%" in notes[0].text
    assert follow(worlds, [*start, *bad, (2000, 0.0, 2.4)])[1] == notes, "once"
    # a dip, a fall of both, and a rise of both are something else
    dip = [*bad[:2], (1150, 0.9, 1.8), *[(step, 0.4, 1.8) for step in (1200, 1300)]]
    assert follow(worlds, [*start, *dip])[1] == []
    assert follow(worlds, [*start, *[(step, 0.1, 0.4) for step in (1000, 1250, 2000)]])[1] == []
    assert follow(worlds, [*start, *[(step, 1.0, 1.9) for step in (1000, 1250, 2000)]])[1] == []


def test_another_map_has_another_best() -> None:
    """What was reached before the ice moved is no measure for after it."""
    _, worlds = of_preset("moving-averages")
    points = [(1000, 1.0, 1.0), *[(step, 0.0, 1.5) for step in range(2000, 4000, 100)]]
    monitor, notes = follow(worlds, points)
    assert notes == [] and monitor.best[0] == 0.0
    stay = [(1000, 1.0, 1.0), *[(step, 0.0, 1.5) for step in range(1100, 1900, 100)]]
    assert len(follow(worlds, stay)[1]) == 1


@pytest.mark.slow
def test_doing_what_the_rewards_ask_for_is_noticed_without_a_rise() -> None:
    """Agents that never went for the prize, because the best policy does not."""
    preset, worlds = of_preset("reward-bonus")
    best = worlds.optimum(0)
    assert best.success_rate == 0.0
    seen = figures(0.0, best.expected_score, best.optimal_return)
    (note,) = update_monitor(make_monitor(), 500, seen, worlds, preset.maze)
    assert (note.level, note.term) == ("warning", "reward-design")
    assert "2.4 an episode" in note.text and "reaches it in 0%, where 100% is possible" in note.text
    assert "maze.rewards.bonus to 0" in note.remedy and "maze.shaping" in note.remedy
    half = {name: np.append(values, np.zeros(4)) for name, values in seen.items()}
    assert update_monitor(make_monitor(), 500, half, worlds, preset.maze) == []


@pytest.mark.parametrize(
    ("rewards", "named"),
    [
        ("{step = 0.1}", "maze.rewards.step to 0 "),
        ("{lesser = 0.5}", "maze.rewards.lesser to 0.25"),
        ("{step = -0.2}", "maze.rewards.step to -0.1"),
        ("{goal = 0.5}", "maze.rewards.goal to 1"),
    ],
)
def test_the_remedy_names_what_is_paid(rewards: str, named: str) -> None:
    preset, _ = of_preset("q-learning", rewards=rewards)
    assert named in reward_hacking._remedy(preset.maze)
    assert "episodes" in reward_hacking._remedy(of_preset("q-learning")[0].maze)


def test_possible_success_is_that_of_seeking_the_prize_alone() -> None:
    (_, hacked), *_ = build_mazes(of_preset("reward-bonus")[0].maze)
    assert possible_success(build_mdp(hacked), 0.95) == 1.0
    _, worlds = of_preset("q-learning-slippery")  # pays 1 for the prize, and nothing else
    assert possible_success(worlds.mdps[0], worlds.gamma) == worlds.optimum(0).success_rate < 1.0


@pytest.mark.slow
def test_what_the_time_limit_costs_is_no_fault_of_the_rewards() -> None:
    """The best policy that sees no clock is too careful for 25 moves."""
    preset, worlds = of_preset("rules-slip", max_steps="25")
    best = worlds.optimum(0)
    assert best.success_rate < 0.4 and horizon_optimum(worlds.mdps[0], 1.0) > 0.8
    seen = figures(best.success_rate, best.expected_score, best.optimal_return)
    assert update_monitor(make_monitor(), 5000, seen, worlds, preset.maze) == []


@pytest.mark.slow
def test_a_resumed_run_says_it_once_and_at_the_same_step() -> None:
    def run(split: int) -> list[Note]:
        preset = presets.load("reward-bonus", ["run.seed=2", "run.agents=8"])
        learner = factory.make_learner(preset)
        events: list[AnyEvent] = [*learner.begin(), *learner.advance(split)]
        other = factory.make_learner(preset)
        other.begin()
        other.load(learner.state())
        while not other.done:
            events += other.advance(10**9)
        return [event for event in events if isinstance(event, Note)]

    early, late = run(4600), run(9000)
    assert len(early) == 1 and early == late
    assert early[0].term == "reward-design"
