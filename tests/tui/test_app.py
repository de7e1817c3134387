"""The app as a whole: from the first picture to a moving agent and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from home_tools import shown
from patience import eventually
from textual.pilot import Pilot
from textual.widgets import Static
from trainer_tools import app_on, kill, notified, opened, trainer

from engine.core.errors import UserError
from engine.runs import launch, library
from tui.app import IceMazeApp
from tui.features.help.screen import HelpScreen, active_keys, sections
from tui.features.home.screen import HomeScreen
from tui.features.trainer.screen import TrainerScreen
from tui.forms.start_form import StartForm

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]


async def at_home(pilot: Pilot[Any]) -> None:
    await eventually(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
    await eventually(pilot, lambda: "First steps" in shown(pilot.app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_two_enters_and_an_agent_moves_learns_and_explains_itself(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = IceMazeApp(runs_dir=tmp_path)
    try:
        async with app.run_test(size=size) as pilot:
            await at_home(pilot)
            await pilot.press("enter")
            await eventually(pilot, lambda: isinstance(app.screen, StartForm))
            await pilot.press("enter")
            screen = await opened(pilot)
            places: set[int] = set()
            pictures: set[str] = set()

            def moving() -> bool:
                if screen.snapshot is not None and screen.snapshot.step is not None:
                    places.add(screen.snapshot.step.state)
                    pictures.add(shown(app))
                return len(places) >= 3 and len(pictures) >= 5

            await eventually(pilot, moving)
            assert screen.snapshot is not None and screen.snapshot.policy is not None
            assert screen.snapshot.policy.q is not None and screen.snapshot.policy.q.any()
            assert "TD error δ" in shown(app) or "│ δ" in shown(app)
            await pilot.press("enter")
            await eventually(pilot, lambda: "This update, explained" in shown(app))
            await pilot.press("escape", "q")
            await at_home(pilot)
        (run,) = library.list_runs(tmp_path)
        assert run.state == "running"
    finally:
        for path in library.run_folders(tmp_path):
            kill(path)


async def test_keys_typed_before_the_library_is_there_are_not_lost(tmp_path: Path) -> None:
    app = IceMazeApp(runs_dir=tmp_path)
    app._typed_ahead += ["down", "enter"]  # as if pressed during the import
    async with app.run_test(size=(80, 24)) as pilot:
        await eventually(pilot, lambda: isinstance(app.screen, StartForm))
        await eventually(pilot, lambda: "Value iteration" in shown(app))


async def test_a_start_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Path:
        raise UserError("The disk is [full].")

    monkeypatch.setattr(launch, "launch", refuse)
    app = IceMazeApp(runs_dir=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_home(pilot)
        await pilot.press("enter")
        await eventually(pilot, lambda: isinstance(app.screen, StartForm))
        await pilot.press("enter")
        await eventually(pilot, lambda: "The disk is [full]." in notified(pilot))
        assert isinstance(app.screen, HomeScreen)


async def test_a_run_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "20260101-000000-broken-aa").mkdir()
    app = app_on(tmp_path / "20260101-000000-broken-aa")
    async with app.run_test(size=(80, 24)) as pilot:
        await at_home(pilot)
        await eventually(pilot, lambda: "there is no run here" in notified(pilot))
        assert isinstance(app.screen, HomeScreen)


async def test_leaving_an_opened_run_leads_to_the_library(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("q")
        await at_home(pilot)
        await pilot.press("tab")
        await eventually(pilot, lambda: "Across the ice" in shown(app))
        await pilot.press("enter")
        assert isinstance(await opened(pilot), TrainerScreen)
        assert trainer(pilot).watcher.source.reader.path == recording


async def test_help_and_palette_of_the_library(tmp_path: Path) -> None:
    app = IceMazeApp(runs_dir=tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_home(pilot)
        offered = [command.title for command in app.get_system_commands(app.screen)]
        assert len(offered) == len(set(offered))
        assert {"Choose", "Find", "Quit", "Help", "Theme", "Screenshot"} <= set(offered)
        keys, told = active_keys(app.screen), sections(app.screen)
        assert "Copy selected text" not in {key.name for key in keys}
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        assert app.screen.sections == told and sum(len(part) for _, part in told) > 5
        assert "The library." in shown(app)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HomeScreen)
        await pilot.press("ctrl+p")
        await eventually(pilot, lambda: "Search the commands" in shown(app))


async def test_the_first_picture_comes_before_the_library(tmp_path: Path) -> None:
    app = IceMazeApp(runs_dir=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        default = app.screen_stack[0]
        assert "Enter chooses a preset" in str(default.query_one(Static).content)
        await at_home(pilot)


def test_after_a_crash_the_shell_sees_that_there_was_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Crashing(IceMazeApp):
        def on_mount(self) -> None:
            raise RuntimeError("through the ice")

    with pytest.raises(SystemExit) as end:
        Crashing(runs_dir=tmp_path).run(headless=True)
    assert end.value.code == 1
    assert "through the ice" in capsys.readouterr().err


def test_an_app_that_is_left_returns(tmp_path: Path) -> None:
    class Left(IceMazeApp):
        def on_mount(self) -> None:
            self.exit()

    app = Left(runs_dir=tmp_path)
    app.run(headless=True)
    assert app.return_code == 0
