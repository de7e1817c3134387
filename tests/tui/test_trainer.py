"""The trainer on a recorded run: panels, layers, curves, explanations, the glossary, the keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from home_tools import shown
from patience import eventually
from textual.binding import Binding
from textual.widgets import Input, Static
from trainer_tools import app_on, notified, opened, settled

from tui.features.help.screen import LEFTOVERS, HelpScreen, active_keys, commands
from tui.features.home.screen import HomeScreen
from tui.features.trainer import keys as trainer_keys
from tui.features.trainer import screen as trainer_screen
from tui.features.trainer.explain_dialog import ExplainScreen
from tui.features.trainer.panels import NAMES, PANELS, Panel, ShowsMoments
from tui.features.trainer.screen import TrainerScreen
from tui.glossary.panel import GlossaryPanel
from tui.glossary.term_picker import TermPicker
from tui.log.trajectory_log import TrajectoryLog
from tui.maze.maze_grid import MazeGrid
from tui.model.snapshot import Snapshot
from tui.model.steps import without_noise
from tui.watching.curves import CurvesPanel
from tui.watching.watching_screen import PLAY_PACES, next_pace

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]

SIZES = [(80, 24), (120, 40), (200, 50)]


class Clock(Static, can_focus=True):
    """The least a panel of the trainer can be."""

    def show(self, snapshot: Snapshot) -> None:
        self.update(f"the clock says {snapshot.at}")


def visible(screen: TrainerScreen) -> list[str]:
    """The panels that take up room."""
    return [name for name in NAMES if screen.query_one(f"#{name}").region.area]


# ---------------------------------------------------------------- panels


@pytest.mark.parametrize("size", SIZES)
async def test_all_panels_show_the_run(recording: Path, size: tuple[int, int]) -> None:
    app = app_on(recording)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot)
        assert visible(screen) == (list(NAMES) if size[0] >= 120 else ["maze"])
        seen = ""
        for name in (*NAMES[1:], NAMES[0]):
            seen += shown(app)
            await pilot.press("p")
            assert screen.panel == name
            assert name in visible(screen)
            assert screen.query_one(f"#{name}") in screen.focused.ancestors
        for words in (
            "Across the ice",
            "✓ finished",
            "step 600",
            "Space replays it",
            "exploited",
            "action values Q(s,a)",
            "Episode",
            "error δ",
            "[Success]",
            "target policy, exact",
            "π* success",
            "Q-learning",
            "In this run:",
        ):
            assert words in seen


def test_every_part_of_a_panel_can_draw_a_moment() -> None:
    assert all(issubclass(part, ShowsMoments) for panel in PANELS for part in panel.parts)


@pytest.mark.parametrize("size", SIZES)
async def test_a_panel_is_a_widget_and_a_row(
    recording: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    rows = (*PANELS, Panel("clock", "Clock", (Clock,), Clock))
    monkeypatch.setattr(trainer_screen, "PANELS", rows)
    monkeypatch.setattr(trainer_screen, "BY_NAME", {row.name: row for row in rows})
    monkeypatch.setattr(trainer_screen, "NAMES", tuple(row.name for row in rows))
    app = app_on(recording)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot)
        for _ in PANELS:
            await pilot.press("p")
        assert screen.panel == "clock" and isinstance(screen.focused, Clock)
        assert "the clock says 600" in shown(app) and "Clock" in shown(app)
        await pilot.press("p")
        assert screen.panel == "maze"


@pytest.mark.parametrize("size", SIZES)
async def test_the_footer_shows_what_matters_in_every_panel(
    recording: Path, size: tuple[int, int]
) -> None:
    app = app_on(recording)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        for _ in NAMES:
            await pilot.press("p")
            await pilot.pause()
            footer = shown(app).splitlines()[-1]
            for words in (
                "space Pause",
                ". Step",
                "+- Pace",
                "⏎ Explain",
                "p Panel",
                "g Glossary",
                "? Help",
                "q Leave",
            ):
                assert words in footer
            assert ("^p palette" in footer) == (size[0] >= 120)


async def test_in_a_text_field_the_footer_names_the_keys_that_work_there(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("p", "p", "p", "slash")
        await pilot.pause()
        await pilot.pause()
        footer = shown(app).splitlines()[-1]
        assert "Go" in footer and "esc Entry" in footer
        assert not any(name in footer for name in ("Pace", "Panel", "Search", "Step"))


async def test_resizing_back_and_forth_keeps_everything(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("p", "p")
        for size, panels in (((200, 50), list(NAMES)), ((80, 24), ["curves"])):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert visible(screen) == panels
            assert "[Success]" in shown(app)
            assert screen.panel == "curves"
        await pilot.press("m")
        assert "[Return]" in shown(app)


async def test_one_panel_alone_on_a_wide_terminal(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("p", "w")
        assert visible(screen) == ["log"]
        await pilot.press("w")
        assert visible(screen) == list(NAMES)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "w" not in {key.keys for key in active_keys(screen)}


async def test_a_click_on_a_tab_shows_its_panel(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.click("#tabs", offset=(14, 0))
        assert visible(screen) == ["log"]
        assert isinstance(screen.focused, TrajectoryLog)


async def test_a_click_into_a_panel_makes_it_the_active_one(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.click(TrajectoryLog, offset=(5, 3))
        assert screen.panel == "log"
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert visible(screen) == ["log"]


# ---------------------------------------------------------------- layers and curves


@pytest.mark.parametrize("panel", range(3))
async def test_layer_keys_work_from_every_panel(recording: Path, panel: int) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press(*["p"] * panel)
        grid = screen.query_one(MazeGrid)
        assert grid.layer_number == 3
        for digit, title, _ in grid.layer_choices:
            await pilot.press(str(digit))
            assert grid.layer_number == digit
            assert f"{digit} {title}" in shown(app)
        last = grid.layer_number
        await pilot.press("9")
        assert grid.layer_number == last
        await pilot.press("v", "o")
        assert (grid.show_optimal_values, grid.show_optimal_path) == (True, True)
        await pilot.press("Z", "z", "v", "o")
        assert (grid.show_optimal_values, grid.show_optimal_path) == (False, False)


async def test_views_of_the_curves(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        curves = screen.query_one(CurvesPanel)
        titles = [view.title for view in curves.views]
        assert titles == ["Success", "Return", "Length", "TD error", "Exploration", "Falls"]
        await pilot.press("m")
        assert screen.panel == "curves"
        for title in [*titles[2:], titles[0], titles[1]]:
            await pilot.press("m")
            assert f"[{title}]" in shown(app)
        assert "upper bound" in shown(app) or "π* return" in shown(app)
        await pilot.click("ChoiceBar", offset=(3, 0))


async def test_each_method_shows_each_curve_once(recordings: dict[str, Path]) -> None:
    shows = {}
    for name, path in recordings.items():
        app = app_on(path)
        async with app.run_test(size=(120, 40)) as pilot:
            await opened(pilot)
            shows[name] = shown(app)
    assert "greedy, exact" not in shows["learning"]
    assert "greedy, exact" in shows["on-policy"]
    assert "x: sweeps" in shows["planning"]
    assert "Sweep 2" in shows["planning"]


# ---------------------------------------------------------------- explanations


async def test_the_explanation_is_the_algorithms_own(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        shot = screen.snapshot
        assert shot is not None and shot.step is not None
        told = shot.algorithm.explain(without_noise(shot.step), shot.world.maze.actions)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ExplainScreen)
        assert app.screen.step == shot.step
        box = app.screen.query_one(".box").content_region
        rows = shown(app).splitlines()[box.y : box.bottom]
        text = " ".join(" ".join(row[box.x : box.right] for row in rows).split())
        for line in (told.formula, *told.numbers.splitlines(), told.words):
            assert " ".join(line.split()) in text
        await pilot.press("enter")
        assert app.screen is screen


async def test_a_row_of_the_log_is_explained(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("p", "up", "enter")
        await pilot.pause()
        log = screen.query_one(TrajectoryLog)
        assert log.cursor_row is not None
        assert isinstance(app.screen, ExplainScreen)
        assert app.screen.step == log.cursor_row.step
        await pilot.press("escape")
        assert app.screen is screen


async def test_a_folded_episode_opens_with_steps_from_the_record(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("p", "home", "enter")
        await settled(pilot)
        log = screen.query_one(TrajectoryLog)
        await pilot.press("down")
        assert log.cursor_row is not None and log.cursor_row.step is not None
        assert log.cursor_row.step.t == 0
        assert "reading the record" not in shown(app)


# ---------------------------------------------------------------- the glossary


@pytest.mark.parametrize("panel", range(4))
async def test_g_leads_from_a_label_to_its_entry(recording: Path, panel: int) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press(*["p"] * panel, "g")
        await pilot.pause()
        assert isinstance(app.screen, TermPicker)
        assert app.screen.terms
        wanted = app.screen.terms[1].slug
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.screen is screen
        assert (screen.panel, screen.query_one(GlossaryPanel).slug) == ("glossary", wanted)
        assert "In this run:" in shown(app)
        if panel < 3:
            await pilot.press("escape")
            assert screen.panel == NAMES[panel]


async def test_g_from_an_explanation(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("enter", "g")
        await pilot.pause()
        assert isinstance(app.screen, TermPicker)
        wanted = app.screen.terms[0].slug
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is screen
        assert screen.query_one(GlossaryPanel).slug == wanted


async def test_g_twice_searches(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("g", "g")
        await pilot.pause()
        assert isinstance(screen.focused, Input)
        await pilot.press(*"optimal path", "enter")
        await pilot.pause()
        assert screen.query_one(GlossaryPanel).slug == "optimal-path"


async def test_a_click_on_a_label_opens_its_entry(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        line = shown(app).splitlines()[0]
        await pilot.click("#status", offset=(line.index("success"), 0))
        await pilot.pause()
        assert screen.query_one(GlossaryPanel).slug == "success-rate"


# ---------------------------------------------------------------- keys


async def test_help_lists_exactly_the_active_keys(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        for _ in NAMES:
            await pilot.press("p")
            await pilot.pause()
            keys = active_keys(screen)
            active = {
                (binding.action, id(node))
                for node, binding, _, _ in screen.active_bindings.values()
                if binding.description and not binding.system
                if binding.action not in LEFTOVERS
            }
            palette = {("command_palette", id(app))}
            assert {(key.action, id(key.node)) for key in keys} == active | palette
            assert len(keys) == len(active | palette)
            if not isinstance(screen.focused, Input):
                await pilot.press("question_mark")
                await pilot.pause()
                assert isinstance(app.screen, HelpScreen)
                parts = dict(app.screen.sections)
                told = {each.id for part in parts.values() for each in part}
                lines = [each for part in parts.values() for each in part]
                assert {"On this screen", *(panel.title for panel in PANELS)} <= set(parts)
                assert {"run.tune", "log.explain", "curves.log-x", "grid.layer-1"} <= told
                texts = [(each.name, each.tooltip) for each in lines if each.tooltip]
                assert len(texts) == len(set(texts))
                await pilot.press("escape")
                assert app.screen is screen


async def test_the_palette_has_the_names_of_the_help(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        offered = [command.title for command in app.get_system_commands(screen)]
        assert len(offered) == len(set(offered))
        own = {key.name for key in commands(screen)} - {"Commands by name"}
        assert set(offered) == own | {"Theme", "Screenshot"}
        assert {"Pause", "Explain", "Glossary", "Leave", "Help", "Quit"} <= set(offered)
        explain = next(c for c in app.get_system_commands(screen) if c.title == "Explain")
        await explain.callback()
        await pilot.pause()
        assert isinstance(app.screen, ExplainScreen)


def test_what_changes_a_live_run_fits_the_narrowest_footer() -> None:
    rows = {row.id: row for row in trainer_keys.KEYS}
    shown = {"run.faster": "+- Pace", "run.slower": "", "app.help": "? Help"}
    names = trainer_keys.FIRST[: trainer_keys.FIRST.index("run.panel") + 1]
    signs = {"space": "space", "full_stop": "."}
    items = [
        shown.get(name, "")
        or f"{signs.get(rows[name].key, rows[name].key)} {rows[name].description}"
        for name in names
        if name != "run.slower"
    ]
    assert {"t Tune", "E Edit", "x Stop", "n Notes", "? Help", "q Leave"} <= set(items)
    assert len(" ".join(items)) <= 78


def test_every_key_can_be_rebound_and_is_explained() -> None:
    ids = [binding.id for binding in trainer_keys.KEYS]
    assert len(ids) == len(set(ids))
    for owner in (TrainerScreen, ExplainScreen, TermPicker, HelpScreen):
        for binding in owner.BINDINGS:
            assert isinstance(binding, Binding)
            assert binding.id and binding.description and binding.tooltip
            assert not {"ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m"} & set(binding.key.split(","))


async def test_keys_that_need_a_live_run_say_so(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("x", "t")
        await eventually(pilot, lambda: "Only a live run can be tuned." in notified(pilot))
        assert "The run is over already." in notified(pilot)
        assert app.screen is screen


async def test_leaving_an_ended_run_says_nothing(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, HomeScreen)
        assert "goes on" not in notified(pilot)


def test_paces() -> None:
    assert next_pace(4, up=True) == 8
    assert next_pace(4, up=False) == 2
    assert next_pace(5, up=False) == 4
    assert next_pace(1, up=False) == 1
    assert next_pace(1024, up=True) is None
    assert next_pace(None, up=True) is None
    assert next_pace(None, up=False) == 1024
    assert next_pace(32, True, PLAY_PACES) == 32
