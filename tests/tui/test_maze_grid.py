"""The maze grid: what is drawn where, in which layer, at which size."""

from __future__ import annotations

import numpy as np
import pytest
from moments import DOWN, LAKE, LEFT, RIGHT, UP, Stage, lines, moment, policy_of, style_at, walk
from msgspec.structs import replace
from textual.geometry import Region

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.exact.solve import optimal_path
from engine.learning.events import Policy
from tui.maze.maze_grid import MazeGrid
from tui.maze.maze_paint import BOXES
from tui.model.snapshot import Snapshot
from tui.ui.terms import TermClicked

MAP, VALUE, Q, POLICY, VISITS, ADVANTAGE, EXTRA = range(1, 8)
LAKE_MAZE = Maze(rows=LAKE)
SIZES = {(14, 5): (80, 24), (10, 3): (60, 15), (8, 2): (40, 11), (8, 1): (40, 7), (3, 1): (20, 7)}
"""A size of the widget at which the 4×4 map is drawn with cells of that size."""


def learned() -> np.ndarray:
    """Action values [16, 4] with a different number everywhere."""
    q = np.arange(64, dtype=float).reshape(16, 4) / 100
    q[5] = q[15] = 0
    return q


def text_of(grid: MazeGrid, state: int) -> list[str]:
    """The characters of one cell, line by line."""
    places = [
        (x, y)
        for y in range(grid.size.height)
        for x in range(grid.size.width)
        if grid.cell_at(x, y) == state
    ]
    drawn = [grid.render_line(y).text for y in range(grid.size.height)]
    rows = sorted({y for _, y in places})
    return ["".join(drawn[y][x] for x, yy in places if yy == y) for y in rows]


def drawn(grid: MazeGrid) -> str:
    return "\n".join(lines(grid))


@pytest.mark.slow
@pytest.mark.parametrize("box", SIZES)
async def test_the_agent_is_where_it_should_be_at_every_size(box: tuple[int, int]) -> None:
    grid = MazeGrid()
    async with Stage(grid).run_test(size=SIZES[box]):
        grid.show(moment(LAKE_MAZE, actions=[RIGHT, RIGHT, DOWN]))
        for layer in (MAP, VALUE, Q, POLICY):
            grid.layer_number = layer
            cells = {state: text_of(grid, state) for state in range(16)}
            assert {(len(c[0]), len(c)) for c in cells.values()} == {box}
            assert [s for s, cell in cells.items() if "☻" in "".join(cell)] == [6]
            assert all("○" in "".join(cells[hole]) for hole in (5, 7, 11, 12))
            assert "★" in "".join(cells[15])


async def test_values_stand_in_the_middle_with_the_optimum_below() -> None:
    grid, shot = MazeGrid(), moment(LAKE_MAZE, q=learned())
    async with Stage(grid).run_test(size=(80, 24)):
        grid.layer_number = VALUE
        grid.show(shot)
        assert text_of(grid, 9)[2].strip("▏ ") == "0.390"
        assert "*" not in "".join(text_of(grid, 9))
        grid.show_optimal_values = True
        assert text_of(grid, 9)[2].strip("▏ ") == "0.390"
        assert text_of(grid, 9)[3].strip("▏ ") == f"*{shot.optimum.values[9]:.3f}"
        assert "2 state value V(s)" in drawn(grid)


async def test_small_cells_compare_with_the_optimum_by_colour() -> None:
    shot = moment(LAKE_MAZE)
    perfect = moment(LAKE_MAZE, q=shot.optimum.q)
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(20, 7)):
        grid.layer_number, grid.show_optimal_values = VALUE, True
        grid.show(shot)
        worse = style_at(grid, 11, 0).bgcolor
        grid.show(perfect)
        assert style_at(grid, 11, 0).bgcolor != worse
        assert ("V − V*", "optimal-state-value") in grid.terms()
        assert grid._picture is not None
        assert np.nanmax(np.abs(grid._picture.heat)) == 0


@pytest.mark.parametrize("size", [(80, 24), (60, 15)])
async def test_action_values_stand_at_their_edges(size: tuple[int, int]) -> None:
    grid = MazeGrid()
    async with Stage(grid).run_test(size=size):
        grid.layer_number = Q
        grid.show(moment(LAKE_MAZE, q=learned()))
        cell = text_of(grid, 8)  # Q = .32 .33 .34 .35
        middle = cell[len(cell) // 2].lstrip("▏")
        assert middle.split()[0].startswith("0.32") and middle.split()[-1].startswith("0.34")
        assert "0.35" in cell[0] and "0.33" in cell[-1]
        y = next(y for y, line in enumerate(lines(grid)) if "0.39" in line)
        up = grid.render_line(y).text.index("0.39")
        assert grid.cell_at(up, y) == 9
        assert style_at(grid, up, y).bold, "the best action is bold"


async def test_actions_are_placed_by_their_direction_not_their_number() -> None:
    turned = Maze(rows=LAKE, actions=("up", "right", "down", "left"))
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(60, 15)):
        grid.layer_number = Q
        grid.show(moment(turned, q=learned()))
        cell = text_of(grid, 8)
        assert "0.32" in cell[0] and "0.34" in cell[2]
        assert cell[1].lstrip("▏").split() == ["0.35", "0.33"]


async def test_ties_show_several_arrows_and_the_behaviour_has_its_own() -> None:
    q = np.zeros((16, 4))
    q[9, [RIGHT, UP]] = 1.0
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(60, 15)):
        grid.layer_number = POLICY
        grid.show(moment(LAKE_MAZE, q=q))
        cell = "\n".join(text_of(grid, 9))
        assert "→.50" in cell and "↑.50" in cell
        assert "⇠.05" in cell and "⇣.05" in cell
    async with Stage(small := MazeGrid()).run_test(size=(20, 7)):
        small.layer_number = POLICY
        small.show(moment(LAKE_MAZE, q=q))
        assert "└" in text_of(small, 9)[0], "right and up in one glyph"
        assert "┼" in text_of(small, 1)[0], "all four alike"


async def test_visits_advantages_and_further_layers() -> None:
    q, visits = learned(), np.zeros((16, 4), dtype=np.int64)
    visits[9] = (3, 4, 5, 1000)
    policy = replace(policy_of(q, visits), layers={"eligibility": np.full(16, 0.25)})
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(60, 15)):
        grid.show(moment(LAKE_MAZE, q=q, policy=policy))
        grid.layer_number = VISITS
        assert text_of(grid, 9)[1].strip("▏ ") == "1012"
        assert text_of(grid, 10)[1].strip("▏ ") == "0"
        grid.layer_number = ADVANTAGE
        assert text_of(grid, 9)[1].lstrip("▏").split() == ["-.03", "-.01"]
        assert "0" in text_of(grid, 9)[0] and "-.02" in text_of(grid, 9)[2]
        assert grid.layer_choices[EXTRA - 1] == (7, "eligibility", "eligibility")
        grid.action_layer(EXTRA)
        assert text_of(grid, 9)[1].strip("▏ ") == "0.250"
        grid.action_layer(8)
        assert grid.layer_number == EXTRA, "a layer that does not exist is not chosen"


async def test_without_a_policy_the_layers_say_so() -> None:
    shot = moment(LAKE_MAZE)
    bare = Snapshot(
        **{f: getattr(shot, f) for f in Snapshot.__slots__ if f != "policy"}, policy=None
    )
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.layer_number = Q
        grid.show(bare)
        assert "nothing learned yet" in drawn(grid)
        assert "☻" in "".join(text_of(grid, 0))


async def test_tables_are_looked_up_by_observation() -> None:
    maze = Maze(rows=LAKE, observation="neighbourhood")
    mdp = build_mdp(maze)
    q = np.tile(np.arange(mdp.n_observations, dtype=float)[:, None] / 1000, (1, 4))
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(160, 24)):
        grid.layer_number = VALUE
        grid.show(moment(maze, q=q))
        for state in (0, 1, 8, 14):
            shown = text_of(grid, state)[2].strip("▏ ")
            assert float(shown) == pytest.approx(mdp.observation[state] / 1000, abs=5e-4)
        grid.cursor = 1
        assert "sees" in drawn(grid)


async def test_the_trail_tells_exploring_from_exploiting() -> None:
    q = np.zeros((16, 4))
    q[:, RIGHT] = 1.0
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.show(moment(LAKE_MAZE, q=q, actions=[RIGHT, RIGHT, DOWN]))
        assert "→" in text_of(grid, 0)[0] and "→" in text_of(grid, 1)[0]
        assert "⇣" in text_of(grid, 2)[0], "the move down was not the best known one"
        last = grid.render_line(0).text.index("⇣")
        first = grid.render_line(0).text.index("→")
        assert style_at(grid, last, 0).bold and not style_at(grid, first, 0).bold
        assert "exploited" in drawn(grid) and "explored" in drawn(grid)


async def test_the_optimal_path_is_marked_on_demand() -> None:
    shot = moment(LAKE_MAZE)
    path = tuple(optimal_path(shot.mdp, shot.optimum))
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.show(moment(LAKE_MAZE, path=path))
        assert not set("⇐⇓⇒⇑") & set(drawn(grid))
        grid.action_toggle_optimal_path()
        marked = [s for s in range(16) if set("⇐⇓⇒⇑") & set("".join(text_of(grid, s)))]
        assert marked == sorted(path[:-1])


async def test_walls_bonus_and_wind() -> None:
    maze = Maze(rows=("SB#", "FFF", "FFG"), wind=(0, 1, 2))
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.show(moment(maze))
        assert set("".join(text_of(grid, 2))) == {"█"}
        assert "✚" in "".join(text_of(grid, 1))
        wind = next(line for line in lines(grid) if "↑1" in line)
        assert wind.index("↑1") < wind.index("↑2")
        assert grid.cell_at(wind.index("↑1"), lines(grid).index(wind)) == -1


async def test_a_sweep_marks_the_state_it_updates_and_leaves_no_trail() -> None:
    mdp, q = build_mdp(LAKE_MAZE), np.zeros((16, 4))
    steps = walk(mdp, [RIGHT, RIGHT], q, kind="backup")
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.show(moment(LAKE_MAZE, steps=steps, algorithm="value-iteration"))
        assert "↻" in "".join(text_of(grid, 1)) and "☻" not in drawn(grid)
        assert "→" not in drawn(grid).rsplit("\n", 3)[0]


def field(size: int) -> Maze:
    """A large open map."""
    rows = [list("F" * size) for _ in range(size)]
    rows[0][0], rows[-1][-1] = "S", "G"
    return Maze(rows=tuple("".join(row) for row in rows))


async def test_a_large_map_scrolls_and_keeps_the_agent_in_view() -> None:
    maze = field(64)
    shot = moment(maze)
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)) as pilot:
        grid.show(shot)
        await pilot.pause()
        assert "☻" in drawn(grid) and grid.scroll_offset == (0, 0)
        down = walk(shot.mdp, [DOWN] * 60 + [RIGHT] * 60, np.zeros((64 * 64, 4)))
        grid.show(moment(maze, steps=down, mdp=shot.mdp, optimum=shot.optimum))
        await pilot.pause()
        assert grid.scroll_offset.x > 0 and grid.scroll_offset.y > 0
        y = next(y for y, line in enumerate(lines(grid)) if "☻" in line)
        x = grid.render_line(y).text.index("☻")
        assert grid.cell_at(x, y) == 60 * 64 + 60
        assert y < grid.size.height - 2, "above the legend"


async def test_a_world_without_a_map_is_a_lattice_of_states() -> None:
    maze = Maze(gymnasium="Taxi-v3", actions=tuple("snewpd"), states=6, lattice=(2, 3))
    mdp = build_mdp(Maze(rows=("SFF", "FFG")))
    six = policy_of(np.tile(np.arange(6.0), (6, 1)))
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.layer_number = VALUE
        grid.show(moment(maze, policy=six, mdp=mdp))
        assert all(sum("5" in line for line in text_of(grid, s)) == 1 for s in range(6))
        grid.cursor = 4
        assert lines(grid)[-1].strip() == "" or "s4" in drawn(grid)
        assert "s4" in drawn(grid)


async def test_arrow_keys_inspect_cells_and_escape_follows_again() -> None:
    grid = MazeGrid()
    app = Stage(grid, MazeGrid.CellSelected)
    async with app.run_test(size=(140, 24)) as pilot:
        grid.show(moment(LAKE_MAZE, q=learned()))
        grid.focus()
        await pilot.press("right", "down", "down", "left", "left")
        assert grid.cursor == 8
        assert [m.cell for m in app.heard] == [1, 5, 9, 8, 8]
        assert "┏" in "".join(text_of(grid, 8))
        inspected = next(line for line in lines(grid) if "(3,1)" in line)
        for part in ("V 0.350", "V*", "←0.320 ↓0.330 →0.340 ↑0.350", "π ↑1.0", "visits"):
            assert part in inspected
        await pilot.press("escape")
        assert grid.cursor is None and "┏" not in drawn(grid)
        assert "agent here" in drawn(grid)


async def test_keys_choose_layers_overlays_and_zoom() -> None:
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)) as pilot:
        grid.show(moment(LAKE_MAZE, q=learned()))
        grid.focus()
        await pilot.press("3", "v", "o")
        assert (grid.layer_number, grid.show_optimal_values, grid.show_optimal_path) == (
            3,
            True,
            True,
        )
        width = len(text_of(grid, 0)[0])
        await pilot.press("Z", "Z")
        assert len(text_of(grid, 0)[0]) < width
        await pilot.press(*["Z"] * 20, *["z"] * 2)
        assert len(text_of(grid, 0)[0]) == BOXES[-3].width, "zoom stops at the smallest cells"


async def test_the_mouse_selects_cells_explains_them_and_opens_terms() -> None:
    grid = MazeGrid()
    app = Stage(grid, MazeGrid.CellSelected, TermClicked)
    async with app.run_test(size=(80, 24)) as pilot:
        grid.show(moment(LAKE_MAZE, q=learned()))
        grid.layer_number = VALUE
        await pilot.pause()
        x = next(x for x in range(80) if grid.cell_at(x, 7) == 6)
        await pilot.click(grid, offset=(x, 7))
        assert [m.cell for m in app.heard] == [6]
        await pilot.hover(grid, offset=(x, 12))
        assert "(3,3)" in str(grid.tooltip)
        y = next(y for y, line in enumerate(lines(grid)) if "state value" in line)
        await pilot.click(grid, offset=(lines(grid)[y].index("state value") + 2, y))
        assert isinstance(app.heard[-1], TermClicked) and app.heard[-1].slug == "state-value"
        assert ("state value V(s)", "state-value") in grid.terms()


@pytest.mark.slow
@pytest.mark.usefixtures("ascii_look")
@pytest.mark.parametrize("size", [(80, 24), (60, 15), (40, 7), (20, 7)])
async def test_ascii_mode_is_ascii_in_every_layer(size: tuple[int, int]) -> None:
    maze = Maze(rows=LAKE, wind=(0, 1, 0, 0))
    shot = moment(maze, q=learned(), actions=[RIGHT, RIGHT], path=(0, 1, 2))
    grid = MazeGrid()
    async with Stage(grid).run_test(size=size):
        grid.show(shot)
        grid.show_optimal_path = grid.show_optimal_values = True
        grid.cursor = 9
        for layer in range(1, 7):
            grid.layer_number = layer
            assert drawn(grid).isascii(), drawn(grid)
            assert [s for s in range(16) if "@" in "".join(text_of(grid, s))] == [2]


async def test_only_rows_that_changed_are_painted_again() -> None:
    grid = MazeGrid()
    q = learned()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.layer_number = VALUE
        grid.show(moment(LAKE_MAZE, q=q))
        drawn(grid)
        before = {row: strips for row, (_, strips) in grid._rows.items()}
        changed = q.copy()
        changed[9] = 0.1  # in the third row; the largest number stays
        grid.show(moment(LAKE_MAZE, q=changed))
        drawn(grid)
        after = {row: strips for row, (_, strips) in grid._rows.items()}
        assert [row for row in range(4) if before[row] is not after[row]] == [2]


async def test_another_map_is_painted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full picture of the screen would hide it: the terminal gets only what is refreshed."""
    grid = MazeGrid()
    async with Stage(grid).run_test(size=(80, 24)):
        grid.show(moment(LAKE_MAZE))
        drawn(grid)
        asked: list[Region] = []
        refresh = grid.refresh

        def noted(*regions: Region, **how: bool) -> MazeGrid:
            asked.extend(regions)
            refresh(*regions, **how)
            return grid

        monkeypatch.setattr(grid, "refresh", noted)
        grid.show(moment(Maze(rows=("SFFF", "FFFH", "FFFH", "HFFG"))))
        height = grid._box.height
        assert {region.y // height for region in asked} >= {0, 1, 2, 3}
        assert "○" not in "".join(text_of(grid, 5))


async def test_another_theme_means_other_colours() -> None:
    grid = MazeGrid()
    app = Stage(grid)
    async with app.run_test(size=(80, 24)) as pilot:
        grid.layer_number = VALUE
        grid.show(moment(LAKE_MAZE, q=learned()))
        dark = style_at(grid, 40, 7).bgcolor
        app.theme = "textual-light"
        await pilot.pause()
        assert style_at(grid, 40, 7).bgcolor != dark


def test_a_policy_event_is_never_written_to() -> None:
    table = learned()
    table.setflags(write=False)
    policy = policy_of(table)
    assert isinstance(policy, Policy)
    from tui.maze.maze_layers import layers

    shown = layers(LAKE_MAZE, build_mdp(LAKE_MAZE), policy)
    assert [layer.name for layer in shown] == [
        "map", "state value", "action values", "policy", "visits", "advantage",
    ]  # fmt: skip
    assert shown[2].table is not None and np.isnan(shown[2].table[5]).all()
    assert table[5, LEFT] == 0
