"""With ICEMAZE_ASCII every screen is drawn in ASCII: what we write, and what Textual draws."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from home_tools import FIRST, PLANNER, SCHEDULED, make_run, shown, write_presets
from patience import eventually, settle
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Collapsible, Select
from trainer_tools import app_on, live_run, opened, settled

from engine import presets
from engine.config import shipped as shipped_presets
from tui.app import IceMazeApp
from tui.features.algorithms.screen import AlgorithmMapScreen
from tui.features.home.screen import HomeScreen
from tui.forms.start_form import StartForm, TuneForm

pytestmark = [pytest.mark.usefixtures("ascii_look"), pytest.mark.slow]

SIZES = [(80, 24), (160, 50)]


def check(pilot: Pilot[Any], where: str) -> None:
    """Everything on the screen is ASCII."""
    foreign = [line for line in shown(pilot.app).splitlines() if not line.isascii()]
    assert foreign == [], where


async def go_through(pilot: Pilot[Any], *keys: str) -> None:
    """Press one key after the other and look each time."""
    check(pilot, "before any key")
    for key in keys:
        await pilot.press(key)
        await settle(pilot)
        check(pilot, key)


@pytest.mark.parametrize("size", SIZES)
async def test_the_library_and_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    shipped, runs = tmp_path / "presets", tmp_path / "runs"
    shipped.mkdir()
    write_presets(shipped)
    write_presets(shipped, {"broken": "title = ["})
    for state in ("finished", "stopped", "failed", "running"):
        make_run(runs, state=state, success=0.5, step=2500, env_steps=2500)
    (runs / "20260101-000000-broken-aa").mkdir()
    monkeypatch.setattr(shipped_presets, "FOLDER", shipped)
    app = IceMazeApp(runs_dir=runs)
    async with app.run_test(size=size) as pilot:
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
        await eventually(pilot, lambda: "First steps" in shown(app))
        await settle(pilot)
        await go_through(pilot, *["down"] * 4, "pagedown", "home", "question_mark", "escape")
        await go_through(pilot, "tab", *["down"] * 5, "d", "escape", "tab")
        await go_through(pilot, "slash", "s", "z", "escape", "enter", "escape", "end", "enter")
        await go_through(pilot, "ctrl+p", "q", "escape", "a", "g", "enter", "escape", "escape")


@contextlib.asynccontextmanager
async def showing(
    screen: Screen[Any], runs: Path, size: tuple[int, int]
) -> AsyncIterator[Pilot[Any]]:
    """The app, with a screen on top of the library."""
    app = IceMazeApp(runs_dir=runs)
    async with app.run_test(size=size) as pilot:
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
        await settle(pilot)
        await app.push_screen(screen)
        await settle(pilot)
        yield pilot


@pytest.mark.parametrize("size", SIZES)
async def test_the_algorithm_map(tmp_path: Path, size: tuple[int, int]) -> None:
    async with showing(AlgorithmMapScreen(), tmp_path, size) as pilot:
        await go_through(pilot, *["down"] * 12)
        await go_through(pilot, "home", "tab", "g", "enter", "escape")


@pytest.mark.parametrize("form", [StartForm, TuneForm])
async def test_the_forms(tmp_path: Path, form: type[StartForm] | type[TuneForm]) -> None:
    looked_into = set()  # by key: a setting that three forms have is the same in each
    for text in (FIRST, SCHEDULED, PLANNER):
        async with showing(form(presets.parse(text)), tmp_path, (80, 24)) as pilot:
            await go_through(pilot, *["down"] * 6)
            for fold in pilot.app.screen.query(Collapsible):
                fold.collapsed = False
            await settle(pilot)
            check(pilot, "unfolded")
            for choice in pilot.app.screen.query(Select):
                if choice.tooltip not in looked_into:
                    looked_into.add(choice.tooltip)
                    choice.focus()
                    await go_through(pilot, "enter", "escape")
    assert looked_into and None not in looked_into


@pytest.mark.parametrize(
    ("name", "size"), [("learning", SIZES[0]), ("planning", SIZES[0]), ("learning", SIZES[1])]
)
async def test_the_trainer(recordings: dict[str, Path], size: tuple[int, int], name: str) -> None:
    app = app_on(recordings[name])
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        # Not `go_through`: the trainer looks at its run for ever.
        for key in [*"12345vop", "up", "enter", "g", "enter", "p", "p", *"mmmm", "left", "g",
                    "down", "enter", "escape", "p", *["down"] * 9, "slash", "x", "escape",
                    "question_mark", "pagedown", "escape", "x", "t", "less_than_sign",
                    "ctrl+p", "escape"]:  # fmt: skip
            await pilot.press(key)
            await settled(pilot)
            check(pilot, key)


async def test_a_live_run_tuned_and_stopped(tmp_path: Path) -> None:
    with live_run(tmp_path, pace=32.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            await opened(pilot)
            await pilot.press("t")
            await eventually(pilot, lambda: isinstance(app.screen, TuneForm))
            check(pilot, "t")
            await pilot.press("escape", "x")
            check(pilot, "x")
            await pilot.press("y")
            await eventually(pilot, lambda: "stopped" in shown(app))
            check(pilot, "y")
