"""The trainer on the recorded run of a language model: every panel, the replay, the group view."""

from __future__ import annotations

from pathlib import Path

import pytest
from home_tools import shown
from llm_tools import PLAN, record_llm, tiny_model
from patience import eventually
from textual.pilot import Pilot
from trainer_tools import app_on, notified, opened, settled, trainer

from engine.learning.events import Group, Member, Note
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter
from tui.features.groups.screen import GroupScreen, MemberTable, Way
from tui.features.trainer.explain_dialog import ExplainScreen
from tui.glossary.entries import load
from tui.log.trajectory_log import TrajectoryLog
from tui.maze.maze_grid import MazeGrid
from tui.maze.oracle_map import OracleMap
from tui.model.source import SnapshotSource
from tui.watching.curves import CurvesPanel
from tui.watching.notes import NotesScreen

pytestmark = pytest.mark.llm

SIZES = [(80, 24), (120, 40)]
EVIL = "\x1b[31m[bold]right[/bold]\x07"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def action_run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_llm(tmp_path_factory.mktemp("action"), model)


@pytest.fixture(scope="module")
def plan_run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_llm(tmp_path_factory.mktemp("plan"), model, PLAN)


@pytest.fixture
def told_run(model: Path, tmp_path: Path) -> Path:
    """A run with a warning, and with a group of completions as a hostile model would write them."""
    path = record_llm(tmp_path, model)
    member = Member(
        actions=(2, 1),
        states=(0, 1, 5),
        total=-0.5,
        advantage=-1.25,
        success=False,
        terminated=True,
        truncated=False,
        text=f"{EVIL} down",
        tokens=(EVIL, " down"),
        log_probs=(-0.01, -3.0),
        spans=((0, 5),),
        parts={"prize": 0.0, "[red]progress": -0.5},
        cut_off=True,
    )
    silent = Member(
        actions=(), states=(0,), total=0.0, advantage=0.5, success=False, terminated=False,
        truncated=False, text="I cannot", tokens=("I", " cannot"), log_probs=(-1.0, -1.0),
        unreadable=True,
    )  # fmt: skip
    writer = RunWriter(path)
    try:
        group = Group(
            step=6, world_id=0, index=3, size=2, prompt=f"Go!\n{EVIL}", members=(member, silent)
        )
        note = Note(
            step=6, level="warning", text="All groups are equal.", remedy="Give longer episodes.",
            term="all-equal-group",
        )  # fmt: skip
        writer.write([group, note])
        writer.commit()
    finally:
        writer.close()
    return path


async def groups(pilot: Pilot[None]) -> GroupScreen:
    """The group view, once it is there."""
    await pilot.press("u")
    await eventually(pilot, lambda: isinstance(pilot.app.screen, GroupScreen))
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, GroupScreen)
    return screen


# ---------------------------------------------------------------- the panels


@pytest.mark.parametrize("size", SIZES)
async def test_every_panel_shows_the_run(
    action_run: Path, unicode_look: None, size: tuple[int, int]
) -> None:
    app = app_on(action_run)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        seen = shown(app)
        for _ in range(3):
            await pilot.press("p")
            await pilot.pause()
            seen += shown(app)
        for words in (
            "Asked in ev",  # as much of the title as 80 columns leave
            "update 6",
            "u shows groups",
            "policy π(a|s)",
            "optimum π*",
            "model alike",
            "choice",
            "Update 6",
            "x: updates",
            "[Success]",
            "best so far",
            "optimum",
        ):
            assert words in seen
        for words in ("exploited", "steps per agent", "TD error", "agents"):
            assert words not in seen
        assert ("language model" in seen) == (size[0] < 120)  # the compact figure has no room


async def test_the_oracle_counts_where_the_model_agrees(
    action_run: Path, unicode_look: None
) -> None:
    app = app_on(action_run)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        shot = screen.snapshot
        assert shot is not None and shot.policy is not None
        cells = [s for s in range(16) if shot.optimum.reachable[s] and s not in (5, 7, 11, 12, 15)]
        alike = sum(
            shot.policy.target[s].argmax() == shot.optimum.policy[s].argmax() for s in cells
        )
        assert f"{alike} of {len(cells)} cells" in shown(app)
        assert screen.query_one(OracleMap).display
        assert screen.query_one(MazeGrid).layer_number == 4
        await pilot.resize_terminal(44, 24)
        await pilot.pause()
        assert not screen.query_one(OracleMap).display


async def test_all_views_of_the_curves(action_run: Path, unicode_look: None) -> None:
    app = app_on(action_run)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        curves = screen.query_one(CurvesPanel)
        titles = [view.title for view in curves.views]
        assert titles == [
            *("Success", "Return", "Length", "KL", "Entropy", "Clip", "Gradient", "Loss"),
            *("Groups", "Rate", "Tokens", "Seconds", "Memory"),
        ]
        known = {entry.slug for entry in load()}
        for title in [*titles[1:], titles[0]]:
            await pilot.press("m")
            assert f"[{title}]" in shown(app)
            assert {term.slug for term in curves.terms()} <= known


async def test_a_move_is_explained(action_run: Path, unicode_look: None) -> None:
    app = app_on(action_run)
    async with app.run_test(size=(120, 50)) as pilot:
        screen = await opened(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ExplainScreen)
        text = shown(app)
        for words in ("GRPO: Shao", "group mean", "number 6: learns"):
            assert words in text
        assert "state value" not in text and "exploited" not in text
        assert screen.snapshot is not None


# ---------------------------------------------------------------- one clock for many moves


def test_moments_of_an_update_are_told_apart(action_run: Path) -> None:
    source = SnapshotSource(action_run)
    try:
        rows = tuple(reversed(source.reader.episodes(limit=1000)))
        assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
        from tui.model.replay import Replay

        replay = Replay(source)
        assert replay.first()
        seen = []
        for row in rows:
            for t in range(row.length):
                assert replay.moment is not None
                shot = source.read(replay.moment)
                assert shot is not None and shot.step is not None
                seen.append((shot.at, shot.step.t))
                assert (shot.at, shot.step.t, len(shot.episode_steps)) == (row.step, t, t + 1)
                replay.step()
        assert len(set(seen)) == len(seen) == sum(row.length for row in rows)
        assert replay.at(4)
        shot = source.read(replay.moment)
        assert shot is not None and shot.step is not None
        assert (shot.at, shot.step.t) == (4, rows[3].length - 1)
    finally:
        source.close()


@pytest.mark.parametrize("run", ["action_run", "plan_run"])
async def test_replay(run: str, request: pytest.FixtureRequest, unicode_look: None) -> None:
    app = app_on(request.getfixturevalue(run))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        for keys in (
            ["full_stop"],
            ["full_stop"],
            ["e"],
            ["greater_than_sign"],
            ["less_than_sign"],
        ):
            await pilot.press(*keys)
            await settled(pilot)
            assert screen.snapshot is not None and not screen.snapshot.following
            assert f"update {screen.snapshot.at}" in shown(app)
        await pilot.press("f")
        await settled(pilot)
        assert screen.snapshot is not None and screen.snapshot.following


def test_groups_are_read(action_run: Path) -> None:
    with RunReader(action_run) as reader:
        rows = reader.groups()
        assert [(row.step, row.index) for row in rows] == [
            (step, index) for step in range(1, 7) for index in range(3)
        ]
        assert {row.size for row in rows} == {8}
        assert [row.step for row in reader.groups(until=2)] == [1, 1, 1, 2, 2, 2]
        group = reader.group(rows[-1].id)
        assert (group.step, group.index, len(group.members)) == (6, 2, 8)


# ---------------------------------------------------------------- the group view


@pytest.mark.parametrize("size", SIZES)
async def test_the_group_view(action_run: Path, unicode_look: None, size: tuple[int, int]) -> None:
    app = app_on(action_run)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        screen = await groups(pilot)
        text = shown(app)
        assert "update 6 of 6" in text and "group 1 of 3" in text and "8 episodes" in text
        assert "advantage" in text and "return" in text and "probability:" in text
        advantages = [member.advantage for member in screen.members]
        assert advantages == sorted(advantages, reverse=True)
        first = screen.member
        await pilot.press("down")
        await pilot.pause()
        assert screen.member == screen.members[1] and screen.member is not first
        assert screen.query_one(Way).agent == screen.member.states[-1]
        await pilot.press("tab")
        assert screen.shown.group.index == 1 and "group 2 of 3" in shown(app)
        await pilot.press("shift+tab", "shift+tab")
        assert screen.shown.group.index == 2
        await pilot.press("p")
        await pilot.pause()
        await pilot.press("pagedown")
        assert screen.whole_prompt
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, GroupScreen)


def record_group(path: Path, group: Group) -> None:
    writer = RunWriter(path)
    try:
        writer.write([group])
        writer.commit()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("size", "figures", "said"),
    [
        (64, {"mean": 0.123, "spread": 0.456}, "Mean 0.123, spread 0.456."),
        (64, {"mean": 0.25, "spread": 1e-17}, "All earned 0.250: nobody was better"),
        (64, {}, "Mean of those listed 0.500, spread 0.500."),  # as older versions recorded it
        (2, {}, "Mean 0.500, spread 0.500."),
    ],
)
async def test_mean_and_spread_are_those_of_the_whole_group(
    model: Path,
    tmp_path: Path,
    unicode_look: None,
    size: int,
    figures: dict[str, float],
    said: str,
) -> None:
    path = record_llm(tmp_path, model)
    members = tuple(
        Member(
            actions=(2,), states=(0, 1), total=total, advantage=total - 0.5, success=False,
            terminated=False, truncated=True,
        )
        for total in (0.0, 1.0)
    )  # fmt: skip
    group = Group(step=6, world_id=0, index=3, size=size, prompt="", members=members, **figures)
    record_group(path, group)
    app = app_on(path)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        screen = await groups(pilot)
        await pilot.press("shift+tab")
        await pilot.pause()
        assert screen.shown.group == group or (not figures and screen.shown.group.size == size)
        assert said in shown(app)
        assert (f"{size} episodes" in shown(app)) and (
            size == 2 or "2 listed from best to worst" in shown(app)
        )


async def test_any_past_update_can_be_opened(action_run: Path, unicode_look: None) -> None:
    app = app_on(action_run)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        screen = await groups(pilot)
        for update in (5, 4, 3, 2, 1):
            await pilot.press("left")
            await eventually(pilot, lambda update=update: screen.page.update == update)
            assert f"update {update} of 6" in shown(app)
        await pilot.press("left")
        await eventually(pilot, lambda: "No update is recorded there." in notified(pilot))
        await pilot.press("f")
        await eventually(pilot, lambda: screen.page.update == 6)
        await pilot.press("right", "less_than_sign")
        await eventually(pilot, lambda: screen.page.update == 1)


async def test_the_row_of_the_log_chooses_the_update(action_run: Path, unicode_look: None) -> None:
    app = app_on(action_run)
    async with app.run_test(size=(80, 24)) as pilot:
        panels = await opened(pilot)
        await pilot.press("p", "home")
        row = panels.query_one(TrajectoryLog).cursor_row
        assert row is not None and row.entry.end == 1
        screen = await groups(pilot)
        assert screen.page.update == 1


@pytest.mark.parametrize("size", SIZES)
async def test_what_a_model_wrote_is_shown_as_text(
    told_run: Path, unicode_look: None, size: tuple[int, int]
) -> None:
    app = app_on(told_run)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        screen = await groups(pilot)
        await pilot.press("shift+tab")
        text = shown(app)
        assert "? unreadable" in text and "hole, cut off" in text
        assert screen.member is not None and screen.member.unreadable
        await pilot.press("down")
        await pilot.pause()
        text = shown(app)
        assert "▇[bold]right[/bold]▁ down" in text  # the likely token, then the unlikely one
        assert "prize 0 + [red]progress -0.500" in text
        await pilot.press("p")
        await pilot.pause()
        assert "\x1b" not in shown(app) and "\x07" not in shown(app)
        assert len(screen.query_one(MemberTable).ordered_columns) == (8 if size[0] > 100 else 6)


async def test_the_group_view_of_a_plan_policy(plan_run: Path, unicode_look: None) -> None:
    app = app_on(plan_run)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await groups(pilot)
        text = shown(app)
        for words in ("completions", "reward", "prize", "format", "What the model wrote"):
            assert words in text
        assert not trainer(pilot).query_one(OracleMap).display


async def test_ascii_only(
    action_run: Path, plan_run: Path, told_run: Path, ascii_look: None
) -> None:
    for path in (action_run, plan_run, told_run):
        app = app_on(path)
        async with app.run_test(size=(120, 40)) as pilot:
            await opened(pilot)
            for keys in ([], ["p"], ["m"], ["enter"], ["escape"], ["n"], ["escape"]):
                await pilot.press(*keys)
                await pilot.pause()
                assert shown(app).isascii(), shown(app)
            await groups(pilot)
            for keys in ([], ["p"], ["shift+tab"]):
                await pilot.press(*keys)
                await pilot.pause()
                assert shown(app).isascii(), shown(app)


# ---------------------------------------------------------------- notes


@pytest.mark.parametrize("size", SIZES)
async def test_notes_can_be_read_again(
    told_run: Path, unicode_look: None, size: tuple[int, int]
) -> None:
    app = app_on(told_run)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot)
        assert "! 1" in shown(app).splitlines()[0]
        await pilot.press("n")
        await pilot.pause()
        assert isinstance(app.screen, NotesScreen)
        text = shown(app)
        assert "! update 6  All groups are equal." in text
        assert "What to do: Give longer episodes." in text
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is screen and screen.panel == "glossary"
        assert "all-equal" in shown(app).lower()
