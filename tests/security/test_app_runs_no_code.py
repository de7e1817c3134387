"""The app never runs code that is in a run; going on with one asks, and its worker runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from home_tools import shown
from hostile_runs import NAMES, Hostile, hostile, set_meta
from patience import eventually, settle
from textual.pilot import Pilot
from trainer_tools import opened

from engine.learning.custom_file import sha256_of
from engine.runs.disk.lock import is_alive
from engine.runs.reader import RunReader
from engine.tabular.custom import trust
from tui.app import IceMazeApp
from tui.features.home.screen import HomeScreen
from tui.features.trainer.explain_dialog import ExplainScreen
from tui.library.lists import RunList
from tui.ui.yes_no import YesNo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:overflow"),
]


@pytest.fixture
def runs(whole: Path, tmp_path: Path) -> Hostile:
    return hostile(whole, tmp_path, lambda path: None)


def stopped(path: Path) -> None:
    """Let it look as if the run could go on."""
    with contextlib.closing(sqlite3.connect(path / "run.db")) as connection, connection:
        connection.execute("""REPLACE INTO meta VALUES ('state', '"stopped"')""")


async def at_runs(pilot: Pilot[Any]) -> RunList:
    """The list of runs, with the newest one highlighted and previewed."""
    await eventually(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
    await eventually(pilot, lambda: pilot.app.screen.query_one(RunList).chosen == NAMES[1])
    runs = pilot.app.screen.query_one(RunList)
    runs.focus()
    await eventually(pilot, lambda: "Hysteretic" in shown(pilot.app))
    return runs


async def test_looking_runs_nothing_and_going_on_asks(runs: Hostile) -> None:
    stopped(runs.paths[1])
    app = IceMazeApp(runs_dir=runs.runs)
    async with app.run_test(size=(140, 50)) as pilot:
        await at_runs(pilot)
        await pilot.press("enter")
        await opened(pilot)
        assert "Hysteretic Q-learning" in shown(app)
        await pilot.press("space")
        await settle(pilot)
        await pilot.press("up", "enter")
        await eventually(pilot, lambda: isinstance(app.screen, ExplainScreen))
        assert "The agent" in shown(app)  # the words of the file, as they were recorded
        await pilot.press("escape", "g")
        await settle(pilot)
        await pilot.press("escape", "q")
        await at_runs(pilot)
        for answer in ("n", "y"):
            await pilot.press("r")
            await eventually(pilot, lambda: isinstance(app.screen, YesNo))
            assert "evil.py" in shown(app) and "your rights" in " ".join(shown(app).split())
            assert not runs.trap.exists()
            await pilot.press(answer)
            await settle(pilot)
            assert trust.is_trusted(runs.sha256) is (answer == "y")
            assert answer == "y" or not (runs.trap.exists() or is_alive(runs.paths[1]))
        await eventually(pilot, runs.trap.exists)  # by the worker
    trust.forget(runs.sha256)


async def test_a_file_that_never_ends_does_not_keep_the_app(runs: Hostile) -> None:
    """Its worker hangs; the app shows that it starts, and can be left."""
    path = runs.paths[1]
    code = f"from pathlib import Path\nPath({str(runs.trap)!r}).touch()\nwhile True: pass\n"
    (path / "evil.py").write_text(code, "utf-8")
    sha256 = sha256_of(code.encode())
    set_meta(path, {"name": "evil.py", "from": "", "sha256": sha256})
    stopped(path)
    trust.for_now(sha256)
    app = IceMazeApp(runs_dir=runs.runs)
    try:
        async with app.run_test(size=(140, 50)) as pilot:
            await at_runs(pilot)
            await pilot.press("r")
            await eventually(pilot, runs.trap.exists)
            await opened(pilot)
            await pilot.press("q")
            await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
            await pilot.press("q")
            await eventually(pilot, lambda: not app.is_running)
    finally:
        if is_alive(path):
            with RunReader(path) as reader:
                os.kill(reader.meta()["pid"], signal.SIGKILL)
