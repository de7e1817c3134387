"""What is said about one step: what the ice did, what was learned, and from what."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
from moments import DOWN, LAKE, RIGHT, preset_of, walk
from msgspec.structs import replace

from engine import presets
from engine.algorithms import registry
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.learning.events import Step
from tui import kinds
from tui.kinds.exploring import KINDS
from tui.kinds.loop import Story
from tui.log.explain import facts
from tui.log.log_columns import fitting
from tui.model.steps import not_learned_from, result, without_noise
from tui.ui.glyphs import UNICODE

MAZE = Maze(rows=LAKE)
MDP = build_mdp(MAZE)


def step(**changes: object) -> Step:
    """A move right from the start."""
    return walk(MDP, [RIGHT], np.full((16, 4), 0.5), **changes)[0]


def told(now: Step, algorithm: str) -> dict[str, str]:
    kind = kinds.of(preset_of(algorithm))
    return {label: text for label, _, text in facts(now, kind, MAZE, UNICODE)}


# ---------------------------------------------------------------- what the environment did


def test_moves_of_a_foreign_environment_are_no_accidents() -> None:
    taxi = next(name for name in gymnasium.registry if name.startswith("Taxi-"))
    text = f"""
title = "Taxi"
[maze]
gymnasium = "{taxi}"
[algorithm]
name = "q-learning"
[budget]
env_steps = 10
"""
    ((_, maze),) = build_mazes(presets.parse(text).maze)
    mdp = build_mdp(maze)
    said = set()
    for start in range(0, mdp.n_states, 7):
        for action in range(mdp.n_actions):
            landing = int(mdp.next_state[start, action, 0])
            moved = step(state=start, action=action, next_state=landing)
            said.add(result(maze, moved))
    assert said == {"moved on", "stayed"}


@pytest.mark.parametrize(
    ("rows", "wind", "state", "landing", "says"),
    [
        (LAKE, (), 0, 1, "went as meant"),
        (LAKE, (), 0, 4, "slipped down"),
        (LAKE, (), 0, 0, "did not move"),
        (("FFF", "FFF", "SFG"), (2, 0, 0), 6, 1, "blown off course"),
    ],
)
def test_what_ice_and_wind_did(
    rows: tuple[str, ...], wind: tuple[int, ...], state: int, landing: int, says: str
) -> None:
    maze = Maze(rows=rows, wind=wind)
    assert result(maze, step(state=state, next_state=landing)) == says


# ---------------------------------------------------------------- rounding noise


@pytest.mark.parametrize("name", ["q-learning", "n-step-sarsa", "td-0", "value-iteration"])
def test_rounding_noise_is_neither_better_nor_worse(name: str) -> None:
    noisy = step(before=0.845, target=0.845 + 1.3e-15, error=1.3e-15, after=0.845 + 1e-16)
    words = registry.for_tables(name).explain(without_noise(noisy)).words
    assert "e-1" not in words and "better" not in words.replace("better be", "")
    assert told(without_noise(noisy), "q-learning")["TD error δ"].startswith("0 =")


def test_a_small_difference_between_small_numbers_is_no_noise() -> None:
    small = step(reward=0.0, before=1e-15, target=2e-15, error=1e-15, after=1.1e-15)
    assert without_noise(small) is small
    noise = step(advantage_estimate=-3e-16)
    assert without_noise(noise).advantage == 0


# ---------------------------------------------------------------- what the target is made of


def test_n_steps_look_ahead_n_times() -> None:
    late = step(reward=0.0, target=0.7, error=0.2, before=0.5, bootstrap=0.9, step_size=0.1)
    assert "γⁿ × 0.900" in told(late, "n-step-sarsa")["bootstrapping"]
    assert "γ × 0.900" in told(late, "sarsa")["bootstrapping"]
    once = step(reward=1.0, target=1.0 + 0.99 * 0.9, bootstrap=0.9)
    assert "adds γ × 0.900" in told(once, "td-0")["bootstrapping"]
    done = step(reward=0.0, target=0.7, bootstrap=0.0)
    assert "rewards that came" in told(done, "n-step-sarsa")["return-to-go"]


def test_monte_carlo_does_not_bootstrap() -> None:
    late = step(reward=0.0, target=0.7, error=0.2, before=0.5, bootstrap=0.0)
    said = told(late, "monte-carlo")
    assert "bootstrapping" not in said
    assert said["return-to-go"].endswith("to the end of the episode")
    cut = told(replace(late, bootstrap=0.25), "monte-carlo")["return-to-go"]
    assert "0.250, of what the time limit cut off" in cut


@pytest.mark.parametrize("name", ["monte-carlo", "n-step-sarsa"])
def test_a_step_that_waits_has_no_error_yet(name: str) -> None:
    waiting = step(before=0.5, target=0.5, error=0.0, after=0.5, step_size=0.0, bootstrap=0.0)
    assert not_learned_from(waiting)
    said = told(waiting, name)
    assert said["TD error δ"].startswith("not known")
    assert said["return-to-go"] == "the episode goes on: what follows counts too"
    line = "".join(p.text for p in Story(MAZE, waiting, UNICODE).learning(brief=False))
    assert line == "TD error δ  waits for later rewards"


# ---------------------------------------------------------------- prediction


def test_a_given_policy_neither_explores_nor_exploits() -> None:
    drawn = step(values=(), next_values=(), log_prob=math.log(0.25))
    said = " ".join(told(drawn, "td-0").values())
    assert "explored" not in said and "exploited" not in said
    assert "chance of this action here 0.25" in said
    kind = kinds.of(preset_of("td-0"))
    line = "".join(
        piece.text for stop in kind.loop(MAZE, drawn, UNICODE).agent_side() for piece in stop.value
    )
    assert "as given" in line and "exploited" not in line
    for width in (20, 45, 60, 90, 140):
        shown = {column.kind for column in fitting(width, kind.columns)}
        assert "error" in shown and shown.isdisjoint({"how", "mark", "advantage"})


def test_a_choice_of_ones_own_is_named() -> None:
    assert "here it exploited" in told(step(), "sarsa")["behaviour policy"]
    assert "here it explored" in told(step(action=DOWN, explored=True), "sarsa")["behaviour policy"]


@pytest.mark.parametrize("kind", ["softmax", "ucb"])
def test_the_number_of_the_exploration_has_its_own_name(kind: str) -> None:
    policy = Story(MAZE, step(), UNICODE, KINDS[kind]).agent_side()[1].value
    named = [piece for piece in policy if piece.text == KINDS[kind].symbol]
    assert [piece.slug for piece in named] == [KINDS[kind].slug]
    assert not any(piece.slug == "epsilon" for piece in policy)
