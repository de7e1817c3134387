"""The start form with another algorithm, or another way to explore."""

from __future__ import annotations

from typing import Any

import pytest
from home_tools import FIRST, PLANNER, SCHEDULED, shown
from test_start_form import CLIFF, app_with, enter, field
from textual.pilot import Pilot
from textual.widgets import Select

from engine import presets
from engine.core.errors import UserError
from tui.forms.setting_field import SettingField
from tui.forms.setting_switches import switched, switches

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]


async def choose(pilot: Pilot[Any], key: str, value: str) -> None:
    """Pick a value from the list of a setting."""
    field(pilot, key).query_one(Select).value = value
    await pilot.pause()


async def test_another_algorithm_keeps_what_both_have() -> None:
    app = app_with()
    async with app.run_test(size=(120, 40)) as pilot:
        await enter(pilot, "algorithm.gamma", "0.9")
        await choose(pilot, "algorithm.name", "n-step-sarsa")
        assert "First steps on the ice (n-step SARSA)" in shown(app)
        assert field(pilot, "algorithm.name").query_one(Select).has_focus
        await enter(pilot, "algorithm.n", "3")
        app.screen.query_one("#submit").focus()
        await pilot.press("enter")
        changed = FIRST.replace('"q-learning"', '"n-step-sarsa"\nn = 3').replace("0.95", "0.9")
        changed = changed.replace("First steps on the ice", "First steps on the ice (n-step SARSA)")
        assert app.result == presets.parse(changed)


async def test_switching_back_and_forth_ends_where_it_began() -> None:
    app = app_with()
    async with app.run_test(size=(120, 40)) as pilot:
        for name in ("sarsa-lambda", "sarsa", "q-learning"):
            await choose(pilot, "algorithm.name", name)
        app.screen.query_one("#submit").focus()
        await pilot.press("enter")
        assert app.result.algorithm == presets.parse(FIRST).algorithm


@pytest.mark.parametrize(
    ("kind", "there", "not_there"),
    [
        ("softmax", {"start", "end", "steps"}, {"c"}),
        ("ucb", {"c"}, {"start", "end", "steps"}),
    ],
)
async def test_another_kind_of_exploration(kind: str, there: set[str], not_there: set[str]) -> None:
    app = app_with()
    async with app.run_test(size=(120, 40)) as pilot:
        await choose(pilot, "algorithm.exploration.kind", kind)
        keys = {f.setting.key for f in app.screen.query(SettingField)}
        assert {f"algorithm.exploration.{name}" for name in there} <= keys
        assert keys.isdisjoint({f"algorithm.exploration.{name}" for name in not_there})
        app.screen.query_one("#submit").focus()
        await pilot.press("enter")
        exploration = app.result.algorithm.exploration
        assert exploration.__struct_config__.tag == kind
        assert getattr(exploration, "steps", 3000) == 3000


async def test_an_algorithm_that_does_not_fit_says_why() -> None:
    long = FIRST.replace("[algorithm]", "max_steps = 90_000\n[algorithm]")
    app = app_with(long.replace("[run]", "[run]\nagents = 4000"))
    async with app.run_test(size=(120, 40)) as pilot:
        await choose(pilot, "algorithm.name", "monte-carlo")
        assert "would have to be kept" in field(pilot, "maze.max_steps").error
        app.screen.query_one("#submit").focus()
        await pilot.press("enter")
        assert app.result == "nothing yet"
        await choose(pilot, "algorithm.name", "sarsa")
        app.screen.query_one("#submit").focus()
        await pilot.press("enter")
        assert app.result.algorithm.__struct_config__.tag == "sarsa"


def test_every_switch_gives_a_valid_preset() -> None:
    for text in (FIRST, SCHEDULED, PLANNER, CLIFF):
        preset = presets.parse(text)
        for setting in switches(preset):
            for value in setting.choices:
                other = switched(preset, setting.key, value)
                try:
                    presets.check(other)
                except UserError as error:  # a maze is not for those that know one state
                    assert "bandit" in value and "Bandit-v0" in str(error)
                assert {s.key: s.value for s in switches(other)}[setting.key] == value
