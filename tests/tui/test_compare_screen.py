"""The compare screen: recorded runs, live ones, any size, any look."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from home_tools import shown
from patience import eventually
from textual.binding import Binding
from textual.pilot import Pilot
from trainer_tools import (
    ENDLESS,
    LEARNING,
    ON_POLICY,
    PLANNING,
    kill,
    live_run,
    notified,
    record,
)

from engine.experiments.lab import lesson as lessons
from tui.app import IceMazeApp
from tui.features.compare.curves import CompareCurves
from tui.features.compare.grids import CompareGrids, RunCard
from tui.features.compare.keys import KEYS
from tui.features.compare.screen import CompareScreen
from tui.features.compare.table import CompareTable
from tui.features.help.screen import HelpScreen
from tui.features.home.screen import HomeScreen
from tui.glossary.glossary_dialog import GlossaryDialog
from tui.lesson.lesson_panel import LessonPanel
from tui.plot.chart import Chart
from tui.ui import glyphs

pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]
WIDE, NARROW = (160, 50), (80, 24)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Q-learning, SARSA with less data, a planner, and Q-learning with another step size."""
    folder = tmp_path_factory.mktemp("compared")
    texts = {
        "q": LEARNING,
        "sarsa": ON_POLICY.replace("env_steps = 600", "env_steps = 300").replace(
            "Across the ice", "SARSA walks"
        ),
        "plan": PLANNING,
        "half": LEARNING.replace("learning_rate = 0.5", "learning_rate = 0.25"),
    }
    return [record(folder, text, name) for name, text in texts.items()]


@contextlib.asynccontextmanager
async def comparing(
    paths: Sequence[Path], size: tuple[int, int] = WIDE, **lesson: Any
) -> AsyncIterator[tuple[Pilot[Any], CompareScreen]]:
    """The app with the screen on top of the library, once it shows its runs."""
    app = IceMazeApp(runs_dir=paths[0].parent)
    async with app.run_test(size=size) as pilot:
        await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
        screen = CompareScreen(paths, **lesson)
        await app.push_screen(screen)
        await settled(pilot, screen)
        yield pilot, screen


async def settled(pilot: Pilot[Any], screen: CompareScreen) -> None:
    """Wait until everything that was asked of the runs has been shown."""
    await eventually(
        pilot,
        lambda: (
            screen.comparison is not None
            and all(side.snapshot is not None for side in screen.comparison.sides)
            and not screen.watcher.asked
            and not screen._looking
        ),
    )
    await pilot.pause()


async def press(pilot: Pilot[Any], screen: CompareScreen, *keys: str) -> None:
    """Press keys and wait for what they ask."""
    await pilot.press(*keys)
    await settled(pilot, screen)


def at(screen: CompareScreen) -> list[int]:
    """The steps that are shown."""
    assert screen.comparison is not None
    return [side.snapshot.at if side.snapshot else -1 for side in screen.comparison.sides]


def states(screen: CompareScreen) -> list[str]:
    """What the runs do."""
    sides = screen.comparison.sides if screen.comparison else ()
    return [side.snapshot.head.state if side.snapshot else "" for side in sides]


# ---------------------------------------------------------------- recorded runs


async def test_all_panels_show_both_runs(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        text = shown(pilot.app)
        for expected in (
            "A ● q: Across the ice",
            "B ▲ sarsa: SARSA walks",
            "Curves",
            "Figures",
            "−A",
        ):
            assert expected in text
        first, second = screen.query(RunCard)
        assert first.region.y == second.region.y
        assert first.region.right <= second.region.x
        assert [s.name for s in screen.query_one(Chart).view.series] == [
            "A Across the ice",
            "B SARSA walks",
        ]
        bands = [s.low is not None for s in screen.query_one(Chart).view.series]
        assert all(bands)
        table = screen.query_one(CompareTable)
        assert table.rows[0].label == "success"
        assert [row.values for row in table.rows if row.label == "algorithm"] == [
            ("q-learning", "sarsa")
        ]


async def test_one_cursor_for_all_runs(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        assert at(screen) == [600, 300]
        await press(pilot, screen, "left")
        assert screen.comparison is not None
        cursor = screen.comparison.cursor
        assert cursor is not None and 300 < cursor < 600
        assert at(screen) == [int(cursor), 300]
        assert screen.query_one(Chart).cursor_x == cursor
        before = screen.query_one(CompareTable).rows
        await press(pilot, screen, "home")
        assert at(screen) == [0, 0]
        assert screen.query_one(CompareTable).rows != before
        grids = screen.query_one(CompareGrids).grids
        assert all(grid.snapshot is not None and grid.snapshot.at == 0 for grid in grids)
        assert "recording" in shown(pilot.app)
        await press(pilot, screen, "right", "right")
        assert at(screen)[0] == at(screen)[1] > 0
        await press(pilot, screen, "end")
        assert at(screen) == [600, 300]
        assert screen.query_one(Chart).cursor_x is None
        await press(pilot, screen, "right")
        assert at(screen) == [600, 300]


async def test_fast_presses_all_count(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        assert screen.comparison is not None
        places = []
        for keys in (("home", "right", "right", "right"), ("home",), *[("right",)] * 3):
            await press(pilot, screen, *keys)
            places.append(screen.comparison.cursor)
        assert places[0] == places[-1]
        assert places[1:] == sorted({*places[1:]})


async def test_space_replays_runs_that_are_over(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        await press(pilot, screen, *["plus"] * 3)
        assert screen.play_pace == 32.0
        await pilot.press("space")
        assert screen.playing
        await eventually(pilot, lambda: screen.comparison and screen.comparison.cursor is not None)
        seen = at(screen)[0]
        await eventually(pilot, lambda: at(screen)[0] > seen)
        await pilot.press("space")
        assert not screen.playing
        await settled(pilot, screen)
        paused = at(screen)
        assert "recording, paused" in shown(pilot.app)
        await pilot.press("space")
        await eventually(pilot, lambda: at(screen) != paused)
        await eventually(pilot, lambda: not screen.playing)  # it ends where the runs do
        await settled(pilot, screen)
        assert at(screen) == [600, 300]


async def test_the_figure_of_the_chart(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        curves = screen.query_one(CompareCurves)
        assert curves.metric is not None and curves.metric.name == "success_rate"
        assert [level.name for level in screen.query(Chart).first().view.references] == ["π*"]
        await press(pilot, screen, "m")
        assert curves.metric.name == "expected_return"
        await press(pilot, screen, "M", "M")
        assert curves.metric.name == screen.metrics[-1].name
        before = curves.charts.log_x
        await press(pilot, screen, "l")
        assert curves.charts.log_x is not before


async def test_keys_of_the_grid_act_on_all(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        grids = screen.query_one(CompareGrids).grids
        assert [grid.layer_number for grid in grids] == [4, 4]
        await press(pilot, screen, "3", "v", "o")
        assert [grid.layer_number for grid in grids] == [3, 3]
        assert all(grid.show_optimal_values and grid.show_optimal_path for grid in grids)
        await press(pilot, screen, "home", "shift+right", "shift+down")
        cells = [grid.cursor for grid in grids]
        assert cells[0] is not None and cells[0] == cells[1]
        await press(pilot, screen, "escape")
        assert [grid.cursor for grid in grids] == [None, None]


async def test_a_click_on_the_chart_goes_there(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        chart = screen.query_one(Chart)
        await pilot.click(chart, offset=(chart.size.width // 2, chart.size.height // 2))
        await settled(pilot, screen)
        assert screen.comparison is not None and screen.comparison.cursor is not None
        assert 100 < screen.comparison.cursor < 500


async def test_four_runs_of_different_kinds(runs: list[Path]) -> None:
    async with comparing(runs) as (pilot, screen):
        said = notified(pilot)
        assert "Different clocks" in said
        assert "Mazes differ" in said
        assert "γ differs" in said
        text = shown(pilot.app)
        assert "D ◆ half: Across the ice" in text
        assert "100% of each run" in text
        names = [level.name for level in screen.query_one(Chart).view.references]
        assert names == ["π* of ABD", "π* of C"]
        await press(pilot, screen, "left")
        assert len({grid.snapshot.at for grid in screen.query_one(CompareGrids).grids if
                    grid.snapshot}) == 3  # fmt: skip


# ---------------------------------------------------------------- sizes and looks


async def test_a_narrow_terminal_shows_one_panel_at_a_time(runs: list[Path]) -> None:
    async with comparing(runs[:2], NARROW) as (pilot, screen):
        first, second = screen.query(RunCard)
        assert first.region.y == second.region.y and second.region.x == 40
        assert not screen.query_one(CompareTable).region
        await press(pilot, screen, "left")
        assert screen.comparison is not None and screen.comparison.cursor is not None
        await press(pilot, screen, "p")
        assert screen.panel == "curves" and screen.query_one(Chart).region.width == 78
        assert not first.region
        await press(pilot, screen, "tab")
        assert screen.panel == "figures" and "−A" in shown(pilot.app)
        await press(pilot, screen, "p")
        assert screen.panel == "grids"
        await press(pilot, screen, "shift+tab", "m")
        assert screen.panel == "curves"  # where the figure that was asked for is


async def test_four_grids_stand_in_two_rows_where_it_is_narrow(runs: list[Path]) -> None:
    async with comparing(runs, NARROW) as (_, screen):
        places = [(card.region.x, card.region.y) for card in screen.query(RunCard)]
        assert len({x for x, _ in places}) == len({y for _, y in places}) == 2


async def test_resizing_while_it_is_shown(runs: list[Path]) -> None:
    async with comparing(runs[:3], NARROW) as (pilot, screen):
        await pilot.resize_terminal(*WIDE)
        await settled(pilot, screen)
        assert len({card.region.y for card in screen.query(RunCard)}) == 1
        assert screen.query_one(CompareTable).region and screen.query_one(Chart).region
        await press(pilot, screen, "w")
        assert not screen.query_one(Chart).region
        await press(pilot, screen, "w")
        await pilot.resize_terminal(*NARROW)
        await settled(pilot, screen)
        assert not screen.query_one(Chart).region


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_in_ascii_all_is_ascii(runs: list[Path], size: tuple[int, int]) -> None:
    glyphs.choose(True)
    async with comparing(runs, size) as (pilot, screen):
        for key in ("left", "p", "p", "p", "3", "shift+right", "m"):
            await press(pilot, screen, key)
            foreign = [line for line in shown(pilot.app).splitlines() if not line.isascii()]
            assert foreign == [], key


async def test_themes_change_the_colours(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        table = screen.query_one(CompareTable)
        before = table.render_line(1)
        pilot.app.theme = "textual-light"
        await pilot.pause()
        assert table.render_line(1).text == before.text
        assert list(table.render_line(1)) != list(before)


def test_every_binding_can_be_rebound_and_explains_itself() -> None:
    for binding in (*KEYS, *CompareTable.BINDINGS):
        assert isinstance(binding, Binding)
        assert binding.id and binding.description and binding.tooltip


# ---------------------------------------------------------------- words


async def test_help_and_glossary(runs: list[Path]) -> None:
    async with comparing(runs[:2]) as (pilot, screen):
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        assert "one clock" in pilot.app.screen.about
        names = {key.name for _, keys in pilot.app.screen.sections for key in keys}
        assert {"Pause", "Back", "On", "Curves", "Panel", "Follow"} <= names
        await pilot.press("escape")
        slugs = {term.slug for term in screen.query_one(CompareTable).terms()}
        assert {"success-rate", "expected-return"} <= slugs
        assert "success-rate" in {term.slug for term in screen.query_one(CompareGrids).terms()}
        await pilot.press("g", "enter")
        await eventually(pilot, lambda: isinstance(pilot.app.screen, GlossaryDialog))


LESSON = """
## Look
Both cross the same ice.

```lesson
point = "success-rate"
```

```lesson
wait = {run = "failing", metric = "success_rate", at_least = 0.0}
```

Seen.

## Think

```lesson
ask = "Who is right?"
choices = ["A", "B"]
answer = 2
because = "So it is."
```
"""


async def test_a_lesson_walks_along(runs: list[Path]) -> None:
    lesson = lessons.parse_lesson(LESSON, "lesson.md", "walk", presets=("q", "sarsa"))
    async with comparing(runs[:2], lesson=lesson) as (pilot, screen):
        panel = screen.query_one(LessonPanel)
        assert screen.panel == "lesson" and panel.has_focus
        assert screen.query_one(CompareTable).lit == ("success-rate",)
        await eventually(pilot, lambda: panel.state.wait is None)
        await press(pilot, screen, "o")
        await eventually(pilot, lambda: isinstance(pilot.app.screen, GlossaryDialog))
        await pilot.press("escape")
        await press(pilot, screen, "n")
        assert panel.state.page_number == 1
        await press(pilot, screen, "tab")  # out of the lesson
        assert screen.panel == "grids"
        await press(pilot, screen, "left")
        assert screen.comparison is not None and screen.comparison.cursor is not None


# ---------------------------------------------------------------- live runs


async def test_live_runs_are_steered_together(tmp_path: Path) -> None:
    sarsa = ENDLESS.replace("q-learning", "sarsa")
    with live_run(tmp_path, pace=8.0) as one, live_run(tmp_path, sarsa, pace=8.0) as two:
        async with comparing([one, two]) as (pilot, screen):
            await eventually(pilot, lambda: min(at(screen)) > 2)
            await pilot.press("space")
            await eventually(pilot, lambda: states(screen) == ["paused", "paused"])
            assert "2 of 2 live, paused" in shown(pilot.app)
            await settled(pilot, screen)
            before = at(screen)
            await pilot.press("full_stop")
            await eventually(pilot, lambda: at(screen) == [step + 1 for step in before])
            await pilot.press("plus", "plus", "plus")  # faster than the workers answer
            await pilot.press("space")
            await eventually(pilot, lambda: states(screen) == ["running", "running"])
            await eventually(pilot, lambda: "64 steps/s" in shown(pilot.app))
            await eventually(pilot, lambda: min(at(screen)) > max(before) + 20)
            await press(pilot, screen, "left")
            # The one that is behind comes to where the cursor stands.
            await eventually(pilot, lambda: at(screen)[0] == at(screen)[1])
            await eventually(pilot, lambda: "2 live meanwhile" in shown(pilot.app))
            await pilot.press("f")
            await eventually(pilot, lambda: screen.comparison and screen.comparison.cursor is None)
            seen = at(screen)
            await eventually(pilot, lambda: at(screen)[0] > seen[0] and at(screen)[1] > seen[1])


AT_THE_GATE = """
import os, sqlite3, sys, time
with sqlite3.connect("run.db") as database:
    database.execute("REPLACE INTO meta VALUES ('pid', ?)", (str(os.getpid()),))
database.close()
while not os.path.exists("gate"):
    time.sleep(0.01)
os.execv(sys.executable, [sys.executable, "-P", "-m", "engine.runs.worker", *sys.argv[1:]])
"""
"""A worker that is slow to begin: it is there, and waits until its folder has a file `gate`."""


async def test_a_run_that_is_still_starting_is_steered_too(tmp_path: Path) -> None:
    program = [sys.executable, "-c", AT_THE_GATE]
    with (
        live_run(tmp_path, pace=8.0, paused=True) as one,
        live_run(tmp_path, pace=8.0, paused=True, program=program) as two,
    ):
        app = IceMazeApp(runs_dir=tmp_path)
        async with app.run_test(size=WIDE) as pilot:
            await eventually(pilot, lambda: isinstance(app.screen, HomeScreen))
            screen = CompareScreen([one, two])
            await app.push_screen(screen)
            await eventually(pilot, lambda: states(screen) == ["paused", ""])
            await eventually(pilot, lambda: "B: The worker is starting" in shown(app))
            await pilot.press("space")
            await eventually(pilot, lambda: states(screen) == ["running", ""])
            (two / "gate").touch()
            await eventually(pilot, lambda: states(screen) == ["running", "running"])
            assert notified(pilot) == ""
            await pilot.press("space")
            await eventually(pilot, lambda: states(screen) == ["paused", "paused"])


async def test_a_worker_that_dies_is_told_and_the_other_goes_on(
    tmp_path: Path, runs: list[Path]
) -> None:
    with live_run(tmp_path, pace=8.0) as path:
        async with comparing([path, runs[1]]) as (pilot, screen):
            assert screen._live == [0]
            kill(path)
            await eventually(pilot, lambda: states(screen) == ["dead", "finished"])
            assert "library" in notified(pilot)
            await press(pilot, screen, "left", "q")
            assert isinstance(pilot.app.screen, HomeScreen)


async def test_leaving_lets_live_runs_go_on(tmp_path: Path, runs: list[Path]) -> None:
    with live_run(tmp_path, pace=8.0) as path:
        async with comparing([path, runs[1]]) as (pilot, screen):
            await pilot.press("q")
            await eventually(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
            assert "go on in the background" in notified(pilot)
            assert screen.watcher.sides[0].live


async def test_leaving_paused_runs_says_that_they_stay_paused(
    tmp_path: Path, runs: list[Path]
) -> None:
    with live_run(tmp_path, pace=8.0) as path:
        async with comparing([path, runs[1]]) as (pilot, screen):
            await pilot.press("space")
            await eventually(pilot, lambda: states(screen) == ["paused", "finished"])
            await pilot.press("q")
            await eventually(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
            assert "The runs stay paused." in notified(pilot)


async def test_where_room_is_short_every_run_has_its_column(runs: list[Path]) -> None:
    async with comparing(runs, (56, 24)) as (pilot, screen):
        screen.enter("figures")
        await settled(pilot, screen)
        table = screen.query_one(CompareTable)
        assert [sign in table.render_line(0).text for sign in "●▲■◆"] == [True] * 4
        assert "−A" not in table.render_line(0).text
        await pilot.resize_terminal(*NARROW)
        await settled(pilot, screen)
        assert table.render_line(0).text.count("−A") == 3
        await pilot.resize_terminal(30, 24)
        await settled(pilot, screen)
        assert "2 more" in table.render_line(0).text, "what lies outside is said"
        await press(pilot, screen, "shift+right", "shift+right")
        head = table.render_line(0).text
        assert "●" in head and "◆" in head, "the first one stays, for the differences are to it"
