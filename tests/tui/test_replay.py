"""Going through a recording on screen: everything shows the same moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from home_tools import shown
from patience import eventually
from textual.pilot import Pilot
from trainer_tools import app_on, notified, opened, recorded, settled

from tui.features.trainer.screen import TrainerScreen
from tui.log.trajectory_log import TrajectoryLog
from tui.maze.maze_grid import MazeGrid
from tui.model.snapshot import Snapshot
from tui.watching.curves import CurvesPanel

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]


def moment(screen: TrainerScreen) -> Snapshot:
    """What is shown; all widgets agree on it."""
    shot = screen.snapshot
    assert shot is not None and shot.step is not None
    assert screen.query_one(MazeGrid).snapshot is shot
    assert screen.query_one(MazeGrid).agent == shot.step.next_state
    row = screen.query_one(TrajectoryLog).cursor_row
    assert row is not None and row.step is shot.step
    cursor = screen.query_one(CurvesPanel).cursor
    assert cursor == (None if shot.following else shot.at)
    return shot


def place(shot: Snapshot) -> tuple[int, int]:
    """Episode and time step."""
    assert shot.step is not None
    return shot.step.episode, shot.step.t


async def pressed(pilot: Pilot[Any], screen: TrainerScreen, *keys: str) -> Snapshot:
    await pilot.press(*keys)
    await settled(pilot)
    return moment(screen)


async def test_step_by_step(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        end = moment(screen)
        rows = await recorded(screen)
        first = await pressed(pilot, screen, "full_stop")
        assert not first.following
        assert place(first) == (rows[0].index, 0)
        assert "◀ recording, paused" in shown(app)
        assert f"step {first.at} " in shown(app)
        assert place(await pressed(pilot, screen, "full_stop")) == (rows[0].index, 1)
        assert place(await pressed(pilot, screen, "e")) == (rows[0].index, rows[0].length - 1)
        on = await pressed(pilot, screen, "greater_than_sign")
        assert place(on) == (rows[1].index, 0)
        back = await pressed(pilot, screen, "less_than_sign")
        assert place(back) == place(first)
        await pilot.press("less_than_sign")
        await settled(pilot)
        assert place(moment(screen)) == place(first)
        assert "No episode is recorded before this one." in notified(pilot)
        assert place(await pressed(pilot, screen, "f")) == place(end)
        assert "✓ finished" in shown(app)


async def test_many_presses_are_all_carried_out(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        for _ in range(5):
            screen.action_step()  # faster than any look at the run
        await settled(pilot)
        assert screen.snapshot is not None and screen.snapshot.step is not None
        assert screen.snapshot.step.t == 4


async def test_it_plays_and_stops_at_the_last_recorded_step(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        rows = await recorded(screen)
        await pilot.press("space")
        await eventually(pilot, lambda: screen.snapshot and not screen.snapshot.following)
        assert screen.snapshot is not None
        begun = screen.snapshot.at
        await eventually(pilot, lambda: screen.snapshot and screen.snapshot.at > begun + 1)
        assert "recording, 4 steps/s" in shown(app)
        await pilot.press("plus")
        await eventually(pilot, lambda: "recording, 8 steps/s" in shown(app))
        await pilot.press("space")
        await settled(pilot)
        assert not screen.playing
        assert "recording, paused" in shown(app)
        screen.go_to_step(rows[-1].step - 1)
        await settled(pilot)
        await pilot.press("space")
        await eventually(pilot, lambda: "That was the last recorded step." in notified(pilot))
        assert not screen.playing
        assert moment(screen).at == rows[-1].step


async def test_the_curves_cursor_leads_to_its_moment(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("p", "p")
        curves = screen.query_one(CurvesPanel)
        assert curves.cursor is None
        await pilot.press("left", *["left"] * 20)
        chosen = curves.cursor
        assert chosen is not None and 0 < chosen < 600
        shot = await pressed(pilot, screen, "enter")
        assert shot.at == int(chosen)
        assert f"step {shot.at} " in shown(app)
        assert all(row.step <= shot.at for row in shot.episodes)


async def test_a_click_on_the_chart_puts_the_cursor_there(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        curves = screen.query_one(CurvesPanel)
        await pilot.click("Chart", offset=(30, 6))
        assert curves.cursor is not None
        await pilot.press("escape")
        assert curves.cursor is None


async def test_sweeps_play_too(recordings: dict[str, Path]) -> None:
    app = app_on(recordings["planning"])
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("e")
        await settled(pilot)
        assert screen.snapshot is not None and screen.snapshot.step is not None
        assert screen.snapshot.step.episode == 1
        assert "sweep 1 " in shown(app)


async def test_a_resumed_run_is_followed_by_itself(recording: Path) -> None:
    """The moment shown may be gone after a resume; the screen then goes back to now."""
    from tui.model.source import Moment

    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        screen.watcher._replay.moment = Moment(10**9, 0)
        screen.look()
        await eventually(pilot, lambda: "the run was resumed" in notified(pilot))
        await settled(pilot)
        assert moment(screen).following
