"""The map editor: the draft by itself, the screen on a live run, and where it says no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from home_tools import shown
from patience import eventually
from textual.pilot import Pilot
from textual.widgets import Static
from trainer_tools import ENDLESS, PLANNING, app_on, live_run, notified, opened, record, settled

from engine.env.build_maze import edit_map
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.exact.solve import solve
from engine.runs.reader import RunReader
from tui.features.edit.keys import KEYS
from tui.features.edit.map_draft import TILES, MapDraft
from tui.features.edit.screen import EditScreen
from tui.features.trainer.screen import TrainerScreen
from tui.maze.maze_grid import MazeGrid
from tui.ui.choice_bar import ChoiceBar

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
pytestmark = [pytest.mark.usefixtures("unicode_look"), pytest.mark.slow]


# ---------------------------------------------------------------- the draft


def test_tiles_are_placed_moved_and_taken_back() -> None:
    draft = MapDraft(Maze(rows=LAKE))
    assert not draft.changed and draft.check() == ""
    assert draft.place(5, "F") and draft.rows == ("SFFF", "FFFH", "FFFH", "HFFG")
    assert not draft.place(5, "F")
    assert draft.move_prize(3) and draft.rows == ("SFFG", "FFFH", "FFFH", "HFFF")
    assert draft.at(3) == "G" and draft.changed and draft.check() == ""
    assert draft.undo() and draft.undo() and not draft.undo()
    assert draft.rows == LAKE and not draft.changed


@pytest.mark.parametrize(
    ("cell", "tile", "says"),
    [
        (0, "F", "The map has no start: put at least one S on it."),
        (15, "F", "The map has no goal: put at least one G on it."),
        (14, "H", "No way from a start to the goal; the start at row 1, column 1 is cut off"),
    ],
)
def test_what_the_rules_forbid_is_one_sentence(cell: int, tile: str, says: str) -> None:
    draft = MapDraft(Maze(rows=LAKE))
    draft.place(cell, tile)
    assert draft.check().startswith(says)
    assert "maze.map" not in draft.check() and draft.check().count(". ") == 0


def test_the_number_of_keys_stays() -> None:
    assert {tile.character for tile in MapDraft(Maze(rows=LAKE)).tiles} == set("FHSG#Bg")
    draft = MapDraft(Maze(rows=("SkF", "##D", "FFG")))
    assert [tile.character for tile in draft.tiles] == [tile.character for tile in TILES]
    draft.place(1, "F")
    assert draft.check().startswith("The map must keep 1 key, it has 0")
    draft.place(2, "k")
    assert draft.check() == ""


def test_every_key_has_an_id_a_name_and_a_tooltip() -> None:
    taken = [key for binding in KEYS for key in binding.key.split(",")]
    assert len(taken) == len(set(taken))
    assert not {"ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m"} & set(taken)
    assert all(binding.id and binding.description and binding.tooltip for binding in KEYS)


# ---------------------------------------------------------------- on the screen


async def edited(pilot: Pilot[Any]) -> EditScreen:
    """Open the editor."""
    await pilot.press("E")
    await eventually(pilot, lambda: isinstance(pilot.app.screen, EditScreen))
    await pilot.pause()
    assert isinstance(pilot.app.screen, EditScreen)
    return pilot.app.screen


def told(screen: EditScreen) -> str:
    return str(screen.query_one("#told", Static).content)


def optimum(rows: tuple[str, ...], gamma: float = 0.95) -> float:
    """V* at the start of the test's maze with other rows."""
    rewards = {"goal": 1.0, "hole": -1.0, "step": -0.02}
    maze = msgspec.convert({"rows": LAKE, "rewards": rewards}, Maze)
    mdp = build_mdp(edit_map(maze, rows))
    return float(solve(mdp, gamma).values[0])


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_a_map_is_edited_while_the_run_goes_on(tmp_path: Path, size: tuple[int, int]) -> None:
    with live_run(tmp_path, ENDLESS, pace=64.0) as path:
        app = app_on(path)
        async with app.run_test(size=size) as pilot:
            trainer = await opened(pilot)
            screen = await edited(pilot)
            assert f"V* at the start: {optimum(LAKE):.3f}"[:22] in told(screen)
            await pilot.press("right", "right", "right", "m")  # the prize to the upper right
            rows = ("SFFG", "FHFH", "FFFH", "HFFF")
            assert screen.draft.rows == rows
            grid = screen.query_one(MazeGrid)
            assert grid.snapshot is not None and grid.show_optimal_values
            assert grid.snapshot.world.maze.rows == rows
            assert float(grid.snapshot.optimum.values[0]) == pytest.approx(optimum(rows))
            assert screen.now == pytest.approx(optimum(rows)) and "before" in told(screen)
            assert trainer.snapshot is not None and trainer.snapshot.world.maze.rows == LAKE
            await pilot.press("enter")
            await eventually(pilot, lambda: "The new map holds" in notified(pilot))
            await eventually(
                pilot,
                lambda: trainer.snapshot is not None and trainer.snapshot.world.maze.rows == rows,
            )
            assert trainer.live
        with RunReader(path) as reader:
            assert reader.worlds()[-1].maze.rows == rows


async def test_a_click_places_the_tile_chosen(tmp_path: Path) -> None:
    with live_run(tmp_path, ENDLESS, pace=8.0) as path:
        app = app_on(path)
        async with app.run_test(size=(100, 40)) as pilot:
            await opened(pilot)
            screen = await edited(pilot)
            grid, bar = screen.query_one(MazeGrid), screen.query_one("#tiles", ChoiceBar)
            places = [(x, y) for y in range(30) for x in range(80) if grid.cell_at(x, y) == 9]
            x, y = places[len(places) // 2]
            await pilot.click(MazeGrid, offset=(x + 1, y))
            assert screen.draft.at(9) == "H"
            assert bar.titles[bar.chosen] == "h hole"
            await pilot.press("w")
            assert screen.draft.at(9) == "#"
            await pilot.press("left", "space")
            assert screen.draft.at(8) == "#"
            await pilot.press("u", "u", "u")
            assert screen.draft.rows == LAKE and "nothing to send" not in notified(pilot)
            await pilot.press("enter")
            assert "nothing to send" in notified(pilot) and app.screen is screen


async def test_an_edit_the_rules_forbid_is_told_and_not_sent(tmp_path: Path) -> None:
    with live_run(tmp_path, ENDLESS, pace=8.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            await opened(pilot)
            screen = await edited(pilot)
            await pilot.press("f")
            assert "The map has no start" in told(screen) and screen.now is None
            assert not screen.query_one(MazeGrid).show_optimal_values
            assert "The map has no start" in shown(app)
            await pilot.press("enter")
            assert app.screen is screen and "The map has no start" in notified(pilot)
            await pilot.press("s")
            assert screen.problem == "" and screen.now is not None
            await pilot.press("escape")
            await eventually(pilot, lambda: isinstance(app.screen, TrainerScreen))
        with RunReader(path) as reader:
            assert len(reader.worlds()) == 1


async def test_a_second_edit_begins_with_the_first(tmp_path: Path) -> None:
    """Also while the run stands still, and no agent has met the first one yet."""
    with live_run(tmp_path, ENDLESS, pace=8.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            trainer = await opened(pilot)
            await pilot.press("space")
            await eventually(
                pilot, lambda: trainer.snapshot and trainer.snapshot.head.state == "paused"
            )
            await edited(pilot)
            await pilot.press("right", "b", "enter")
            await eventually(pilot, lambda: "The new map holds" in notified(pilot))
            await settled(pilot)
            screen = await edited(pilot)
            assert screen.draft.rows[0] == "SBFF"
            await pilot.press("right", "right", "w", "enter")
            await eventually(pilot, lambda: notified(pilot).count("The new map holds") == 2)
        with RunReader(path) as reader:
            assert reader.worlds()[-1].maze.rows[0] == "SB#F"


async def test_what_the_learner_refuses_is_told(tmp_path: Path) -> None:
    text = ENDLESS.replace("rewards =", 'observation = "neighbourhood"\nrewards =')
    with live_run(tmp_path, text, pace=8.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            await opened(pilot)
            await edited(pilot)
            await pilot.press("right", "b", "enter")
            await eventually(pilot, lambda: "cannot be edited while it runs" in notified(pilot))


async def test_a_planner_computes_the_edited_map_anew(tmp_path: Path) -> None:
    with live_run(
        tmp_path, PLANNING.replace("updates = 200", "updates = 100000"), pace=2.0
    ) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            trainer = await opened(pilot)
            await edited(pilot)
            await pilot.press("right", "b", "enter")
            await eventually(
                pilot,
                lambda: (
                    trainer.snapshot is not None and trainer.snapshot.world.maze.rows[0] == "SBFF"
                ),
            )


async def test_a_finished_run_has_no_map_to_edit(tmp_path: Path) -> None:
    app = app_on(record(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("E")
        assert isinstance(app.screen, TrainerScreen)
        assert "The run is over, so its maze cannot be edited" in notified(pilot)


async def test_a_recorded_moment_has_no_map_to_edit(tmp_path: Path) -> None:
    with live_run(tmp_path, ENDLESS, pace=256.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            trainer = await opened(pilot)
            await eventually(pilot, lambda: trainer.snapshot and trainer.snapshot.episodes)
            await pilot.press("less_than_sign")
            await eventually(pilot, lambda: trainer.recorded)
            await pilot.press("E")
            assert "f goes to now" in notified(pilot)


async def test_features_of_the_map_are_told_before_anything_is_drawn(tmp_path: Path) -> None:
    text = ENDLESS.replace(
        'name = "q-learning"', 'name = "linear-q-learning"\nfeatures = "distance"'
    )
    with live_run(tmp_path, text, pace=8.0) as path:
        app = app_on(path)
        async with app.run_test(size=(80, 24)) as pilot:
            await opened(pilot)
            await pilot.press("E")
            assert isinstance(app.screen, TrainerScreen)
            assert "describe the map around each cell" in " ".join(notified(pilot).split())


async def test_a_large_map_is_solved_without_waiting(tmp_path: Path) -> None:
    text = ENDLESS.replace('map = """\nSFFF\nFHFH\nFFFH\nHFFG\n"""', "size = 24")
    with live_run(tmp_path, text, pace=8.0) as path:
        app = app_on(path)
        async with app.run_test(size=(160, 50)) as pilot:
            await opened(pilot)
            screen = await edited(pilot)
            await eventually(pilot, lambda: screen.now is not None)
            before = screen.now
            await pilot.press("right", "b")
            await eventually(pilot, lambda: screen.now is not None)
            assert screen.draft.changed and before is not None
