"""The home screen: presets, runs, and what is shown of either."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from home_tools import (
    FIRST,
    SCHEDULED,
    SHIPPED,
    HostApp,
    make_run,
    shown,
    write_presets,
    write_state,
)
from patience import eventually, settle
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine import presets
from engine.config import shipped as shipped_presets
from engine.runs import launch
from engine.runs.disk.lock import RunLock
from engine.runs.lists import index
from engine.runs.reader import RunReader
from tui.features.home import screen as home
from tui.features.home.preview import Preview
from tui.features.home.screen import HomeScreen
from tui.library import lists, shelf
from tui.ui import glyphs

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 50)]


@pytest.fixture(autouse=True)
def unicode_glyphs() -> Iterator[None]:
    glyphs.choose(False)
    yield
    glyphs.choose(None)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "presets"
    folder.mkdir()
    write_presets(folder)
    monkeypatch.setattr(shipped_presets, "FOLDER", folder)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def app_with(runs: Path) -> HostApp:
    return HostApp(HomeScreen(runs))


def rows(pilot: Pilot[Any], selector: str) -> list[str]:
    """The rows of a list as text, headings included."""
    options = pilot.app.screen.query_one(selector, lists.HomeList).options
    return [str(option.prompt) for option in options]


# ---------------------------------------------------------------- presets


async def test_two_enters_start_the_first_preset(shipped: Path, runs: Path) -> None:
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await eventually(pilot, lambda: "First steps" in shown(app))
        await pilot.press("enter", "enter")
        assert app.started == [("first-steps", presets.load(str(shipped / "first-steps.toml")))]


async def test_presets_stand_under_their_groups_in_teaching_order(
    shipped: Path, runs: Path
) -> None:
    write_presets(shipped, {"hard": FIRST.replace("[maze]", 'group = "challenge"\n[maze]', 1)})
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert rows(pilot, "#presets") == [
            "Tables",
            "First steps on the ice",
            "The answer, computed",
            "Slippery SARSA",
        ]


@pytest.mark.parametrize("size", SIZES)
async def test_everything_that_matters_is_visible(
    shipped: Path, runs: Path, size: tuple[int, int]
) -> None:
    make_run(runs, state="stopped", success=0.25, step=2500, env_steps=2500)
    app = app_with(runs)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = shown(app)
        for words in (
            "First steps on the ice",
            "The answer, computed",
            "Slippery SARSA",
            "Watch one agent learn.",
            "Q-learning, off-policy",
            "ε-greedy on Q, ε 1 to 0.05",
            "greedy on Q",
            "5,000 steps, by each of 16",
            "4 steps a second, 21 min",
            "★ prize",
            "π* wins 100% in 6 moves",
            "stopped, 50% done, success 25%",
            "enter Choose",
            "/ Find",
            "q Quit",
        ):
            assert words in text


@pytest.mark.parametrize("size", SIZES)
async def test_a_newcomer_is_told_what_to_press(
    shipped: Path, runs: Path, size: tuple[int, int]
) -> None:
    app = app_with(runs)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = shown(app)
        assert all(line in text for line in home.WELCOME.splitlines())
        make_run(runs)
        await pilot.press("enter", "escape")
        await settle(pilot)
        assert home.WELCOME.splitlines()[0] not in shown(app)


async def test_the_preview_follows_the_highlight_with_exact_figures(
    shipped: Path, runs: Path
) -> None:
    app = app_with(runs)
    async with app.run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        assert "V* of the start is 0.774 at γ 0.95" in shown(app)
        await pilot.press("down")
        await settle(pilot)
        assert "Value iteration, plans with the model" in shown(app)
        assert "π* wins 74% in about 44.6 moves; V* of the start is 0.542" in shown(app)


async def test_a_long_preview_scrolls_and_begins_at_its_top(shipped: Path, runs: Path) -> None:
    write_presets(shipped, {"first-steps": FIRST.replace("agent learn.", "agent learn. " * 60)})
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        preview = app.screen.query_one(Preview)
        assert "optimum" not in shown(app)
        assert "pgdn More" in shown(app)
        await pilot.press("pagedown", "pagedown")
        await eventually(pilot, lambda: "optimum" in shown(app))
        await pilot.press("down")
        await settle(pilot)
        assert preview.scroll_y == 0
        assert "★ prize" in shown(app)


async def test_a_preset_that_cannot_be_solved_says_why(shipped: Path, runs: Path) -> None:
    write_presets(shipped, {"first-steps": FIRST.replace("HFFG", "HFHG")})
    app = app_with(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "no way from a start to the goal" in " ".join(shown(app).split())


async def test_a_broken_preset_is_listed_and_cannot_be_chosen(shipped: Path, runs: Path) -> None:
    write_presets(shipped, {"first-steps": "title = ["})
    app = app_with(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "? first-steps" in rows(pilot, "#presets")
        await pilot.press("down", "down", "down", "enter")
        await settle(pilot)
        assert isinstance(app.screen, HomeScreen)
        assert [n.severity for n in app._notifications] == ["error"]


async def test_foreign_text_is_neither_markup_nor_commands(shipped: Path, runs: Path) -> None:
    title = r"[bold]\u001b[31mred\u001b[0m[/bold] [x"
    evil = FIRST.replace("First steps on the ice", title)
    write_presets(shipped, {"first-steps": evil})
    make_run(runs, evil, state="finished")
    app = app_with(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "[bold]red[/bold] [x" in rows(pilot, "#presets")
        assert rows(pilot, "#runs")[0].startswith("✓ [bold]red[/bold] [x\n")
        assert "\x1b" not in shown(app)
        assert "[bold]red[/bold] [x" in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "[bold]red[/bold] [x" in shown(app)


async def test_filter(shipped: Path, runs: Path) -> None:
    make_run(runs, SCHEDULED, "slippery-sarsa")
    make_run(runs, FIRST)
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"SARSA")
        await settle(pilot)
        assert rows(pilot, "#presets")[:4] == [
            *("Tables", "Slippery SARSA"),
            *("Glossary terms", "SARSA"),
        ]
        assert len(rows(pilot, "#runs")) == 1
        assert "The ice takes you elsewhere." in shown(app)
        assert "esc Show all" in shown(app)
        await pilot.press("enter", "enter", "enter")
        await pilot.pause()
        assert [name for name, _ in app.started] == ["slippery-sarsa"]
        await pilot.press("escape")
        assert len(rows(pilot, "#presets")) == 1 + len(SHIPPED)
        await pilot.press("slash", *"zzz")
        assert rows(pilot, "#presets") == ["No preset is like that."]


async def test_expressions_find_runs_and_presets(shipped: Path, runs: Path) -> None:
    make_run(runs, SCHEDULED, "slippery-sarsa", success=0.2)
    make_run(runs, FIRST, success=0.95)
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"lr>0.3")
        await settle(pilot)
        assert rows(pilot, "#presets") == ["Tables", "First steps on the ice"]
        assert "Runs 1 of 2" in shown(app)
        await pilot.press(*" sucess>1")
        await settle(pilot)
        assert "Did you mean 'success'" in str(app.screen.query_one("#mistake", Static).content)
        filled = app.screen.query_one("#filter", Input)
        filled.value = "success>0.9 -slippery"
        await settle(pilot)
        assert "Runs 1 of 2" in shown(app) and "No preset is like that." in shown(app)


# ---------------------------------------------------------------- runs


async def test_the_list_of_runs_follows_the_disk(
    shipped: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "REFRESH_SECONDS", 0.05)
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert rows(pilot, "#runs") == ["None yet. Enter starts one."]
        old = make_run(runs, state="stopped", step=500, env_steps=500)
        await eventually(pilot, lambda: "stopped, 10% done" in shown(app))
        lock = RunLock.take(old)
        assert lock is not None
        write_state(old, "running", 0.5, step=1000, env_steps=1000)
        await eventually(pilot, lambda: "running, 20% done, success 50%" in shown(app))
        await pilot.press("tab")
        new = make_run(runs, SCHEDULED, "slippery-sarsa", state="finished")
        await eventually(pilot, lambda: len(rows(pilot, "#runs")) == 2)
        order = sorted([old.name, new.name], reverse=True)
        assert [o.id for o in app.screen.query_one("#runs", lists.RunList).options] == order
        assert app.screen.query_one("#runs", lists.RunList).chosen == old.name
        lock.close()
        await eventually(pilot, lambda: "dead, 20% done" in shown(app))


async def test_an_ended_run_is_read_once(
    shipped: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(runs, state="finished")
    read: list[Path] = []
    summarise = index.summarise
    monkeypatch.setattr(index, "summarise", lambda p: read.append(p) or summarise(p))
    monkeypatch.setattr(index, "SETTLED_NS", -1)  # though it ended just now
    runs_shelf = shelf.RunShelf(runs)
    first, again = runs_shelf.read(), runs_shelf.read()
    assert first == again
    assert read == [path]
    write_state(path, "stopped", step=1)
    assert runs_shelf.read()[0].summary.state == "stopped"


async def test_a_broken_run_is_listed_not_fatal(shipped: Path, runs: Path) -> None:
    broken = runs / "20260101-000000-first-steps-aa"
    broken.mkdir(parents=True)
    (broken / "run.db").write_bytes(b"this is not a database" * 100)
    empty = runs / "20260101-000001-first-steps-bb"
    empty.mkdir()
    app = app_with(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert [row.split()[-1] for row in rows(pilot, "#runs")] == ["broken", "broken"]
        await pilot.press("tab", "enter")
        await settle(pilot)
        assert app.opened == []
        assert len(app._notifications) == 1
        assert "d deletes it" in shown(app)


async def test_enter_opens_a_run(shipped: Path, runs: Path) -> None:
    path = make_run(runs, state="finished", success=1.0, step=5000, env_steps=5000)
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("tab")
        await settle(pilot)
        text = shown(app)
        for words in ("✓ finished", "100% of episodes", "Enter opens it", "enter Open", "d Delete"):
            assert words in text
        await pilot.press("enter")
        await pilot.pause()
        assert app.opened == [path]


async def test_delete_asks_first(shipped: Path, runs: Path) -> None:
    path = make_run(runs, state="finished")
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("tab", "d", "n")
        await settle(pilot)
        assert path.exists()
        await pilot.press("d", "y")
        await settle(pilot)
        assert not path.exists()
        assert rows(pilot, "#runs") == ["None yet. Enter starts one."]


async def test_a_live_run_can_be_stopped_not_deleted(shipped: Path, runs: Path) -> None:
    path = make_run(runs, state="running", step=1)
    lock = RunLock.take(path)
    assert lock is not None
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("tab")
        await settle(pilot)
        assert "x Stop" in shown(app)
        assert "d Delete" not in shown(app)
        await pilot.press("d", "x")
        await settle(pilot)
        with RunReader(path) as reader:
            reply = reader.reply(1)
        assert reply is not None
        assert (reply.name, reply.pending) == ("stop", True)
    lock.close()


async def test_a_dead_run_can_be_resumed(
    shipped: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(runs, state="running", step=1)
    resumed: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(launch, "start_worker", lambda p, **how: resumed.append((p, how)))
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("tab")
        await settle(pilot)
        assert "† dead" in shown(app)
        await pilot.press("r")
        await settle(pilot)
        assert resumed == [(path, {"resume": True, "pace": None})]
        assert app.opened == [path]


async def test_a_resume_that_fails_says_why(
    shipped: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.core.errors import UserError

    def refuse(path: Path, **how: object) -> None:
        raise UserError("The worker did not start.")

    make_run(runs, state="stopped")
    monkeypatch.setattr(launch, "start_worker", refuse)
    app = app_with(runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("tab", "r")
        await settle(pilot)
        assert app.opened == []
        assert "The worker did not start." in [n.message for n in app._notifications]


async def test_runs_are_sorted_pinned_named_and_told_apart(shipped: Path, runs: Path) -> None:
    make_run(runs, FIRST, success=0.3)
    make_run(runs, FIRST.replace("0.95", "0.9"), success=0.9)
    make_run(runs, SCHEDULED, "slippery-sarsa", success=0.5)

    def listed() -> list[str]:
        return [row.splitlines()[0][2:] for row in rows(pilot, "#runs")]

    app = app_with(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("tab", "s", "s")
        await settle(pilot)
        assert listed() == ["First steps on the ice", "Slippery SARSA", "First steps on the ice"]
        assert "by success" in shown(app)
        await pilot.press("p")
        await settle(pilot)
        assert listed()[0] == "Slippery SARSA" and "pinned, finished" in shown(app)
        await pilot.press("n", *"The one", "enter")
        await settle(pilot)
        assert listed()[0] == "The one"
        await pilot.press("space", "down", "space", "D")
        await settle(pilot)
        text = shown(app)
        assert "What differs in the settings" in text
        assert "algorithm.name" in text and "sarsa" in text and "q-learning" in text
        await pilot.press("escape", "space", "up", "d")
        await pilot.pause()
        assert "Delete the run The one (2" in " ".join(shown(app).split())


async def test_a_click_selects_and_a_second_opens(shipped: Path, runs: Path) -> None:
    app = app_with(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        presets_list = app.screen.query_one("#presets", lists.PresetList)
        await pilot.click(presets_list, offset=(3, 4))
        assert presets_list.chosen == "slippery-sarsa" and isinstance(app.screen, HomeScreen)
        await pilot.click(presets_list, offset=(3, 4))
        await settle(pilot)
        assert not isinstance(app.screen, HomeScreen)


# ---------------------------------------------------------------- parts


def test_every_binding_can_be_named_and_explained() -> None:
    for owner in (HomeScreen, lists.HomeList, lists.PresetList, lists.RunList):
        for binding in owner.BINDINGS:
            assert isinstance(binding, Binding)
            assert binding.id and binding.description and binding.tooltip


def test_importing_the_screen_does_not_load_the_engine() -> None:
    code = (
        "import sys, tui.features.home.screen;"
        "print([m for m in ('numpy', 'engine') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
