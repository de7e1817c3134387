"""X in the trainer and in the list of runs: a format, a place, Enter, and the file is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from home_tools import shown
from patience import eventually
from textual.widgets import Input
from trainer_tools import app_on, notified, opened

from tui.features.export.screen import ExportScreen
from tui.features.home.screen import HomeScreen

pytestmark = pytest.mark.slow


async def test_x_writes_the_run(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_on(recording)
    report, tables = tmp_path / f"{recording.name}.html", tmp_path / f"{recording.name}-csv"
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("X")
        await eventually(pilot, lambda: isinstance(app.screen, ExportScreen))
        assert all(name in shown(app) for name in ("html", "csv", "tensorboard", "gif", "Esc"))
        assert app.screen.query_one(Input).value == str(report)
        await pilot.press("enter")
        await eventually(pilot, report.is_file)
        await eventually(pilot, lambda: f"Written to {report}" in notified(pilot))
        await eventually(pilot, lambda: not isinstance(app.screen, ExportScreen))

        await pilot.press("X", "enter")  # it is there already
        await eventually(pilot, lambda: "is there already" in shown(app))
        assert "--force" not in shown(app)
        await pilot.press("down")  # the place goes with the format
        assert app.screen.query_one(Input).value == str(tables)
        await pilot.press("tab", *"-2", "enter")
        await eventually(pilot, (tmp_path / f"{tables.name}-2" / "metrics.csv").is_file)
        await eventually(pilot, lambda: not isinstance(app.screen, ExportScreen))

        await pilot.press("q")
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
        await pilot.press("X")  # on the presets it is no key
        assert isinstance(app.screen, HomeScreen)
        app.screen.query_one("#runs").focus()
        await pilot.press("X")
        await eventually(pilot, lambda: isinstance(app.screen, ExportScreen))
        await pilot.press("escape")
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
