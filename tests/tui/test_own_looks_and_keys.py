"""What a user has chosen once, in the app: keys, colours, layout; and jumping to a panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from home_tools import shown
from patience import eventually
from textual.pilot import Pilot
from trainer_tools import app_on, notified, opened, settled, trainer

from engine.core import user_config
from tui.features.jump.screen import JumpScreen
from tui.features.looks.screen import LooksScreen
from tui.features.trainer.screen import TrainerScreen
from tui.maze.maze_grid import MazeGrid
from tui.plot.chart import Chart
from tui.watching.curves import CurvesPanel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unicode_look")]


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    path = user_config.path()
    path.parent.mkdir(parents=True)
    return path


async def on_top(pilot: Pilot[Any], screen: type) -> None:
    await eventually(pilot, lambda: isinstance(pilot.app.screen, screen))
    await pilot.pause()


async def test_own_keys_colours_and_layout_are_there_again(recording: Path, file: Path) -> None:
    file.write_text('[keys]\nrun.alone = "W"\n"run.pause" = "f6"\n')
    app = app_on(recording)
    async with app.run_test(size=(130, 40)) as pilot:
        screen = await opened(pilot)
        await eventually(pilot, lambda: bool(app._keymap))
        await pilot.pause()
        assert "f6 Pause" in shown(app)
        await pilot.press("w")  # as shipped: does nothing any more
        curves = screen.query_one(CurvesPanel)
        assert curves.view_index == 0 and not screen.alone

        await pilot.press("j")
        await on_top(pilot, JumpScreen)
        assert " t  Trajectory log" in shown(app) and " c  Curves" in shown(app)
        await pilot.press("c")
        await on_top(pilot, TrainerScreen)
        assert screen.panel == "curves"
        await pilot.press("m", "l", "2", "v", "W")
        await settled(pilot)
        title = curves.view.title if curves.view else ""
        assert screen.alone and title

        await pilot.press("f2")
        await on_top(pilot, LooksScreen)
        await pilot.press("down", "down")
        await pilot.pause()
        assert app.theme == "light"  # seen before it is chosen
        await pilot.press("escape")
        await on_top(pilot, TrainerScreen)
        assert app.theme == "dark"
        await pilot.press("f2")
        await on_top(pilot, LooksScreen)
        await pilot.press("down", "down", "down", "enter")
        await eventually(pilot, lambda: user_config.load().app.theme == "colour-safe-dark")
        await on_top(pilot, TrainerScreen)
        await pilot.press("q")
        await eventually(pilot, lambda: bool(user_config.load().layout))
    kept = user_config.load()
    assert kept.keys == {"run.alone": "W", "run.pause": "f6"}
    assert kept.layout == {
        "value": user_config.Layout(
            panel="curves", alone=True, layer=2, values=True, curves=title, log_x=True
        )
    }

    again = app_on(recording)
    async with again.run_test(size=(130, 40)) as pilot:
        screen = await opened(pilot)
        await settled(pilot)
        assert again.theme == "colour-safe-dark"
        assert screen.alone and screen.panel == "curves"
        curves, grid = screen.query_one(CurvesPanel), screen.query_one(MazeGrid)
        assert curves.view is not None and curves.view.title == title
        assert curves.query_one(Chart).log_x
        assert (grid.layer_number, grid.show_optimal_values) == (2, True)


async def test_keys_that_clash_are_told_and_not_taken(recording: Path, file: Path) -> None:
    file.write_text('[keys]\nrun.pause = "x"\n')
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await eventually(pilot, lambda: "key of run.stop" in notified(pilot))
        assert not app._keymap and "space Pause" in shown(app)
        await pilot.press("j", "g")  # a panel that a narrow terminal does not show now
        await eventually(pilot, lambda: trainer(pilot).panel == "glossary")


async def test_a_file_that_is_wrong_is_told(recording: Path, file: Path) -> None:
    file.write_text('[app]\ntheme = "\\u001b[2Jdrak"\n')
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        said = notified(pilot)
        assert "expected 'auto', 'dark'" in said and "\x1b" not in said
