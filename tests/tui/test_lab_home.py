"""The Lab on the home screen, marking runs for a comparison, and a challenge from end to end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from home_tools import FIRST, make_run, shown, write_presets
from lab_tools import CHALLENGE, LabHostApp, write_lab
from patience import eventually, settle
from textual.binding import Binding
from textual.pilot import Pilot

from engine import presets
from engine.config import shipped as shipped_presets
from engine.experiments.lab import progress
from engine.runs import launch
from engine.runs.reader import RunReader
from engine.runs.records import ENDED
from tui.app import IceMazeApp
from tui.features.home.lab_list import LabList
from tui.features.home.screen import HomeScreen
from tui.features.home.which_runs import WhichRuns
from tui.features.lesson.screen import LessonScreen
from tui.forms.start_form import StartForm
from tui.glossary.glossary_dialog import GlossaryDialog
from tui.lesson.lesson_panel import LessonPanel
from tui.library import shelf
from tui.library.lists import HomeList, PresetList, RunList
from tui.library.run_actions import start_together

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]

SIZES = [(80, 24), (160, 50)]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "presets"
    folder.mkdir()
    write_presets(folder)
    write_lab(folder)
    monkeypatch.setattr(shipped_presets, "FOLDER", folder)
    return folder


@pytest.fixture(autouse=True)
def state_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's progress, in a folder of the test's."""
    file = tmp_path / "data" / "lab.json"
    monkeypatch.setattr(progress, "default_file", lambda: file)
    return file


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def rows(pilot: Pilot[Any], kind: type[HomeList]) -> list[str]:
    return [str(option.prompt) for option in pilot.app.screen.query_one(kind).options]


def words(app: Any) -> str:
    return " ".join(re.sub("[│╭╮╰╯─▌]", " ", shown(app)).split())


# ---------------------------------------------------------------- the list


@pytest.mark.parametrize("size", SIZES)
async def test_the_lab_lists_challenges_pages_and_further_experiments(
    shipped: Path, runs: Path, size: tuple[int, int]
) -> None:
    progress.mark("greed", "tried")
    app = LabHostApp(runs)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        assert "Lab: 0 of 1 understood" in shown(app)
        await pilot.press("l")
        await settle(pilot)
        assert rows(pilot, LabList) == [
            "Challenges",
            " 1 Explore or exploit\n   ◐ tried  What is lost by greed?",
            "Further lessons",
            "Why it is hard\n  ○ not tried  ",
            "Further experiments",
            "  One more",
        ]
        text = words(app)
        for expected in (
            "1 Explore or exploit",
            "What is lost by greed?",
            "state ◐ tried",
            "fails Only greed. Only greed, in one sentence.",
            "remedy Some curiosity. Some curiosity, in one sentence.",
            "lesson 2 pages, 2 questions",
            "term Exploration",
            "★ prize",
        ):
            assert expected in text
        assert not [row for row in rows(pilot, PresetList) if "greed" in row or "One more" in row]


async def test_without_challenges_there_is_no_lab(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_presets(tmp_path)
    monkeypatch.setattr(shipped_presets, "FOLDER", tmp_path)
    app = LabHostApp(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Lab" not in shown(app)
        await pilot.press("l")
        assert app.screen.query_one(PresetList).has_focus


async def test_the_filter_finds_challenges_too(shipped: Path, runs: Path) -> None:
    app = LabHostApp(runs)
    async with app.run_test(size=(160, 50)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"exploit")
        await settle(pilot)
        assert rows(pilot, LabList)[1].startswith(" 1 Explore or exploit")
        assert len(rows(pilot, LabList)) == 2


async def test_a_broken_challenge_says_what_is_wrong(shipped: Path, runs: Path) -> None:
    file = shipped / "lab" / "greed" / "challenge.toml"
    file.write_text(CHALLENGE.replace("lab-curious", "lab-curius"), "utf-8")
    app = LabHostApp(runs)
    async with app.run_test(size=(160, 50)) as pilot:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        assert "? greed" in rows(pilot, LabList)
        assert "Did you mean 'lab-curious'?" in words(app)
        await pilot.press("enter")
        assert [n.severity for n in app._notifications] == ["error"]
        assert app.labs == []


async def test_a_broken_lesson_is_said_and_the_runs_can_be_had_all_the_same(
    shipped: Path, runs: Path
) -> None:
    (shipped / "lab" / "greed" / "lesson.md").write_text("words", "utf-8")
    app = LabHostApp(runs)
    async with app.run_test(size=(160, 50)) as pilot:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        assert "this is on no page" in words(app)
        await pilot.press("enter")
        assert app.labs == ["greed"]


async def test_damaged_progress_is_told_and_begins_anew(
    shipped: Path, runs: Path, state_file: Path
) -> None:
    state_file.parent.mkdir()
    state_file.write_text("{", "utf-8")
    app = LabHostApp(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert any("set aside" in n.message for n in app._notifications)
        assert "Lab: 0 of 1 understood" in shown(app)


async def test_a_further_experiment_is_started_like_a_preset(shipped: Path, runs: Path) -> None:
    app = LabHostApp(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("l", "end", "enter")
        assert isinstance(app.screen, StartForm)
        await pilot.press("enter")
        await settle(pilot)
        assert [name for name, _ in app.started] == ["lab-more"]


async def test_runs_there_are_may_be_opened_instead_of_fresh_ones(
    shipped: Path, runs: Path
) -> None:
    folder = shipped / "lab" / "greed"
    texts = {p.stem: p.read_text("utf-8") for p in folder.glob("lab-*.toml")}
    made = [make_run(runs, texts[name], name).name for name in ("lab-greedy", "lab-curious")]
    app = LabHostApp(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("l", "enter")
        assert isinstance(app.screen, WhichRuns)
        assert "finished" in shown(app)
        await pilot.press("escape")
        assert (app.labs, app.compared) == ([], [])
        await pilot.press("enter", "enter")
        await settle(pilot)
        assert app.compared == [(made, "greed")]
        await pilot.press("enter", "down", "enter")
        await settle(pilot)
        assert app.labs == ["greed"]


# ---------------------------------------------------------------- comparing


async def test_marked_runs_are_compared(shipped: Path, runs: Path) -> None:
    made = sorted(make_run(runs, FIRST, f"run-{i}").name for i in range(5))
    app = LabHostApp(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("c")
        assert len(app._notifications) == 0  # the presets have the focus
        await pilot.press("tab", "c")
        assert "none is marked" in [*app._notifications][-1].message
        await pilot.press("home", "space", "c")
        assert "one is marked" in [*app._notifications][-1].message
        await pilot.press("down", "space")
        await settle(pilot)
        assert sum("marked, finished" in row for row in rows(pilot, RunList)) == 2
        newest = [option.id for option in app.screen.query_one(RunList).options]
        await pilot.press("c")
        assert app.compared == [([newest[1], newest[0]], None)]
        assert set(newest) == set(made)
        for _ in range(3):
            await pilot.press("down", "space")
        await pilot.press("c")
        assert "5 are marked" in [*app._notifications][-1].message
        await pilot.press("space")
        await settle(pilot)
        assert sum("marked, finished" in row for row in rows(pilot, RunList)) == 4


# ---------------------------------------------------------------- the presets


def test_presets_for_any_machine_come_before_those_that_need_a_gpu() -> None:
    llm = [card for card in shelf.read_presets() if card.group == "llm"]
    needs = [card.preset is not None and card.preset.model.device == "cuda" for card in llm]  # type: ignore[attr-defined]
    assert True in needs
    assert needs == sorted(needs)


def test_every_binding_can_be_named_and_explained() -> None:
    for owner in (LabList, RunList, WhichRuns, LessonScreen, LessonPanel):
        for binding in owner.BINDINGS:
            assert isinstance(binding, Binding)
            assert binding.id and binding.description and binding.tooltip


# ---------------------------------------------------------------- from end to end


def test_runs_that_begin_together_share_seed_and_pace(
    shipped: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.core.errors import UserError

    asked: list[tuple[str, Any]] = []
    stopped: list[Path] = []

    def start(preset: Any, name: str, **how: Any) -> Path:
        if name == "broken":
            raise UserError("no room")
        asked.append((name, how))
        return runs / name

    monkeypatch.setattr(launch, "launch", start)
    monkeypatch.setattr("tui.library.run_actions.stop", stopped.append)
    preset = presets.load("lab-greedy", ["run.seed=5", "run.pace=9"])
    both = [("one", preset), ("two", presets.load("lab-curious"))]
    assert start_together(both, runs, paused=True) == [runs / "one", runs / "two"]
    how = {"runs_dir": runs, "seed": 5, "pace": 9.0, "paused": True}
    assert asked == [("one", how), ("two", how)]
    with pytest.raises(UserError, match="no room"):
        start_together([*both, ("broken", preset)], runs)
    assert stopped == [runs / "one", runs / "two"]


async def test_a_challenge_from_the_list_to_understood(
    shipped: Path, runs: Path, state_file: Path
) -> None:
    app = IceMazeApp(runs_dir=runs)
    async with app.run_test(size=(160, 50)) as pilot:
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
        await eventually(pilot, lambda: "Lab: 0 of 1 understood" in shown(app))
        await pilot.press("l", "enter")
        await eventually(pilot, lambda: "Will it learn the way?" in words(app))
        assert json.loads(state_file.read_text())["states"] == {"greed": "tried"}
        paths = sorted(runs.glob("*-lab-*"), key=lambda path: path.name)
        assert {path.name.split("-", 2)[2][:-3] for path in paths} == {"lab-greedy", "lab-curious"}
        await eventually(pilot, lambda: "paused" in words(app))  # nothing is shown before
        await pilot.press("a")
        await eventually(pilot, lambda: "Your prediction: a, yes" in words(app))
        await pilot.press("space")
        await eventually(pilot, lambda: "Right." in words(app))
        await pilot.press("n")
        await eventually(pilot, lambda: "How many moves" in words(app))
        await pilot.press("2", "enter")
        await eventually(pilot, lambda: "n finishes the lesson." in words(app))
        await pilot.press("n")
        await eventually(pilot, lambda: "The lesson is finished." in words(app))
        assert json.loads(state_file.read_text())["states"] == {"greed": "understood"}
        await pilot.press("q")
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
        await eventually(pilot, lambda: "Lab: 1 of 1 understood" in shown(app))
        assert "● understood" in shown(app)
        for path in paths:
            with RunReader(path) as reader:
                await eventually(pilot, lambda: reader.head().state in ENDED)


async def test_a_page_without_runs_is_a_lesson_by_itself(
    shipped: Path, runs: Path, state_file: Path
) -> None:
    app = IceMazeApp(runs_dir=runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
        await eventually(pilot, lambda: "Lab: 0 of 1 understood" in shown(app))
        await pilot.press("l", "down", "enter")
        await eventually(pilot, lambda: isinstance(app.screen, LessonScreen))
        await settle(pilot)
        assert "Why it is hard" in shown(app) and "Page 1 of 1" in shown(app)
        await pilot.press("b", "n")
        await settle(pilot)
        assert json.loads(state_file.read_text())["states"] == {"why-hard": "understood"}
        app.screen.query_one(LessonPanel).post_message(LessonPanel.Point("exploration"))
        await eventually(pilot, lambda: isinstance(app.screen, GlossaryDialog))
        await pilot.press("escape", "q")
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
