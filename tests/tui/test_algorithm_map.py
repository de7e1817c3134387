"""The algorithm map on screen: moving, reading, looking up, starting a preset."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from home_tools import HostApp, shown
from patience import eventually, settle
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import OptionList, Static

from engine.presets import algorithm_map
from tui.app import IceMazeApp
from tui.features.algorithms import screen
from tui.features.algorithms.screen import AlgorithmMapScreen, MapTree, PresetLinks
from tui.forms.start_form import StartForm
from tui.glossary.entries import load
from tui.glossary.glossary_dialog import GlossaryDialog
from tui.glossary.panel import GlossaryPanel
from tui.glossary.term_picker import TermPicker
from tui.ui import glyphs
from tui.ui.facts import Facts

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (160, 50)]


@pytest.fixture(autouse=True)
def unicode_glyphs() -> Iterator[None]:
    glyphs.choose(False)
    yield
    glyphs.choose(None)


def go_to(pilot: Pilot[None], option: str) -> None:
    """Highlight an algorithm."""
    tree = pilot.app.screen.query_one(MapTree)
    tree.highlighted = tree.get_option_index(option)


def entry(name: str, kind: str = "tabular") -> algorithm_map.Entry:
    (found,) = (e for e in algorithm_map.get(name) if e.kind == kind)
    return found


def said(app: HostApp) -> list[str]:
    """What notifications say."""
    return [notification.message for notification in app._notifications]


@pytest.mark.parametrize("size", SIZES)
async def test_it_opens_from_the_library_and_leads_back(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = IceMazeApp(runs_dir=tmp_path)
    async with app.run_test(size=size) as pilot:
        await eventually(pilot, lambda: type(app.screen).__name__ == "HomeScreen")
        await settle(pilot)
        assert "a Algorithms" in shown(app)
        await pilot.press("a")
        await settle(pilot)
        assert isinstance(app.screen, AlgorithmMapScreen)
        text = shown(app)
        for words in ("Algorithm map", "Planning with a known model", "off-policy", "V(s) ←"):
            assert words in text
        assert "a Algorithms" not in text
        await pilot.press("escape")
        assert type(app.screen).__name__ == "HomeScreen"


@pytest.mark.parametrize("size", SIZES)
async def test_every_algorithm_can_be_reached_and_is_explained(size: tuple[int, int]) -> None:
    wanted = [e for branch in algorithm_map.tree() for e in branch.entries]
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, AlgorithmMapScreen)
        for expected in wanted:
            assert screen.entry == expected
            title = screen.query_one("#map-text", VerticalScroll).border_title
            assert str(title) == expected.title
            assert str(screen.query_one("#map-idea", Static).content) == expected.idea
            facts = {fact.label: fact.text for fact in screen.query_one(Facts)._facts}
            assert facts["needs"] == expected.needs and facts["source"] == expected.source
            assert facts["chosen when"] == expected.chosen_when
            presets = [option.id for option in screen.query_one(PresetLinks).options]
            assert [name for name in presets if name] == list(expected.presets)
            await pilot.press("down")
        await pilot.press("end")
        await settle(pilot)
        assert "MPO" in shown(app)  # the last row scrolls into sight


async def test_what_language_models_use_is_marked_by_a_word() -> None:
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=(100, 50)) as pilot:
        await settle(pilot)
        for option in app.screen.query_one(MapTree).options:
            if option.id:
                kind, _, name = option.id.partition("-")
                marked = str(option.prompt).endswith(f" {screen.LLM}")
                assert marked == entry(name, kind).for_llms
        go_to(pilot, "llm-rloo")
        await pilot.pause()
        assert "rloo: for language models" in shown(app)
        assert "engine/llm/algorithms/rloo.py" in shown(app)


async def test_enter_starts_the_form_of_the_only_preset() -> None:
    only = next(e for e in algorithm_map.entries() if len(e.presets) == 1)
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        go_to(pilot, screen.option_id(only))
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, StartForm)
        await pilot.press("enter")
        await settle(pilot)
        ((name, preset),) = app.started
        assert (name,) == only.presets and preset.title


async def test_of_several_presets_one_is_chosen() -> None:
    several = entry("q-learning")
    assert len(several.presets) > 1
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        go_to(pilot, "tabular-q-learning")
        await pilot.press("enter")
        await settle(pilot)
        links = app.screen.query_one(PresetLinks)
        assert links.has_focus and [option.id for option in links.options] == list(several.presets)
        await pilot.press("down", "enter")
        await settle(pilot)
        assert isinstance(app.screen, StartForm)
        await pilot.press("escape", "escape")
        await settle(pilot)
        assert app.screen.query_one(MapTree).has_focus
        assert app.started == []


async def test_an_algorithm_without_a_preset_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithm_map, "_shown_by", lambda folder, kind: {})
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "None yet." in shown(app) or not app.screen.query_one(PresetLinks).can_focus
        await pilot.press("enter")
        await pilot.pause()
        assert said(app) == ["Value iteration: no shipped preset shows it yet."]
        assert isinstance(app.screen, AlgorithmMapScreen)


async def test_terms_are_looked_up_by_key_and_by_click() -> None:
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        go_to(pilot, "tabular-sarsa")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, AlgorithmMapScreen)
        slugs = [term.slug for term in screen.terms()]
        assert slugs[0] == "sarsa" and {"on-policy", "target-policy"} <= set(slugs)
        assert all(load().for_label(slug) for slug in slugs)
        await pilot.press("g")
        await settle(pilot)
        assert isinstance(app.screen, TermPicker)
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, GlossaryDialog)
        assert app.screen.query_one(GlossaryPanel).slug == "sarsa"
        await pilot.press("escape")
        await settle(pilot)
        assert app.screen is screen
        labels = [fact.label for fact in screen.query_one(Facts)._facts]
        row = labels.index("behaviour")
        above = sum(len(str(fact.text)) > 60 for fact in screen.query_one(Facts)._facts[:row])
        await pilot.click(Facts, offset=(1, row + above))
        await settle(pilot)
        assert isinstance(app.screen, GlossaryDialog)


async def test_the_text_scrolls_from_the_map() -> None:
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        text = app.screen.query_one("#map-text", VerticalScroll)
        await pilot.press("pagedown")
        await eventually(pilot, lambda: text.scroll_y > 0)
        assert app.screen.query_one(MapTree).has_focus
        await pilot.press("down")
        await eventually(pilot, lambda: text.scroll_y == 0)


async def test_ascii_terminals_see_ascii() -> None:
    glyphs.choose(True)
    app = HostApp(AlgorithmMapScreen())
    async with app.run_test(size=(160, 50)) as pilot:
        await settle(pilot)
        for option in app.screen.query_one(OptionList).options:
            if option.id:
                go_to(pilot, option.id)
                await pilot.pause()
                body = shown(app).rsplit("\n", 1)[0]  # without the footer, which is Textual's
                assert body.isascii(), option.id
                # A sign nobody could spell would be a question mark that ends no word.
                assert re.search(r"(?<![a-z])\?", body) is None, option.id
