"""Whatever calls itself a glossary term on screen is in the glossary."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from trainer_tools import app_on, opened, recorded

import tui
from tui import kinds
from tui.glossary.entries import load
from tui.kinds.planning import PlanningKind
from tui.kinds.value import ValueKind
from tui.log.explain import facts
from tui.maze.maze_grid import MazeGrid
from tui.ui.glyphs import UNICODE
from tui.ui.terms import HasTerms

SLUG_ARGUMENT = {"term": 1, "Term": 1, "Fact": 1, "Level": 1, "Figure": 2, "Column": 2, "Layer": 2}
"""Which argument of a call is a slug."""
KNOWN = {entry.slug for entry in load()}


def literal_slugs() -> Iterator[tuple[str, str]]:
    """Every slug written into the code of a widget or a screen, and where."""
    for path in sorted(Path(tui.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            position = SLUG_ARGUMENT.get(node.func.id)
            named = [k.value for k in node.keywords if k.arg in ("slug", "term")]
            plain = node.args[position : position + 1] if position is not None else []
            for argument in [*plain, *named]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, f"{path.name}:{node.lineno}"


def test_slugs_in_the_code() -> None:
    found = list(literal_slugs())
    assert len(found) > 40
    assert [(slug, where) for slug, where in found if slug and slug not in KNOWN] == []


def test_columns_of_the_log() -> None:
    slugs = {
        column.slug for layout in (*ValueKind.columns, *PlanningKind.columns) for column in layout
    }
    assert slugs <= KNOWN


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learning", "on-policy", "planning"])
async def test_everything_the_trainer_shows(
    recordings: dict[str, Path], unicode_look: None, name: str
) -> None:
    app = app_on(recordings[name])
    async with app.run_test(size=(160, 50)) as pilot:
        screen = await opened(pilot)
        shown: set[str] = set()
        for digit, _, slug in screen.query_one(MazeGrid).layer_choices:
            shown.add(slug)
            for overlay in ("v", "o"):
                await pilot.press(str(digit), overlay, "m")
                for widget in screen.query("*"):
                    shown |= (
                        {t.slug for t in widget.terms()} if isinstance(widget, HasTerms) else set()
                    )
        shot = screen.snapshot
        assert shot is not None
        for row in await recorded(screen):
            episode = await screen.in_thread(partial(screen.watcher.source.episode, row.id))
            for step in episode.steps:
                told = facts(step, kinds.of(shot.preset), shot.world.maze, UNICODE)
                shown |= {slug for _, slug, _ in told}
        assert len(shown) > 10
        assert shown - KNOWN == set()
