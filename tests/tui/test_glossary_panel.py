"""The glossary panel, driven by keys and mouse in an app that holds nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from moments import LAKE, RIGHT, moment
from textual.app import App, ComposeResult
from textual.widgets import Button, Input, Static

from engine import presets
from engine.env.maze import Maze
from engine.exact.evaluate import optimal_figures
from engine.runs.records import Head
from tui.glossary.entries import load
from tui.glossary.panel import EntryView, GlossaryPanel, Matches, Related
from tui.glossary.source import ROOT
from tui.glossary.source_view import SourceView
from tui.model.snapshot import Snapshot
from tui.ui import glyphs

pytestmark = pytest.mark.slow

NARROW = (40, 15)
WIDE = (100, 30)
PRESET = """
title = "A run"
[maze]
map = "SFFF\\nFHFH\\nFFFH\\nHFFG"
[algorithm]
name = "q-learning"
gamma = 0.99
[budget]
env_steps = 100
"""


class Host(App[None]):
    """The panel, with something to focus before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def compose(self) -> ComposeResult:
        yield Button("before", compact=True, id="before")
        yield GlossaryPanel()
        yield Button("after", compact=True, id="after")

    def on_glossary_panel_entry_opened(self, message: GlossaryPanel.EntryOpened) -> None:
        self.opened.append(message.slug)

    @property
    def panel(self) -> GlossaryPanel:
        return self.query_one(GlossaryPanel)

    @property
    def focus_id(self) -> str | None:
        return self.focused.id if self.focused else None

    def text_of(self, part: str) -> str:
        return str(self.query_one(f"#glossary-{part}", Static).content)

    def screen_text(self) -> str:
        strips = self.screen._compositor.render_strips()
        return "\n".join(strip.text for strip in strips)


def run_at(actions: list[int]) -> Snapshot:
    snapshot = moment(Maze(rows=LAKE), actions=actions)
    return replace(
        snapshot,
        preset=presets.parse(PRESET),
        head=Head(state="running"),
        optimal_figures=optimal_figures(snapshot.mdp, 0.99, snapshot.optimum),
    )


async def test_typing_finds_and_enter_opens_the_best_match() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.action_search()
        await pilot.press(*"disc")
        await pilot.pause()
        matches = app.query_one(Matches)
        assert matches.get_option_at_index(0).id == "discount-factor"
        await pilot.press("enter")
        await pilot.pause()
        assert app.panel.slug == "discount-factor"
        assert app.opened == ["discount-factor"]
        assert app.focus_id == "glossary-entry"
        shown = app.screen_text()
        assert "Discount factor   γ" in shown
        assert "How much a reward is worth" in shown
        assert not matches.display


async def test_an_entry_says_what_else_its_symbol_stands_for() -> None:
    app = Host()
    async with app.run_test(size=WIDE) as pilot:
        app.panel.open("tolerance")
        await pilot.pause()
        assert "θ is also: Priority queue (priority-queue), Logits (logits)" in app.text_of("also")
        app.panel.open("reward")
        await pilot.pause()
        assert not app.query_one("#glossary-also").display


async def test_nothing_typed_lists_everything_and_arrows_reach_it() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.action_search()
        await pilot.pause()
        matches = app.query_one(Matches)
        listed = [matches.get_option_at_index(i).id for i in range(matches.option_count)]
        assert [slug for slug in listed if slug] == [entry.slug for entry in load()]
        await pilot.press("down")
        assert app.focus_id == "glossary-matches"
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert app.opened == ["agent"]


async def test_a_search_without_result_says_so_and_opens_nothing() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.action_search()
        await pilot.press(*"wombat")
        await pilot.pause()
        assert "Nothing fits" in app.screen_text()
        await pilot.press("enter", "down", "enter")
        await pilot.pause()
        assert app.opened == []


async def test_escape_returns_from_the_search_to_the_entry() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.open("reward")
        app.panel.focus()
        await pilot.press("slash")
        assert app.focus_id == "glossary-search"
        assert not app.query_one(EntryView).display
        await pilot.press("x", "escape")
        assert app.focus_id == "glossary-entry"
        assert app.query_one(EntryView).display
        assert app.panel.slug == "reward"
        await pilot.press("slash", "down", "escape")
        assert app.focus_id == "glossary-entry"


async def test_links_open_and_both_keys_go_back() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.open("q-learning")
        app.panel.focus()
        await pilot.press("tab")
        assert app.focus_id == "glossary-related"
        await pilot.press("enter")
        await pilot.pause()
        assert app.panel.slug == load().get("q-learning").related[0] == "sarsa"
        assert app.focus_id == "glossary-entry"
        await pilot.press("tab", "down", "enter")
        await pilot.pause()
        second = app.panel.slug
        assert second == load().get("sarsa").related[1]
        await pilot.press("backspace")
        assert app.panel.slug == "sarsa"
        await pilot.press("tab", "left")
        assert app.panel.slug == "q-learning"
        await pilot.press("left")
        assert app.panel.slug == "q-learning"
        assert app.opened == ["q-learning", "sarsa", second, "sarsa", "q-learning"]


async def test_a_link_can_be_clicked() -> None:
    app = Host()
    async with app.run_test(size=(60, 70)) as pilot:
        app.panel.open("td-error")
        await pilot.pause()
        await pilot.click(Related, offset=(4, 1))
        await pilot.pause()
        assert app.opened == ["td-error", load().get("td-error").related[1]]


async def test_tab_passes_through_the_panel() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.open("reward")
        app.query_one("#before").focus()
        visited = []
        for _ in range(5):
            await pilot.press("tab")
            visited.append(app.focus_id)
            if app.focus_id == "after":
                break
        # The search field brings up the list, and the list takes the entry's place.
        assert visited == ["glossary-search", "glossary-matches", "after"]
        await pilot.press("shift+tab", "shift+tab", "shift+tab")
        assert app.focus_id == "before"


async def test_keys_without_use_here_are_left_to_the_screen() -> None:
    class Outer(Host):
        BINDINGS = [("escape", "outer('escape')"), ("left", "outer('left')")]  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            self.outer: list[str] = []

        def action_outer(self, key: str) -> None:
            self.outer.append(key)

    app = Outer()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.open("reward")
        app.panel.focus()
        await pilot.press("escape")
        assert app.outer == ["escape"]
        app.panel.action_search()
        await pilot.press("escape")
        assert app.outer == ["escape"]


async def test_the_value_follows_the_run_and_stays_in_sight() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.panel.open("state")
        app.panel.focus()
        await pilot.pause()
        assert "no run is shown" in app.text_of("value")
        app.panel.show(run_at([RIGHT]))
        assert app.text_of("value") == "In this run: 0 = row 1, column 1"
        app.panel.show(run_at([RIGHT, RIGHT]))
        assert app.text_of("value") == "In this run: 1 = row 1, column 2"
        await pilot.press("end")
        await pilot.pause()
        assert "In this run: 1 = row 1, column 2" in app.screen_text()
        app.panel.open("checkpoint")
        assert "without a value" in app.text_of("value")
        app.panel.show(run_at([]))
        app.panel.open("td-error")
        assert app.text_of("value") == "In this run: nothing yet"


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_source_lines_are_numbered_marked_and_complete(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        app.panel.open("q-learning")
        await pilot.pause()
        view = app.query_one(SourceView)
        text = view.plain
        assert "engine/tabular/algorithms/q_learning.py:" in text
        (marked,) = [line for line in text.split("\n") if "▌" in line]
        number, _, code = marked.partition(" ▌ ")
        lines = (ROOT / "engine/tabular/algorithms/q_learning.py").read_text("utf-8").split("\n")
        assert lines[int(number) - 1].strip() == code.strip()
        assert "(6.8)" in code
        assert view.size.height == str(view.render()).count("\n") + 1
        assert max(map(len, str(view.render()).split("\n"))) <= view.size.width


async def test_wide_shows_the_list_beside_the_entry() -> None:
    app = Host()
    async with app.run_test(size=WIDE) as pilot:
        app.panel.open("sarsa")
        await pilot.pause()
        matches, view = app.query_one(Matches), app.query_one(EntryView)
        assert matches.display and view.display
        assert matches.region.right <= view.region.x
        assert matches.highlighted_option is not None
        assert matches.highlighted_option.id == "sarsa"
        app.panel.focus()
        await pilot.press("slash", *"wind")
        await pilot.pause()
        assert view.display
        assert matches.get_option_at_index(0).id == "wind"


@pytest.mark.parametrize("size", [NARROW, (24, 8), WIDE])
async def test_every_entry_can_be_shown_at_any_size(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        snapshot = run_at([RIGHT])
        app.panel.show(snapshot)
        for entry in list(load())[::9]:
            app.panel.open(entry.slug)
            await pilot.pause()
            assert app.text_of("title").startswith(entry.title)
            assert app.panel.size.width == size[0]


async def test_an_unknown_slug_is_a_mistake_of_the_caller() -> None:
    app = Host()
    async with app.run_test(size=NARROW):
        with pytest.raises(KeyError):
            app.panel.open("no-such-entry")


async def test_ascii_terminals_get_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "_chosen", True)
    app = Host()
    async with app.run_test(size=(60, 80)) as pilot:
        app.panel.open("q-learning")
        app.panel.show(run_at([RIGHT]))
        await pilot.pause()
        assert "Q(s,a) <- Q(s,a) + alpha" in app.text_of("formula")
        titles = [app.query_one(Related).get_option_at_index(i).prompt for i in range(5)]
        assert all(str(title).isascii() for title in titles)
        gutters = [line for line in app.query_one(SourceView).plain.split("\n") if " > " in line]
        assert len(gutters) == 1


async def test_the_slash_that_opens_the_search_may_stand_in_the_field() -> None:
    app = Host()
    async with app.run_test(size=NARROW) as pilot:
        app.query_one(Input).focus()
        await pilot.press(*"/sarsa", "enter")
        await pilot.pause()
        assert app.opened == ["sarsa"]
