"""The timeline: marks, moves of the cursor, and what all panels show then."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input
from trainer_tools import app_on, opened, settled

from engine.core.errors import UserError
from engine.runs.past.timeline import KINDS
from tui.features.trainer.screen import TrainerScreen
from tui.forms.fork_form import ForkForm
from tui.forms.setting_field import SettingField
from tui.model.replay import Replay
from tui.model.snapshot import Snapshot
from tui.model.source import SnapshotSource, track_end
from tui.watching.curves import CurvesPanel
from tui.watching.timeline import Timeline
from tui.watching.timeline_words import JUMPS, LETTERS

pytestmark = pytest.mark.slow

HOSTILE = "\\x1b]0;owned\\x07[red]a note[/red]\\x1b[2J"


async def pressed(pilot: Pilot[Any], screen: TrainerScreen, *keys: str) -> Snapshot:
    await pilot.press(*keys)
    await settled(pilot)
    assert screen.snapshot is not None
    return screen.snapshot


@pytest.fixture
def marked(recording: Path) -> Path:
    """A recording with a note, a tune and a change of the map in it."""
    with sqlite3.connect(recording / "run.db") as db:
        add = "INSERT INTO notes VALUES (NULL, ?, 'info', ?, '', '')"
        db.execute(add, (150, HOSTILE.encode().decode("unicode_escape")))
        db.execute("INSERT INTO tunes VALUES (NULL, 250, 'algorithm.learning_rate', '0.5', x'00')")
        (world,) = db.execute("SELECT payload FROM worlds LIMIT 1").fetchone()
        db.execute("INSERT INTO worlds VALUES (NULL, 350, 99, 'test', ?)", (world,))
    return recording


# ---------------------------------------------------------------- the store


def test_marks_are_found_from_every_step(marked: Path) -> None:
    """Against a plain search through everything."""
    source = SnapshotSource(marked)
    reader = source.reader
    shot = source.read()
    assert shot is not None
    timeline, end = reader.timeline, shot.head.step
    everything = {kind: {m.step for m in timeline.told() if m.kind == kind} for kind in KINDS}
    everything["episode"] = {row.step for row in reader.episodes(limit=10_000)}
    everything["update"] = {int(x) for curve in shot.curves.values() for x in curve.x} - {0}
    assert not everything["edit"], "a world that is not trained in is no change of the map"
    assert everything["note"] >= {150} and everything["tune"] == {250}
    choose = random.Random(0)
    for step in [0, end, *(choose.randrange(end) for _ in range(40))]:
        for kind, steps in everything.items():
            after = min((s for s in steps if s > step), default=None)
            before = max((s for s in steps if s < step), default=None)
            assert timeline.beside([kind], step, +1) == after, (kind, step)
            assert timeline.beside([kind], step, -1) == before, (kind, step)
    for cells in (7, 100, 512):
        for kind in ("update", "episode"):
            found = timeline.spread(kind, end, cells)
            assert set(found) <= everything[kind]
            assert {s * cells // end for s in found} == {s * cells // end for s in everything[kind]}
    source.close()


@pytest.mark.parametrize("step", [0, 1, 7, 8, 9, 1000, 12_345, 10**9 + 7])
def test_the_end_of_a_live_timeline_is_ahead_by_at_most_a_quarter(step: int) -> None:
    end = track_end(step, ended=False)
    assert step < end <= max(8, 1.25 * step + 1)
    assert track_end(step, ended=True) == max(step, 1)


def test_a_replay_goes_back_the_way_it_came(recording: Path) -> None:
    source = SnapshotSource(recording)
    replay, there = Replay(source), []
    while replay.step():
        there.append(replay.moment)
    back = [replay.moment]
    while replay.step(-1):
        back.append(replay.moment)
    assert back[::-1] == there
    assert replay.step(5) and replay.moment == there[5]
    assert replay.follow() and replay.step(-1) and replay.moment == there[-1]
    source.close()


def test_the_past_is_told_as_it_was(recording: Path) -> None:
    source = SnapshotSource(recording)
    replay = Replay(source)
    now = source.read()
    assert now is not None and now.cursor is None
    assert now.counts is now.head
    for step in (0, 137, 400, 10**9):
        replay.until(step)
        shot = source.read(replay.moment)
        assert shot is not None and shot.cursor == min(step, now.head.step) == shot.at
        assert shot.counts.env_steps <= shot.at
        assert shot.counts.episodes <= now.head.episodes
        assert shot.evaluation is None or shot.evaluation.step <= shot.at
    source.close()


# ---------------------------------------------------------------- on screen


async def test_all_panels_follow_the_cursor_and_f_leads_back(marked: Path) -> None:
    app = app_on(marked)
    async with app.run_test(size=(160, 50)) as pilot:
        screen = await opened(pilot)
        timeline = screen.query_one(Timeline)
        picture = timeline.render()
        for kind in ("note", "tune", "checkpoint"):
            assert LETTERS[kind] in str(picture).splitlines()[1]
        assert str(picture).startswith("end ")
        while (shot := await pressed(pilot, screen, "left_square_bracket")).at != 250:
            assert shot.at > 250
        assert str(timeline.render()).startswith("PAST")
        assert "tuned: algorithm.learning_rate = 0.5" in screen._hint(shot)
        shot = await pressed(pilot, screen, "left_square_bracket")
        while shot.at != 150:
            shot = await pressed(pilot, screen, "left_square_bracket")
        assert screen._hint(shot) == "Here: note: [red]a note[/red]"
        assert screen.query_one(CurvesPanel).cursor == 150
        assert all(row.step <= 150 for row in shot.episodes)
        await pilot.press("k")
        assert timeline.jump is JUMPS[1]
        shot = await pressed(pilot, screen, "right_square_bracket")
        assert shot.at > 150 and shot.at in {int(x) for c in shot.curves.values() for x in c.x}
        await pilot.press("s")
        assert timeline.has_focus
        here = shot.at
        assert (await pressed(pilot, screen, "left")).at < here
        assert (await pressed(pilot, screen, "home")).at == 0
        assert (await pressed(pilot, screen, "end")).following
        await pilot.press("escape")
        assert not timeline.has_focus
        await pilot.click("#timeline", offset=(40, 0))
        clicked = await pressed(pilot, screen, "full_stop")
        assert not clicked.following and 0 < clicked.at < clicked.head.step
        assert (await pressed(pilot, screen, "f")).following


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (160, 50)])
async def test_it_fits_every_terminal(marked: Path, size: tuple[int, int]) -> None:
    app = app_on(marked)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot)
        timeline = screen.query_one(Timeline)
        await pressed(pilot, screen, "left_square_bracket")
        lines = str(timeline.render()).splitlines()
        assert len(lines) == timeline.size.height == (2 if size[1] > 32 else 1)
        assert all(cell_len(line) <= timeline.content_size.width for line in lines)
        assert "f: to the end" in "".join(lines) or size[0] < 60


async def test_f_forks_at_the_moment_shown_through_a_form(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        shot = screen.snapshot
        assert shot is not None
        asked: list[tuple[int, float]] = []
        monkeypatch.setattr(
            app,
            "fork_run",
            lambda point, preset: asked.append((point.step, preset.algorithm.learning_rate)),
        )
        screen.scrub(shot.head.step // 2)
        await pressed(pilot, screen, "left_square_bracket")
        await pilot.press("F")
        for _ in range(100):
            await pilot.pause()
            if isinstance(app.screen, ForkForm):
                break
        form = app.screen
        assert isinstance(form, ForkForm)
        keys = {setting.key for group in form._shown.main.values() for setting in group}
        assert "algorithm.learning_rate" in keys
        assert not any(key.startswith(("maze", "run.seed", "run.agents")) for key in keys)
        fields = {field.setting.key: field for field in form.query(SettingField)}
        fields["algorithm.learning_rate"].query_one(Input).value = "0.75"
        await pilot.pause()
        await pilot.click("#submit")
        await pilot.pause()
        assert asked and asked[0][1] == 0.75 and asked[0][0] <= shot.head.step // 2


def test_a_damaged_table_of_marks_is_one_sentence(recording: Path) -> None:
    with sqlite3.connect(recording / "run.db") as db:
        db.execute("INSERT INTO notes VALUES (NULL, -5, 'info', 'early', '', '')")
    source = SnapshotSource(recording)
    with pytest.raises(UserError, match="damaged"):
        source.read()
    source.close()
