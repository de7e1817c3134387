"""The loop figure: the values of the step, the words for what happened, and the terms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from moments import DOWN, LAKE, RIGHT, Stage, lines, moment, walk

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from tui.features.trainer.loop_figure import LoopFigure
from tui.model.snapshot import Snapshot
from tui.ui.terms import TermClicked

LAKE_MAZE = Maze(rows=LAKE)


def shot(actions: list[int], *, algorithm: str = "q-learning", **changes: object) -> Snapshot:
    """The moment after `actions`, the last step changed by hand."""
    mdp, q = build_mdp(LAKE_MAZE), np.zeros((16, 4))
    q[:, RIGHT] = 0.5
    steps = walk(mdp, actions, q, **changes)
    return moment(LAKE_MAZE, q=q, steps=steps, algorithm=algorithm)


async def test_before_the_first_step_the_labels_explain_the_loop() -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(80, 10)):
        figure.show(moment(LAKE_MAZE))
        top, _, middle, _, bottom = lines(figure)
        assert top.index("state") < top.index("policy") < top.index("action")
        assert bottom.index("next state") < bottom.index("reward") < bottom.index("environment")
        assert "▶" in top and "◀" in bottom
        assert "waiting" in middle


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_the_values_of_a_step(width: int) -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(width, 10)):
        figure.show(shot([RIGHT, RIGHT, DOWN], log_prob=math.log(0.05)))
        top, agent, update, world, bottom = lines(figure)
        assert all(len(line) == width for line in lines(figure)), "the frame is closed"
        assert "(1,3)" in agent and "◇ explored" in agent and "⇣ down" in agent
        assert "π(↓|s) 0.050" in agent
        assert "+0.495 = target 0.495 - Q(s,a) 0" in update
        assert "(2,3)" in world and "went as meant" in world
        assert agent.index("(1,3)") == top.index("state")
        assert world.index("(2,3)") == bottom.index("next state")


async def test_exploiting_slipping_ending_and_being_cut_off_read_differently() -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(90, 10)):
        figure.show(shot([RIGHT]))
        assert "◆ exploited" in lines(figure)[1] and "→ right" in lines(figure)[1]
        assert "went as meant" in lines(figure)[3]
        figure.show(shot([RIGHT], next_state=4))
        assert "slipped down" in lines(figure)[3]
        figure.show(shot([RIGHT], next_state=0))
        assert "did not move" in lines(figure)[3]
        figure.show(shot([RIGHT], truncated=True))
        assert "truncated" in lines(figure)[3] and "terminated" not in lines(figure)[3]
        figure.show(shot([RIGHT], terminated=True, success=True, reward=1.0))
        assert "prize" in lines(figure)[3] and "terminated" in lines(figure)[3]
        assert "+1.00" in lines(figure)[3]


async def test_a_sweep_has_a_model_instead_of_an_environment() -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(80, 10)):
        figure.show(shot([RIGHT], algorithm="value-iteration", kind="backup", episode=4))
        drawn = "\n".join(lines(figure))
        assert "model" in drawn and "sweep 4" in drawn and "best action" in drawn
        assert "environment" not in drawn and "explored" not in drawn


async def test_the_compact_form_fits_into_forty_columns() -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(40, 10)) as pilot:
        figure.show(shot([RIGHT, RIGHT, DOWN]))
        await pilot.pause()
        assert figure.size.height == 3
        head, update, foot = lines(figure)
        assert "s (1,3)" in head and "explored" in head and "⇣ down" in head
        assert "δ +0.495" in update
        assert "s′ (2,3)" in foot and "r 0" in foot and "went as meant" in foot
        assert {len(head), len(update), len(foot)} == {40}


async def test_labels_are_terms_for_keyboard_and_mouse() -> None:
    figure = LoopFigure()
    app = Stage(figure, TermClicked)
    async with app.run_test(size=(100, 10)) as pilot:
        figure.show(shot([RIGHT, DOWN]))
        slugs = [term.slug for term in figure.terms()]
        assert slugs[:3] == ["state", "policy", "action"]
        assert {"td-error", "td-target", "reward", "next-state", "environment"} <= set(slugs)
        await pilot.pause()
        await pilot.click(figure, offset=(lines(figure)[4].index("reward") + 1, 4))
        assert [message.slug for message in app.heard] == ["reward"]


async def test_what_does_not_change_stays_where_it_is() -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(80, 10)):
        figure.show(shot([RIGHT]))
        before = lines(figure)
        figure.show(shot([RIGHT, RIGHT, DOWN, DOWN]))
        after = lines(figure)
        assert before[0] == after[0] and before[4] == after[4]
        assert before[1] != after[1]


@pytest.mark.usefixtures("ascii_look")
@pytest.mark.parametrize("width", [40, 60, 80])
async def test_ascii_mode_is_ascii(width: int) -> None:
    figure = LoopFigure()
    async with Stage(figure).run_test(size=(width, 10)) as pilot:
        await pilot.pause()
        for snapshot in (shot([RIGHT, DOWN]), shot([RIGHT], kind="backup"), moment(LAKE_MAZE)):
            figure.show(snapshot)
            assert "\n".join(lines(figure)).isascii()
            assert {len(line) for line in lines(figure)} == {width}
