"""Language models before and while they run: the start form, tuning, the line of progress."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from home_tools import HostApp, shown
from llm_tools import ACTION, PLAN, tiny_model
from patience import eventually
from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Input
from trainer_tools import app_on, live_run, notified, opened, settled

from engine import presets
from engine.config.preset import LlmPreset
from engine.config.shipped import shipped_names
from engine.runs.reader import RunReader
from engine.runs.records import Head
from tui.cli.progress import BarReporter, LineReporter, Moment, summary
from tui.features.trainer.screen import TrainerScreen
from tui.forms.setting_field import SettingField
from tui.forms.setting_spec import sections, settings
from tui.forms.start_form import StartForm, TuneForm
from tui.ui import glyphs

SHIPPED = [name for name in shipped_names() if name.startswith("llm-")]
SIZES = [(80, 24), (120, 40)]


@pytest.fixture(autouse=True)
def unicode_glyphs() -> Iterator[None]:
    glyphs.choose(False)
    yield
    glyphs.choose(None)


def action(more: str = "") -> str:
    return ACTION.format(model="smollm2-135m", more=more)


def field(pilot: Pilot[Any], key: str) -> SettingField:
    fields = pilot.app.screen.query(SettingField)
    return next(field for field in fields if field.setting.key == key)


async def enter(pilot: Pilot[Any], key: str, text: str) -> None:
    control = field(pilot, key).query_one(Input)
    control.focus()
    control.value = ""
    await pilot.press(*text)
    await pilot.pause()


# ---------------------------------------------------------------- the start form


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_has_a_form_with_its_own_values(name: str) -> None:
    preset = presets.load(name)
    assert isinstance(preset, LlmPreset)
    main, advanced = sections(preset)
    first = {setting.key: setting for group in main.values() for setting in group}
    folded = {setting.key for setting in advanced}
    assert first["model.name"].value == preset.model.name
    assert sorted(first["model.quantization"].choices) == ["int8", "nf4", "none"]
    assert "run.agents" not in first and "run.agents" not in folded
    both = folded | first.keys()
    assert ("model.words" in both) == ("reward.prize" in both) == (preset.model.policy == "route")
    assert ("algorithm.random_starts" in both) == (preset.model.policy == "action")
    assert ("algorithm.kl_reference" in both) == (preset.model.policy == "action")
    assert "model.observation_text" in both
    for setting in first.values():
        assert setting.meaning and "environment step" not in setting.meaning


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_the_form_of_a_language_model_fits_its_screen(size: tuple[int, int]) -> None:
    app = HostApp(StartForm(presets.parse(action())))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = shown(app)
        for words in ("Asked in every cell", "Start (Enter)", "6 updates"):
            assert words in text
        for words in ("agents", "steps a second"):
            assert words not in text
        for area in app.screen.query(SettingField):
            assert area.region.right <= size[0]


@pytest.mark.slow
async def test_typed_values_of_a_language_model_start_it() -> None:
    app = HostApp(StartForm(presets.parse(action())))
    async with app.run_test(size=(120, 40)) as pilot:
        await enter(pilot, "model.lora.rank", "8")
        await enter(pilot, "algorithm.group_size", "12")
        await enter(pilot, "algorithm.learning_rate", "0.002")
        await enter(pilot, "budget.updates", "9")
        await pilot.press("enter")
        wanted = ["model.lora.rank=8", "algorithm.group_size=12", "budget.updates=9"]
        expected = presets.parse(action(), overrides=[*wanted, "algorithm.learning_rate=0.002"])
        assert app.result == expected


@pytest.mark.slow
async def test_what_does_not_go_together_is_said_on_the_form() -> None:
    app = HostApp(StartForm(presets.parse(action())))
    async with app.run_test(size=(120, 40)) as pilot:
        await enter(pilot, "algorithm.group_size", "7")
        await pilot.press("enter")
        await pilot.pause()
        assert app.result == "nothing yet"
        assert "expected a multiple of algorithm.group_size, 7" in " ".join(shown(app).split())


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", PLAN])
async def test_tuning_a_language_model_offers_what_may_change(more: str) -> None:
    preset = presets.parse(action(more))
    app = HostApp(TuneForm(preset))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        keys = {field.setting.key for field in app.screen.query(SettingField)}
        assert keys <= {s.key for s in settings(preset) if s.tunable}
        assert {"algorithm.learning_rate", "algorithm.kl", "algorithm.entropy"} <= keys
        assert ("algorithm.uniform" in keys) == (more == "")
        await enter(pilot, "algorithm.kl", "0.05")
        await pilot.press("enter")
        assert app.result == {"algorithm.kl": 0.05}


# ---------------------------------------------------------------- the line of progress


FIGURES: dict[str, Any] = {
    "status": "finished", "env_steps": 4200, "episodes": 1280, "updates": 20, "seconds": 31.0,
    "success_rate": 0.97, "success_kind": "exact", "greedy_success_rate": 1.0,
    "expected_return": 0.9, "expected_score": 0.91, "expected_length": 7.0,
    "optimal_return": 0.95, "horizon_optimum": 0.95,
    "metrics": {
        "final_success_rate": 0.875, "seconds_per_update": 1.53, "tokens_per_second": 2048.0,
        "held_out_best_success_rate": 0.5, "held_out_optimal_success_rate": 1.0,
        "held_out_random_success_rate": 0.2,
    },
}  # fmt: skip


def moment(state: str = "running", **more: Any) -> Moment:
    head = Head(state=state, step=20)
    return Moment(head, {**FIGURES, **more}, share=0.5, speed=0.6, eta=93.0, stderr=0.04)


def test_a_line_says_how_good_it_is_now_and_at_best(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter()
    reporter.llm, reporter.unit = True, "update"
    reporter.progress(moment())
    reporter.progress(moment("paused", success_kind="sampled"))
    reporter.progress(moment(metrics={}, success_rate=math.nan))
    exact, sampled, early = capsys.readouterr().out.splitlines()
    assert exact.startswith("  50%  20 updates  success 88% (best 97%)  1.5 s/update")
    assert "tokens/s" in exact and exact.endswith("ETA 1:33")
    assert "88% ± 4% (best 97%)" in sampled and "paused" in sampled and "s/update" not in sampled
    assert "success - (best -)" in early and "- s/update" in early


def test_the_bar_of_a_language_model_is_drawn_and_leaves_nothing_behind() -> None:
    reporter = BarReporter()
    reporter.llm, reporter.unit = True, "update"
    output = StringIO()
    screen = Console(file=output, force_terminal=True, width=100, highlight=False, markup=False)
    reporter.console = reporter.bar.live.console = screen
    reporter.bar.start()
    reporter.progress(moment())
    drawn = output.getvalue()
    assert " 50%" in drawn and "success 88% (best 97%)" in drawn and "ETA 1:33" in drawn
    reporter.finished(Path("/runs/a-run"), FIGURES)
    said = output.getvalue()[len(drawn) :]
    assert "20 updates on 1,280 episodes" in said and "best adapters, kept" in said
    assert "\x1b[2K" in said  # the bar's line is wiped


def test_the_summary_of_a_language_model() -> None:
    told = summary(Path("/runs/a-run"), FIGURES)
    assert "Finished after 31.0 s: 20 updates on 1,280 episodes." in told
    assert "97%   (exact, best adapters, kept; greedy 100%)" in told
    assert "at the end            88%" in told
    assert "held-out mazes        50%   (best adapters 50%, optimum 100%, random moves 20%)" in told


# ---------------------------------------------------------------- a live run


def _state(screen: TrainerScreen) -> str:
    return screen.snapshot.head.state if screen.snapshot else ""


@pytest.mark.slow
async def test_a_live_run_is_paused_tuned_stepped_and_goes_on(tmp_path: Path) -> None:
    text = ACTION.format(model=tiny_model(tmp_path), more="").replace(
        "updates = 6", "updates = 100000"
    )
    with live_run(tmp_path, text) as path:
        app = app_on(path)
        async with app.run_test(size=(120, 40)) as pilot:
            screen = await opened(pilot)
            await eventually(
                pilot, lambda: bool(screen.snapshot and screen.snapshot.head.updates > 1)
            )
            await pilot.press("space")
            await eventually(pilot, lambda: _state(screen) == "paused")
            await settled(pilot)
            assert screen.snapshot is not None
            paused = screen.snapshot.head.updates
            await pilot.press("t")
            await eventually(pilot, lambda: isinstance(app.screen, TuneForm))
            await enter(pilot, "algorithm.learning_rate", "0.005")
            await pilot.press("enter")
            await eventually(pilot, lambda: "learning_rate" in notified(pilot))
            await pilot.press("full_stop")
            await eventually(
                pilot,
                lambda: bool(screen.snapshot and screen.snapshot.head.updates == paused + 1),
            )
            assert _state(screen) == "paused"
            with RunReader(path) as reader:
                assert reader.curves(["learning_rate"])["learning_rate"].mean[-1] == 0.005
                assert [tuned.value for tuned in reader.tunes()] == [0.005]
            await pilot.press("space")
            await eventually(
                pilot,
                lambda: bool(screen.snapshot and screen.snapshot.head.updates > paused + 2),
            )
