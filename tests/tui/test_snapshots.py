"""A few pictures. When one changes on purpose: `pytest tests/tui/test_snapshots.py
--snapshot-update`, and look at the new picture.

The runs are made from fixed presets and seeds; nothing in the pictures depends on the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home_tools import shown, write_presets
from patience import eventually
from textual.pilot import Pilot
from trainer_tools import app_on, opened, settled

from engine.config import shipped as shipped_presets
from tui.app import IceMazeApp
from tui.features.home.screen import HomeScreen
from tui.ui import glyphs

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]

Compare = Callable[..., bool]


def test_home(snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "presets"
    shipped.mkdir()
    write_presets(shipped)
    monkeypatch.setattr(shipped_presets, "FOLDER", shipped)

    async def ready(pilot: Pilot[Any]) -> None:
        await eventually(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await eventually(pilot, lambda: "π* wins 100%" in shown(pilot.app))
        await eventually(pilot, lambda: "None yet." in shown(pilot.app))

    app = IceMazeApp(runs_dir=tmp_path / "runs")
    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)


async def middle(pilot: Pilot[Any]) -> None:
    """The middle of the recording, without the notes of the way there."""
    screen = await opened(pilot)
    screen.go_to_step(300)
    await settled(pilot)
    pilot.app.clear_notifications()
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_trainer(snap_compare: Compare, recording: Path, size: tuple[int, int]) -> None:
    assert snap_compare(app_on(recording), terminal_size=size, run_before=middle)


def test_explanation(snap_compare: Compare, recording: Path) -> None:
    async def explained(pilot: Pilot[Any]) -> None:
        await middle(pilot)
        await pilot.press("enter")
        await pilot.pause()

    assert snap_compare(app_on(recording), terminal_size=(120, 40), run_before=explained)


@pytest.mark.parametrize(
    ("theme", "ascii_only", "size"),
    [("mono", True, (80, 24)), ("colour-safe-dark", False, (120, 40))],
)
def test_looks(
    snap_compare: Compare, recording: Path, theme: str, ascii_only: bool, size: tuple[int, int]
) -> None:
    glyphs.choose(ascii_only)
    app = app_on(recording)
    app.look(theme)

    async def values(pilot: Pilot[Any]) -> None:
        await middle(pilot)
        await pilot.press("2")
        await settled(pilot)

    assert snap_compare(app, terminal_size=size, run_before=values)
