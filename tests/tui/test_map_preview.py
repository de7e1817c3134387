"""The still picture of a map: its size, what is cut, and its legend."""

from __future__ import annotations

from typing import Any

from rich.style import Style
from textual.geometry import Size

from engine.env.maze import Maze
from tui.maze.map_preview import MapPreview
from tui.ui import glyphs


def picture(maze: Maze, width: int, height: int, ascii_only: bool = False) -> list[str]:
    """The lines of a map preview, without an app's styles."""

    class Plain(MapPreview):
        def get_component_rich_style(self, *names: str, **partial: bool) -> Any:
            return Style(color="white", bgcolor="black")

    glyphs.choose(ascii_only)
    try:
        preview = Plain()
        preview.show(maze, Size(width, height))
        return [strip.text for strip in preview._painted()]
    finally:
        glyphs.choose(None)


def test_a_small_map_is_drawn_large_a_large_one_small() -> None:
    lake = Maze(rows=("SF", "HG"))
    assert picture(lake, 40, 30)[:3] == ["▏▔▔▔▔▔▔▏▔▔▔▔▔▔", "▏  S   ▏  ·   ", "▏      ▏      "]
    assert picture(lake, 40, 4)[:2] == [" S  · ", " ○  ★ "]
    assert picture(lake, 4, 4)[:2] == [" S ·", " ○ ★"]
    assert picture(lake, 2, 4, ascii_only=True)[:2] == ["S.", "OG"]


def test_a_map_too_large_is_cut_and_says_so() -> None:
    big = Maze(rows=("S" + "F" * 63, *["F" * 64] * 62, "F" * 63 + "G"))
    lines = picture(big, 50, 20)
    assert len(lines) == 20
    assert max(map(len, lines)) == 50
    assert lines[-1] == "the upper left 18x50 of 64x64"


def test_wind_stands_under_its_columns() -> None:
    windy = Maze(rows=("SFG",), wind=(0, 2, 0))
    assert picture(windy, 40, 4) == [" S  ·  ★ ", "    ↑2   ", "S start  ★ prize  ↑ wind"]


def test_a_world_without_a_map_says_what_it_is() -> None:
    taxi = Maze(gymnasium="Taxi-v4", states=500, lattice=(20, 25))
    assert picture(taxi, 60, 10) == ["Taxi-v4: 500 states, no map"]
