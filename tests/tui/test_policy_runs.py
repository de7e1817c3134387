"""Runs of methods that learn a policy: chances instead of Q, and updates that come late."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from moments import DOWN, LAKE, RIGHT, Stage, lines, moment, preset_of, walk
from msgspec.structs import replace
from textual.app import App
from textual.geometry import Size

from engine import presets
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.learning.events import Policy, Step
from tui import kinds
from tui.features.trainer.loop_figure import LoopFigure
from tui.glossary.values import current_value
from tui.kinds.policy import PolicyKind
from tui.kinds.value import ValueKind
from tui.log.explain import ExplainView, facts
from tui.log.log_columns import fitting
from tui.log.trajectory_log import TrajectoryLog
from tui.maze.maze_layers import layers
from tui.model.snapshot import Snapshot
from tui.ui.choice_bar import ChoiceBar
from tui.ui.glyphs import UNICODE

pytestmark = pytest.mark.slow

MAZE = Maze(rows=LAKE)
MDP = build_mdp(MAZE)
BEFORE, AFTER = (0.1, 0.2, 0.3, 0.4), (0.05, 0.2, 0.45, 0.3)


def steps(*actions: int, learned: bool = True, **changes: object) -> tuple[Step, ...]:
    """The steps of one episode with the same chances everywhere."""
    fields: dict[str, object] = {
        "values": (),
        "next_values": (),
        "probabilities": BEFORE,
        "exploration": math.nan,
        "policy_step_size": math.nan,
    }
    if learned:
        fields |= {"probabilities_after": AFTER, "advantage_estimate": 0.75}
    walked = walk(MDP, list(actions), np.zeros((16, 4)), **(fields | changes))
    return tuple(replace(s, log_prob=math.log(BEFORE[s.action])) for s in walked)


def policy() -> Policy:
    chances = np.tile(np.array(BEFORE), (16, 1))
    advantage = np.full((16, 4), np.nan)
    advantage[0, RIGHT] = 0.75
    return Policy(
        step=0, target=chances, behaviour=chances, q=None, values=np.full(16, 0.25),
        visits=np.ones((16, 4), np.int64), layers={"advantage": advantage},
    )  # fmt: skip


def shot(*taken: Step, algorithm: str = "ppo") -> Snapshot:
    return moment(MAZE, steps=taken, mdp=MDP, policy=policy(), algorithm=algorithm)


@pytest.mark.parametrize("width", [50, 80, 120])
async def test_the_loop_says_what_the_advantage_made_of_the_chance(width: int) -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(width, 10)):
        figure.show(shot(*steps(RIGHT, learned=False)))
        drawn = "\n".join(lines(figure))
        assert "π(→|s) 0.300  not learned from yet" in drawn
        figure.show(shot(*steps(RIGHT)))
        drawn = "\n".join(lines(figure))
        assert "+0.750" in drawn and "π(→|s) 0.300 → 0.450" in drawn
        assert "TD error" not in drawn and "δ" not in drawn and "ε" not in drawn
        assert all(len(line) == width for line in lines(figure) if line)


@pytest.mark.parametrize("width", [40, 58, 80, 120])
async def test_the_log_has_chances_instead_of_targets(width: int) -> None:
    log = TrajectoryLog()
    async with Stage(log).run_test(size=(width, 12)):
        log.show(shot(*steps(DOWN, DOWN, learned=False)))
        titles, _, first, *_ = lines(log)
        assert "π(a|s)" in titles and "target" not in titles and "δ" not in titles
        assert "0.2000  …" in first
        log.show(shot(*steps(DOWN, RIGHT)))
        _, _, first, second, *_ = lines(log)
        assert "0.2000  0.2000" in first
        assert "0.3000  0.4500" in second
        assert ("0.750" in second) == (width > 40)


def test_every_layout_of_a_policy_keeps_the_chance() -> None:
    for width in (20, 45, 60, 90, 140):
        assert "chance" in {column.kind for column in fitting(width, PolicyKind.columns)}
        assert "chance" not in {column.kind for column in fitting(width, ValueKind.columns)}


async def test_a_row_is_drawn_anew_when_its_update_comes_late() -> None:
    log = TrajectoryLog()
    async with Stage(log).run_test(size=(80, 12)) as pilot:
        log.show(shot(*steps(RIGHT, learned=False, error=0.0)))
        assert "0.4500" not in lines(log)[2]
        log.show(shot(*steps(RIGHT, error=0.0)))
        await pilot.pause()
        assert "0.4500" in lines(log)[2]


def test_the_grid_shows_the_methods_own_advantages() -> None:
    shown = {layer.name: layer for layer in layers(MAZE, MDP, policy())}
    assert list(shown).count("advantage") == 1 and len(shown) == 6
    table = shown["advantage"].table
    assert table is not None and table[0, RIGHT] == 0.75 and np.isnan(table[0, DOWN])
    assert "Q" not in shown["advantage"].meaning
    assert shown["action values"].table is None


def told(step: Step, algorithm: str = "ppo") -> dict[str, str]:
    found = facts(step, kinds.of(preset_of(algorithm)), MAZE, UNICODE)
    return {label: text for label, _, text in found}


def test_the_facts_of_a_step_are_about_the_policy() -> None:
    (step,) = steps(RIGHT, bootstrap=0.5)
    known = told(step)
    assert known["advantage A(s,a)"] == "+0.750: better than usual here"
    assert "0.300, 0.400 when it moved" in known["π(·|s)"]
    assert "V(s′) = 0.500" in known["bootstrapping"]
    assert "TD error δ" not in known
    waiting = told(steps(RIGHT, learned=False)[0])
    assert waiting["π(·|s)"].endswith("not learned from yet")
    assert "advantage A(s,a)" not in waiting
    cut = told(steps(RIGHT, truncated=True, bootstrap=0.0)[0], "grpo")
    assert cut["truncated"].endswith("only what was paid by then counts")
    won = told(steps(RIGHT, terminated=True, success=True)[0])
    assert won["terminated"].endswith("nothing follows")


@pytest.mark.parametrize("algorithm", ["reinforce", "actor-critic", "ppo", "grpo"])
async def test_the_explanation_of_a_step_can_be_drawn(algorithm: str) -> None:
    view = ExplainView()
    app: App[None] = Stage(view)
    async with app.run_test(size=(90, 60)):
        waits = algorithm != "actor-critic"  # which learns at once
        for step in steps(RIGHT) + (steps(RIGHT, learned=False) if waits else ()):
            view.show(step, shot(step, algorithm=algorithm))
            assert view.get_content_height(Size(90, 60), Size(90, 60), 90) > 8
            assert {"time step", "π(·|s)", "on-policy"} <= {t.label for t in view.terms()}


def test_glossary_values_of_the_newest_step_that_was_learned_from() -> None:
    now = shot(*steps(RIGHT), *steps(DOWN, learned=False))
    now = dataclasses.replace(now, preset=presets.load("ppo-table"))
    assert "1.5 for right →" in str(current_value("probability-ratio", now))
    assert "0.75 for right →" in str(current_value("gae", now))
    assert "λ = 0.95" in str(current_value("gae", now))
    assert current_value("group", now) is None
    assert "1.28 here, of at most 1.386" in str(current_value("entropy", now))
    assert "down 0.2" in str(current_value("logits", now))
    assert "yes" in str(current_value("ppo", now))
    assert "not in this run" in str(current_value("grpo", now))
    waiting = shot(*steps(RIGHT, learned=False))
    assert current_value("probability-ratio", waiting) is None


async def test_the_chosen_view_is_never_cut_off() -> None:
    bar = ChoiceBar("Success", "Return", "Length", "Entropy", "Clip", "Advantage")
    async with Stage(bar).run_test(size=(30, 3)) as pilot:
        for i, title in enumerate(bar.titles):
            bar.chosen = i
            await pilot.pause()
            assert f"[{title}]" in lines(bar)[0]
        assert "Success" not in lines(bar)[0]
