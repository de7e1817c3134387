"""The trainer on a live run, with a real worker."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from home_tools import shown
from patience import eventually
from textual.widgets import Input
from trainer_tools import app_on, kill, live_run, notified, opened, settled, trainer

from engine.runs.reader import RunReader
from tui.features.home.screen import HomeScreen
from tui.features.trainer.screen import TrainerScreen
from tui.forms.setting_field import SettingField
from tui.forms.start_form import TuneForm
from tui.ui.yes_no import YesNo

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]


def at(screen: TrainerScreen) -> int:
    """The step that is shown."""
    return screen.snapshot.at if screen.snapshot else -1


def state(screen: TrainerScreen) -> str:
    """What the run does, as the screen knows it."""
    return screen.snapshot.head.state if screen.snapshot else ""


async def test_pause_step_episode_pace_and_go_on(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=8.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await eventually(pilot, lambda: at(screen) > 2)
            await pilot.press("space")
            await eventually(pilot, lambda: state(screen) == "paused")
            assert "‖ paused" in shown(app)
            await settled(pilot)
            paused = at(screen)
            await pilot.press("full_stop")
            await eventually(pilot, lambda: at(screen) == paused + 1)
            assert f"step {paused + 1} " in shown(app)
            assert screen.snapshot is not None
            played = screen.snapshot.head.watched_episodes
            await pilot.press("e")
            await eventually(
                pilot,
                lambda: (
                    screen.snapshot is not None
                    and screen.snapshot.head.watched_episodes == played + 1
                ),
            )
            assert state(screen) == "paused"
            await pilot.press("plus", "plus", "plus", "minus")  # faster than the worker answers
            await eventually(pilot, lambda: "32 steps/s" in shown(app))
            await pilot.press(*["plus"] * 9)
            await eventually(pilot, lambda: "unlimited" in shown(app))
            await pilot.press(*["minus"] * 12)
            await eventually(pilot, lambda: "1 step/s" in shown(app))
            await pilot.press(*["plus"] * 4)
            await eventually(pilot, lambda: "16 steps/s" in shown(app))
            await pilot.press("space")
            await eventually(pilot, lambda: state(screen) == "running")
            before = at(screen)
            await eventually(pilot, lambda: at(screen) > before)


async def test_values_change_while_it_runs(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=64.0) as path:
        app = app_on(path)
        async with app.run_test(size=(120, 40)) as pilot:
            screen = await opened(pilot)
            pictures: set[str] = set()
            panels: dict[str, set[str]] = {"maze": set(), "log": set(), "curves": set()}

            def look() -> bool:
                pictures.add(shown(app))
                for name, seen in panels.items():
                    box = screen.query_one(f"#{name}").region
                    rows = shown(app).splitlines()[box.y : box.bottom]
                    seen.add("\n".join(row[box.x : box.right] for row in rows))
                return all(len(seen) >= 4 for seen in panels.values())

            await eventually(pilot, look)
            assert len(pictures) >= 4


async def test_looking_back_does_not_touch_the_run(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=None) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await eventually(pilot, lambda: screen.snapshot and screen.snapshot.episodes)
            await pilot.press("less_than_sign", "space", "space", "full_stop", "e")
            await settled(pilot)
            assert screen.snapshot is not None
            assert not screen.snapshot.following
            assert screen.snapshot.head.state == "running"
            await pilot.press("f")
            await eventually(pilot, lambda: screen.snapshot and screen.snapshot.following)
            before = at(screen)
            await eventually(pilot, lambda: at(screen) > before)


async def test_tuning_takes_effect_and_is_remembered(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=32.0) as path:
        app = app_on(path)
        async with app.run_test(size=(120, 40)) as pilot:
            screen = await opened(pilot)
            for value in ("0.25", "0.125"):
                await pilot.press("t")
                await eventually(pilot, lambda: isinstance(app.screen, TuneForm))
                field = next(
                    field
                    for field in app.screen.query(SettingField)
                    if field.setting.key == "algorithm.learning_rate"
                )
                box = field.query_one(Input)
                assert box.value == ("0.5" if value == "0.25" else "0.25")
                box.value = value
                await pilot.pause()
                await pilot.press("enter")
                await eventually(
                    pilot,
                    lambda wanted=float(value): (
                        screen.snapshot is not None
                        and screen.snapshot.step is not None
                        and screen.snapshot.step.step_size == wanted
                    ),
                )
            changed = "algorithm.learning_rate is changed from here on."
            await eventually(pilot, lambda: notified(pilot).count(changed) == 2)


async def test_stop_asks_first(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=32.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await pilot.press("x")
            await pilot.pause()
            assert isinstance(app.screen, YesNo)
            await pilot.press("n", "x", "enter")
            assert app.screen is screen
            assert state(screen) == "running"
            await pilot.press("x", "y")
            await eventually(pilot, lambda: state(screen) == "stopped")
            await eventually(pilot, lambda: "The run has stopped." in notified(pilot))
            assert "■ stopped" in shown(app)
            assert "It has stopped: r in the library goes on with it." in shown(app)


async def test_leaving_a_paused_run_says_that_it_stays_paused(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=32.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await pilot.press("space")
            await eventually(pilot, lambda: state(screen) == "paused")
            await pilot.press("q")
            await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
            assert "The run stays paused." in notified(pilot)


async def test_leaving_lets_the_run_go_on(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=32.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await pilot.press("q")
            await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
            assert "The run goes on in the background." in notified(pilot)
            with RunReader(path) as reader:
                left = reader.head().step
                await eventually(pilot, lambda: reader.head().step > left)
                assert reader.state() == "running"
            app.open_run(path)
            again = await opened(pilot)
            assert again is not screen
        with RunReader(path) as reader:
            assert reader.state() == "running"


async def test_a_killed_worker_is_told_and_its_record_stays(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=None) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await eventually(pilot, lambda: screen.snapshot and screen.snapshot.episodes)
            kill(path)
            await eventually(pilot, lambda: "† worker is gone" in shown(app))
            await eventually(pilot, lambda: app._notifications)
            assert [n.title for n in app._notifications] == ["The worker is gone"]
            await pilot.press("full_stop")
            await settled(pilot)
            assert screen.snapshot is not None and not screen.snapshot.following


async def test_a_deleted_run_is_told_once(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=32.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            await opened(pilot)
            kill(path)
            shutil.rmtree(path)
            await eventually(pilot, lambda: "has been deleted" in notified(pilot))
            await eventually(pilot, lambda: "cannot be read any more" in shown(app))
            for key in ("full_stop", "less_than_sign", "e", "space", "plus", "t", "x", "enter"):
                await pilot.press(key)
                await settled(pilot)
                if app.screen is not trainer(pilot):
                    await pilot.press("escape")
            assert notified(pilot).count("has been deleted") == 1
            await pilot.press("q")
            await pilot.pause()
            assert isinstance(app.screen, HomeScreen)


async def test_leaving_in_the_middle_of_a_read(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=None) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            await eventually(pilot, lambda: isinstance(app.screen, TrainerScreen))
            screen = trainer(pilot)
            await eventually(pilot, lambda: screen.focused)
            screen.look()
            assert screen._looking
            screen.action_leave()
            await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
            await eventually(pilot, lambda: "First steps" in shown(app))
            await eventually(pilot, lambda: all(not t.is_alive() for t in screen._thread._threads))
