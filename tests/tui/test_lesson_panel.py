"""The lesson panel: pages, questions, waits, and that no key alone leads to the end."""

from __future__ import annotations

import math
from typing import Any

import pytest
from home_tools import shown
from patience import eventually, settle
from textual import events
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input

from engine.experiments.lab import exact_figures
from engine.experiments.lab.lesson import Lesson, parse_lesson
from tui.glossary.term_picker import TermPicker
from tui.lesson.lesson_panel import LessonPanel
from tui.lesson.lesson_words import LETTERS, read_number
from tui.ui import glyphs
from tui.ui.ascii import GlyphApp

pytestmark = pytest.mark.usefixtures("unicode_look")

TEXT = """# Greed
## Two prizes
A *small* one ☆ and a **large** one.

```lesson
ask = "Which one will it take?"
choices = ["the near one", "the far one"]
answer = 1
because = "It sees nothing else."
```
```lesson
wait = {metric = "success_rate", at_most = 0.1}
```
```lesson
point = "exploration"
```
Now you know.
## The number
```lesson
ask = "What is the best return?"
exact = "optimal_return"
tolerance = 0.01
because = "It is discounted."
```
```lesson
show = {run = "curious", metric = "regret"}
```
## The reason
```lesson
ask = "Why?"
choices = ["luck", "it never tries", "the ice"]
answer = 2
because = "Trying is the point."
```
```lesson
point = "exploration"
```
```lesson
point = "exploitation"
```
"""
LESSON = parse_lesson(TEXT, "lesson.md", "greed", ("greedy", "curious"))


class PanelApp(GlyphApp[None]):
    """Holds the panel and keeps what it says."""

    def __init__(self, lesson: Lesson = LESSON) -> None:
        super().__init__()
        self.panel = LessonPanel(lesson)
        self.said: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.panel

    def on_mount(self) -> None:
        self.panel.focus()

    def on_lesson_panel_point(self, message: LessonPanel.Point) -> None:
        self.said.append(message)

    def on_lesson_panel_finished(self, message: LessonPanel.Finished) -> None:
        self.said.append(message)

    def on_lesson_panel_proposed(self, message: LessonPanel.Proposed) -> None:
        self.said.append(message)

    def figures(self, success: float, regret: float = math.nan, *ended: str) -> None:
        """What the host passes on at a tick."""
        of_curious = {"regret": regret}
        self.panel.take({"greedy": {"success_rate": success}, "curious": of_curious}, set(ended))


@pytest.fixture(autouse=True)
def solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact solver knows the one thing it is asked."""
    monkeypatch.setattr(exact_figures, "exact_figures", lambda wanted: dict.fromkeys(wanted, 0.774))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (50, 46)])
async def test_the_whole_way(size: tuple[int, int]) -> None:
    app = PanelApp()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await first_page(app, pilot)
        await second_page(app, pilot)
        await third_page(app, pilot)
        (finished,) = (m for m in app.said if isinstance(m, LessonPanel.Finished))
        assert finished.name == "greed"
        assert "The lesson is finished. 0 of 2 answers were right at once." in words(app)
        assert "Your prediction did not come true." in words(app)


def words(app: App[Any]) -> str:
    """The screen's text without its line breaks."""
    return " ".join(shown(app).replace("▌", " ").split())


async def first_page(app: PanelApp, pilot: Pilot[Any]) -> None:
    for text in ("Two prizes", "a the near one", "b the far one", "Page 1 of 3. Press a or b."):
        assert text in words(app)
    assert "Now you know." not in words(app)
    await pilot.press("n", "c", "o")
    assert "Page 1 of 3" in words(app)
    assert "Answer the question first." in [n.message for n in app._notifications]
    await pilot.press("b")
    await settle(pilot)
    assert "Your prediction: b, the far one" in words(app)
    assert "It sees nothing else." not in words(app)  # not before the figure is there
    app.figures(0.14)
    await settle(pilot)
    assert "Success rate of greedy: 14% now, waiting for at most 10%" in words(app)
    await pilot.press("n")
    assert "Page 1 of 3" in words(app)
    app.figures(0.05)
    await settle(pilot)
    for text in (
        "Not so: it is a, the near one.",
        "It sees nothing else.",
        "Success rate of greedy has come to 5%.",
        "Now you know.",
        "n turns the page.",
    ):
        assert text in words(app)
    await pilot.press("o")
    assert [m.term for m in app.said if isinstance(m, LessonPanel.Point)] == ["exploration"]
    await pilot.press("n")
    await settle(pilot)


async def second_page(app: PanelApp, pilot: Pilot[Any]) -> None:
    assert "Page 2 of 3. Type a number, then Enter." in words(app)
    field = app.query_one(Input)
    assert field.has_focus
    await pilot.press(*"what", "enter")
    assert "Expected a number, such as 0.7 or 70%." in words(app)
    await pilot.press(*"0.5", "enter")
    assert "Not near enough. 2 more tries." in words(app)
    await pilot.press(*"77.4%", "enter")
    await settle(pilot)
    assert "Your answer: 0.7740. Right. The figure is 0.7740." in words(app)
    assert "Regret of curious: nothing yet" in words(app)
    app.figures(0.0, 12.0)
    await settle(pilot)
    assert "Regret of curious: 12.0" in words(app)
    assert app.panel.has_focus
    await pilot.press("N")
    await settle(pilot)
    assert "Page 1 of 3" in words(app) and "Now you know." in words(app)
    await pilot.press("n", "n")
    await settle(pilot)


async def third_page(app: PanelApp, pilot: Pilot[Any]) -> None:
    assert "Page 3 of 3. Press a to c." in words(app)
    await pilot.click("Choice")
    await settle(pilot)
    assert "Not that one. Choose another." in words(app) and "luck (no)" in words(app)
    await pilot.press("2")
    await settle(pilot)
    assert "Your answer: b, it never tries. Right." in words(app)
    await pilot.press("o")
    assert isinstance(app.screen, TermPicker)
    await pilot.press("down", "enter")
    assert [m.term for m in app.said if isinstance(m, LessonPanel.Point)][-1] == "exploitation"
    await pilot.press("n")
    await settle(pilot)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["n", "enter", "space", "tab", "right", "o", "N", "1", *LETTERS])
async def test_no_single_key_finishes_a_lesson(key: str) -> None:
    app = PanelApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.figures(0.0, 1.0, "greedy", "curious")
        await pilot.press(*[key] * 30)
        assert not app.panel.state.finished
        assert app.panel.state.page_number == 0


@pytest.mark.slow
async def test_a_number_is_told_after_three_tries() -> None:
    app = PanelApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.figures(0.0)
        await pilot.press("a", "n")
        await settle(pilot)
        for number in ("1", "2", "3"):
            await pilot.press(number, "enter")
        await settle(pilot)
        assert "Your answer: 3.000. Not so. The figure is 0.7740." in words(app)


async def test_a_number_can_be_typed_without_going_to_its_field() -> None:
    app = PanelApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.figures(0.0)
        await pilot.press("a", "n")
        await settle(pilot)
        await pilot.press("escape")
        assert app.panel.has_focus
        for key in "77":  # faster than the focus moves
            app.panel.post_message(events.Key(key, key))
        await settle(pilot)
        await pilot.press("percent_sign", "enter")
        await settle(pilot)
        assert "Your answer: 0.7700. Right. The figure is 0.7740." in words(app)


async def test_a_whole_figure_is_written_without_decimals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exact_figures, "exact_figures", lambda wanted: dict.fromkeys(wanted, 94.0))
    app = PanelApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.figures(0.0)
        await pilot.press("a", "n")
        await settle(pilot)
        await pilot.press("9", "4", "enter")
        await settle(pilot)
        assert "Right. The figure is 94." in words(app)


@pytest.mark.slow
async def test_a_run_that_ended_without_is_told() -> None:
    app = PanelApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("a")
        app.figures(0.9, 0.0, "greedy")
        await settle(pilot)
        text = "The run has ended, and success rate of greedy has come only to 90%."
        assert text in words(app)


async def test_foreign_text_is_neither_markup_nor_commands() -> None:
    text = TEXT.replace("the near one", r"[b]near[/b] \u001b[31mred")
    app = PanelApp(parse_lesson(text, "lesson.md", "greed", ("greedy", "curious")))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "[b]near[/b] red" in words(app)
        app.figures(0.0)
        await pilot.press("a")
        await settle(pilot)
        assert "[b]near[/b] red" in words(app)


async def test_ascii_only() -> None:
    glyphs.choose(True)  # the fixture takes it back
    app = PanelApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.figures(0.0)
        await pilot.press("a")
        await settle(pilot)
        assert "Now you know." in words(app)
        assert {char for char in shown(app) if not char.isascii()} == set()


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.7", 0.7), (" .7 ", 0.7), ("70%", 0.7), ("0,7", 0.7), ("-1e-2", -0.01)],
)
def test_numbers_are_read_as_people_type_them(text: str, number: float) -> None:
    assert read_number(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "%", "a", "nan", "inf", "1 2"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert read_number(text) is None


async def test_the_page_scrolls_by_keys() -> None:
    text = TEXT.replace("A *small*", "A long story. " * 200 + "A *small*")
    app = PanelApp(parse_lesson(text, "lesson.md", "greed", ("greedy", "curious")))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        page = app.query_one("#lesson-page")
        assert page.scroll_y == 0
        await pilot.press("pagedown")
        await eventually(pilot, lambda: page.scroll_y > 0)
        await pilot.press("up")
        await eventually(pilot, lambda: page.scroll_y == 0)


@pytest.mark.slow
async def test_the_place_survives_leaving_and_s_starts_what_is_proposed() -> None:
    text = """# Greed
## One
```lesson
ask = "Near or far?"
choices = ["near", "far"]
answer = 2
```
## Two
Try these: `icemaze train greedy --set run.seed=3` and `icemaze train curious`.
"""
    lesson = parse_lesson(text, "lesson.md", "greed", ("greedy", "curious"))
    async with PanelApp(lesson).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("b", "n")
        await settle(pilot)
    app = PanelApp(lesson)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Page 2 of 2. n finishes the lesson. s starts what it proposes." in words(app)
        await pilot.press("s", "enter")
        await settle(pilot)
        (heard,) = (m.proposal for m in app.said if isinstance(m, LessonPanel.Proposed))
        assert (heard.preset, heard.settings) == ("greedy", ("run.seed=3",))
        await pilot.press("R")
        await settle(pilot)
        assert "Page 1 of 2. Press a or b." in words(app)
