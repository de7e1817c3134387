"""The forms: settings before a start, and while a run is going."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from home_tools import FIRST, PLANNER, SCHEDULED, HostApp, shown
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import Input, Select

from engine import presets
from engine.config.algorithm import EpsilonGreedy
from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.learning.events import Tuned
from engine.learning.tuning import tuned_settings
from engine.presets.schema import json_schema
from tui.forms.setting_field import SettingField
from tui.forms.setting_spec import Draft, sections, settings
from tui.forms.start_form import SettingsForm, StartForm, TuneForm, as_tuned
from tui.ui import glyphs

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 50)]
CLIFF = """
title = "The cliff"
[maze]
gymnasium = "CliffWalking-v1"
[algorithm]
name = "sarsa"
[budget]
episodes = 500
"""


@pytest.fixture(autouse=True)
def unicode_glyphs() -> Iterator[None]:
    glyphs.choose(False)
    yield
    glyphs.choose(None)


def app_with(text: str = FIRST, form: type[StartForm] | type[TuneForm] = StartForm) -> HostApp:
    return HostApp(form(presets.parse(text)))


def field(pilot: Pilot[Any], key: str) -> SettingField:
    fields = pilot.app.screen.query(SettingField)
    return next(field for field in fields if field.setting.key == key)


async def enter(pilot: Pilot[Any], key: str, text: str) -> None:
    """Type `text` into a setting, in place of what is there."""
    control = field(pilot, key).query_one(Input)
    control.focus()
    control.value = ""
    await pilot.press(*text)
    await pilot.pause()


# ---------------------------------------------------------------- what is shown


def test_settings_say_what_the_schema_says() -> None:
    definitions = json_schema()["$defs"]
    found = {setting.key: setting for setting in settings(presets.parse(SCHEDULED))}
    for key, owner, name in (
        ("algorithm.gamma", "SarsaSettings", "gamma"),
        ("algorithm.learning_rate.start", "StepSchedule", "start"),
        ("algorithm.exploration.steps", "EpsilonGreedy", "steps"),
        ("run.agents", "Run", "agents"),
        ("maze.observation", "MazeSettings", "observation"),
    ):
        assert found[key].meaning == definitions[owner]["properties"][name]["description"]
    assert "algorithm.name" not in found
    assert "algorithm.exploration.kind" not in found
    assert found["algorithm.learning_rate.shape"].choices == ("exponential", "linear")


@pytest.mark.parametrize(
    ("key", "limits", "value"),
    [
        ("algorithm.gamma", "0 to 1", "0.95"),
        ("algorithm.learning_rate", "above 0, up to 1, or 1/n", "0.5"),
        ("algorithm.exploration.end", "0 to 1, or empty", "0.05"),
        ("algorithm.initial_value", "a number", "0.0"),
        ("run.agents", "1 to 4096", "16"),
        ("run.seed", "0 or more", "0"),
        ("run.pace", "above 0, or empty", "4.0"),
        ("maze.slip", "0 to 1, or empty", ""),
    ],
)
def test_limits_in_words(key: str, limits: str, value: str) -> None:
    found = {setting.key: setting for setting in settings(presets.parse(FIRST))}
    assert (found[key].limits, found[key].value) == (limits, value)


def test_what_may_change_while_running_is_what_the_schema_marks() -> None:
    tunable = {s.key for s in settings(presets.parse(FIRST)) if s.tunable}
    assert tunable == {
        "algorithm.learning_rate",
        *(f"algorithm.exploration.{name}" for name in ("start", "end", "steps", "shape")),
    }


@pytest.mark.parametrize(
    ("text", "there", "not_there"),
    [
        (FIRST, {"maze.slip", "run.agents", "budget.env_steps"}, {"maze.map", "maze.seed"}),
        (CLIFF, {"budget.episodes"}, {"maze.slip", "maze.fall", "maze.rewards.goal"}),
        (PLANNER, {"algorithm.tolerance", "budget.updates"}, {"run.agents", "budget.episodes"}),
        (FIRST.replace('map = """\nSFFF\nFHFH\nFFFH\nHFFG\n"""', "size = 6"), {"maze.seed"}, set()),
    ],
)
def test_only_settings_with_an_effect_are_offered(
    text: str, there: set[str], not_there: set[str]
) -> None:
    main, advanced = sections(presets.parse(text))
    first = {setting.key for group in main.values() for setting in group}
    assert there <= first
    assert not_there.isdisjoint(first | {setting.key for setting in advanced})


@pytest.mark.parametrize("size", SIZES)
async def test_the_form_fits_its_screen(size: tuple[int, int]) -> None:
    app = app_with()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = shown(app)
        for words in (
            "First steps on the ice",
            "Start (Enter)",
            "Back (Esc)",
            "5,000 steps, by each of 16 agents; 4 steps a second, 21 min in all",
            "discount factor γ",
            "learning rate •",
            "above 0, up to 1, or 1/n",
            "esc Back",
        ):
            assert words in text
        for area in app.screen.query(SettingField):
            assert area.region.right <= size[0]


# ---------------------------------------------------------------- starting


async def test_enter_starts_at_once() -> None:
    app = app_with()
    async with app.run_test() as pilot:
        await pilot.press("enter")
        assert app.result == presets.parse(FIRST)


async def test_escape_starts_nothing() -> None:
    app = app_with()
    async with app.run_test() as pilot:
        await pilot.press("escape")
        assert app.result is None


async def test_typed_values_are_in_the_preset_that_starts() -> None:
    app = app_with()
    async with app.run_test(size=(120, 40)) as pilot:
        await enter(pilot, "algorithm.learning_rate", "1/n")
        await enter(pilot, "algorithm.exploration.end", "")
        await enter(pilot, "run.agents", "4")
        await enter(pilot, "run.pace", "")
        await enter(pilot, "maze.slip", "0.25")
        assert "5,000 steps, by each of 4 agents; as fast as it goes" in shown(app)
        await pilot.press("enter")
        changed = FIRST.replace("learning_rate = 0.5", 'learning_rate = "1/n"')
        changed = changed.replace("end = 0.05, ", "").replace("pace = 4", "agents = 4")
        changed = changed.replace("[algorithm]", "slip = 0.25\n[algorithm]")
        assert app.result == presets.parse(changed)


async def test_a_scalar_can_become_a_schedule() -> None:
    app = app_with()
    async with app.run_test(size=(120, 40)) as pilot:
        await enter(pilot, "algorithm.learning_rate", "{start = 0.5, end = 0.1, steps = 9}")
        await pilot.press("enter")
        assert app.result.algorithm.learning_rate.end == 0.1


async def test_a_choice_is_a_list() -> None:
    app = app_with(SCHEDULED)
    async with app.run_test(size=(120, 40)) as pilot:
        choice: Select[str] = field(pilot, "algorithm.learning_rate.shape").query_one(Select)
        assert choice.value == "exponential"
        choice.value = "linear"
        await pilot.pause()
        await pilot.press("enter")
        assert app.result.algorithm.learning_rate.shape == "linear"


@pytest.mark.parametrize(
    ("size", "key", "text"),
    [
        *((size, "algorithm.gamma", "2") for size in SIZES),
        ((80, 24), "algorithm.gamma", "abc"),
        ((80, 24), "algorithm.learning_rate", "2/n"),
        ((80, 24), "run.agents", "0"),
        ((80, 24), "run.seed", "1.5"),
    ],
)
async def test_an_invalid_value_is_explained_and_blocks_the_start(
    size: tuple[int, int], key: str, text: str
) -> None:
    with pytest.raises(UserError) as problem:
        presets.parse(FIRST, "x", [f"{key}={text}"])
    sentence = str(problem.value)[str(problem.value).index(f"{key}:") :]
    app = app_with()
    async with app.run_test(size=size) as pilot:
        await enter(pilot, key, text)
        assert field(pilot, key).error == sentence
        app.screen.query_one("#submit").focus()
        await pilot.press("enter")
        await pilot.pause()
        assert app.result == "nothing yet"
        assert field(pilot, key).query_one(Input).has_focus
        assert sentence.split(",")[0] in shown(app)
        await enter(pilot, key, "1")
        assert field(pilot, key).error == ""
        await pilot.press("enter")
        assert isinstance(app.result, Preset)


async def test_values_that_do_not_fit_together_are_explained_on_top() -> None:
    app = app_with()
    async with app.run_test(size=(120, 40)) as pilot:
        await enter(pilot, "budget.env_steps", "")
        assert "the run would never end" in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        assert app.result == "nothing yet"


async def test_a_mistake_under_more_settings_is_unfolded() -> None:
    app = app_with()
    async with app.run_test(size=(80, 24)) as pilot:
        wrong = field(pilot, "maze.max_steps")
        assert wrong.region.height == 0
        wrong.query_one(Input).value = "0"
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        await pilot.pause()
        assert "maze.max_steps: found 0" in shown(app)
        assert wrong.query_one(Input).has_focus


async def test_arrow_keys_go_through_all_settings() -> None:
    app = app_with(SCHEDULED)
    async with app.run_test(size=(80, 24)) as pilot:
        seen = []
        for _ in range(40):
            await pilot.press("down")
            await pilot.pause()
            focused = app.focused
            assert focused is not None
            owner = next((a for a in focused.ancestors if isinstance(a, SettingField)), None)
            if owner is not None:
                assert app.screen.region.contains_region(focused.region)
                seen.append(owner.setting.key)
            if focused.id == "submit":
                break
        main, _ = sections(presets.parse(SCHEDULED))
        assert seen == [setting.key for group in main.values() for setting in group]


async def test_down_and_up_leave_the_back_button_out() -> None:
    app = app_with()
    async with app.run_test(size=(80, 24)) as pilot:
        keys = [field.setting.key for field in app.screen.query(SettingField)]
        await pilot.press("down", "down")
        assert field(pilot, keys[1]).has_focus_within
        await pilot.press("up", "up")
        assert app.focused is not None and app.focused.id == "submit"


async def test_what_was_typed_is_not_dropped_unasked() -> None:
    app = app_with(form=TuneForm)
    async with app.run_test(size=(80, 24)) as pilot:
        await enter(pilot, "algorithm.learning_rate", "0.25")
        await pilot.press("escape")
        await pilot.pause()
        assert "You changed algorithm.learning_rate." in shown(app)
        await pilot.press("n")
        await pilot.pause()
        assert app.result == "nothing yet"
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("y")
        await pilot.pause()
        assert app.result is None


async def test_a_title_is_never_markup() -> None:
    app = app_with(FIRST.replace("First steps on the ice", r"[red]x[/] \u001b[2J[y"))
    async with app.run_test() as pilot:
        await pilot.pause()
        assert "[red]x[/] [y" in shown(app)
        assert "\x1b" not in shown(app)


async def test_a_form_in_ascii() -> None:
    glyphs.choose(True)
    app = app_with()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "learning rate *" in shown(app)
        assert "discount factor gamma" in shown(app)


# ---------------------------------------------------------------- tuning


async def test_tuning_offers_only_what_may_change() -> None:
    app = app_with(form=TuneForm)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        keys = {field.setting.key for field in app.screen.query(SettingField)}
        assert keys == {s.key for s in settings(presets.parse(FIRST)) if s.tunable}
        assert "Apply (Enter)" in shown(app)
        first = app.screen.query(SettingField).first()
        assert first.has_focus_within


async def test_tuning_gives_what_changed() -> None:
    app = app_with(form=TuneForm)
    async with app.run_test(size=(80, 24)) as pilot:
        await enter(pilot, "algorithm.learning_rate", "0.25")
        await enter(pilot, "algorithm.exploration.steps", "3000")
        await pilot.press("enter")
        assert app.result == {"algorithm.learning_rate": 0.25}


async def test_an_emptied_value_is_tuned_with_its_table() -> None:
    app = app_with(form=TuneForm)
    preset = presets.parse(FIRST)
    async with app.run_test(size=(80, 24)) as pilot:
        await enter(pilot, "algorithm.exploration.end", "")
        await pilot.press("enter")
        (key,), (value,) = app.result, app.result.values()
        changed, _ = tuned_settings(preset.algorithm, key, value)
        assert changed.exploration == EpsilonGreedy(start=1.0, end=None, steps=3000)


async def test_tuning_nothing_and_escape() -> None:
    for key, result in (("enter", {}), ("escape", None)):
        app = app_with(form=TuneForm)
        async with app.run_test() as pilot:
            await pilot.press(key)
            assert app.result == result


async def test_an_invalid_tune_is_refused() -> None:
    app = app_with(form=TuneForm)
    async with app.run_test(size=(80, 24)) as pilot:
        await enter(pilot, "algorithm.exploration.start", "7")
        await pilot.press("enter")
        await pilot.pause()
        assert app.result == "nothing yet"
        assert "algorithm.exploration.start: found 7" in shown(app)


async def test_a_planner_has_nothing_to_tune() -> None:
    app = app_with(PLANNER, TuneForm)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "no setting that may change" in shown(app)


def test_tunes_made_before_are_the_values_now() -> None:
    tunes = [
        Tuned(step=1, key="algorithm.learning_rate", value=0.25),
        Tuned(step=2, key="algorithm.exploration.start", value=0.5),
    ]
    tuned = as_tuned(presets.parse(FIRST), tunes)
    values = {setting.key: setting.value for setting in settings(tuned)}
    assert values["algorithm.learning_rate"] == "0.25"
    assert values["algorithm.exploration.start"] == "0.5"


# ---------------------------------------------------------------- parts


def test_a_draft_without_edits_is_the_preset() -> None:
    for text in (FIRST, SCHEDULED, PLANNER, CLIFF):
        preset = presets.parse(text)
        draft = Draft(preset)
        for setting in settings(preset):
            draft.set(setting.key, setting.value)
        assert draft.preset() == preset
        assert draft.changes() == {}


def test_every_value_survives_being_written_and_read() -> None:
    preset = presets.parse(SCHEDULED)
    for setting in settings(preset):
        if setting.value and setting.key != "maze.map":
            override = f"{setting.key}={setting.value}"
            again = presets.parse(presets.dump(preset), overrides=[override])
            found = {other.key: other.value for other in settings(again)}
            assert found[setting.key] == setting.value


def test_every_binding_can_be_named_and_explained() -> None:
    for binding in SettingsForm.BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.id and binding.description and binding.tooltip
