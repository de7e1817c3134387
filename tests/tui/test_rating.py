"""The rating screen: pairs answered by keys, what was expected told afterwards, no maze at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from home_tools import shown
from llm_tools import tiny_model
from patience import eventually
from text_tools import text
from textual.pilot import Pilot
from trainer_tools import app_on, live_run, record

from engine import presets
from engine.config.preset import LlmPreset
from engine.learning.events import Member, Preference
from engine.runs.reader import RunReader
from engine.runs.records import Head
from tui.cli.follow import stands
from tui.cli.progress import summary
from tui.cli.runs import doing
from tui.cli.text_words import score_words
from tui.features.rating import words as rating_words
from tui.features.rating.marks import MarksDialog, read_marks
from tui.features.rating.screen import RatingScreen
from tui.forms.setting_spec import Draft, sections
from tui.glossary.entries import load
from tui.glossary.values import current_value, preferences
from tui.library.facts_of import of_preset
from tui.library.shelf import PresetCard, outlook
from tui.maze.maze_grid import MazeGrid
from tui.model.source import SnapshotSource
from tui.watching.completion_card import CompletionCard

pytestmark = pytest.mark.llm

SIZES = [(80, 24), (160, 50)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def ruled(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that a rule judged."""
    return record(tmp_path_factory.mktemp("ruled"), text(model), "ruled")


@pytest.fixture
def asking(model: Path, tmp_path: Path) -> Iterator[Path]:
    """A live run that waits for answers."""
    with live_run(tmp_path, text(model, "you").replace("updates = 4", "updates = 2")) as path:
        yield path


def rating(pilot: Pilot[Any]) -> RatingScreen:
    return next(s for s in pilot.app.screen_stack if isinstance(s, RatingScreen))


async def opened(pilot: Pilot[Any]) -> RatingScreen:
    await eventually(
        pilot,
        lambda: any(
            isinstance(s, RatingScreen) and s.snapshot is not None for s in pilot.app.screen_stack
        ),
    )
    await pilot.pause()
    return rating(pilot)


def answers(path: Path) -> list[Preference]:
    with RunReader(path) as reader:
        return reader.preferences()


@pytest.mark.parametrize("size", SIZES)
async def test_a_round_answered_by_keys(
    asking: Path, unicode_look: None, size: tuple[int, int]
) -> None:
    app = app_on(asking)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot)
        await eventually(pilot, lambda: len(screen.wanted) == 3)
        seen = shown(app)
        assert "waiting for you" in seen and "3 answers are wanted" in seen
        assert "Pair 1 of 3" in seen and "Write about ice." in seen
        assert "It knows nothing yet" in seen and "expected" not in seen
        assert not screen.query(MazeGrid)
        await pilot.press("1")
        assert screen.pair is not None and screen.pair.index == 1  # at once, not after the worker
        await eventually(pilot, lambda: "You preferred 1." in shown(app))
        assert "no reward model yet" in shown(app)
        await pilot.press("s")
        await eventually(pilot, lambda: isinstance(app.screen, MarksDialog))
        await pilot.press(*"11", "enter")
        assert isinstance(app.screen, MarksDialog)  # one number is no answer
        await pilot.press(*["backspace"] * 2, *"3", "space", *"8", "enter")
        await eventually(pilot, lambda: len(answers(asking)) == 2)
        await pilot.press("t")
        await eventually(pilot, lambda: screen.snapshot and screen.snapshot.head.step == 2)
        given = answers(asking)
        assert [g.choice for g in given] == ["first", "second", "tie"]
        assert given[1].scores == (3.0, 8.0)
        # The second round: now there is a guess, and it is told only afterwards.
        await eventually(pilot, lambda: len(screen.wanted) == 3)
        await eventually(pilot, lambda: "Pair 1 of 3" in shown(app))
        verdicts = str(screen.query_one("#rating-verdict").render())
        assert "alike" in verdicts and "had expected" not in verdicts
        await pilot.press("2")
        await eventually(pilot, lambda: "had expected" in shown(app))
        assert "made from 3 preferences" in shown(app)
        await pilot.press("less_than_sign")
        await pilot.pause()
        assert screen.pair is not None and screen.given is not None
        await pilot.press("1")  # an answered pair stays answered
        await pilot.pause()
        assert len(answers(asking)) == 4
        await pilot.press("escape", "0")
        await eventually(pilot, lambda: len(answers(asking)) == 5)
        await pilot.press("k")
        await eventually(pilot, lambda: screen.snapshot and screen.snapshot.head.ended)
        assert [g.choice for g in answers(asking)][3:] == ["second", "tie", "skip"]


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_that_is_over_can_be_looked_through(
    ruled: Path, unicode_look: None, size: tuple[int, int]
) -> None:
    app = app_on(ruled)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot)
        seen = shown(app)
        assert "Written in update 4" in seen and "likes most" in seen and "likes least" in seen
        assert "made from" in seen and "number of words" in seen
        await pilot.press("less_than_sign")
        await pilot.pause()
        assert screen.pair is not None and screen.given is not None
        assert "The rule" in shown(app) and "Pair 3 of 3" in shown(app)
        if screen.given.choice in ("first", "second"):
            assert len(screen.query("CompletionCard.-chosen")) == 1
        await pilot.press("greater_than_sign")
        await pilot.pause()
        assert "Written in update 4" in shown(app)
        await pilot.press("1")
        await pilot.pause()
        assert len(answers(ruled)) == 9
        assert not {"rating.first", "run.pause", "run.stop"} & {
            active.binding.id for active in screen.active_bindings.values()
        }
        await pilot.press("m")
        await pilot.pause()
        assert "new pairs" in shown(app)
        await pilot.press("left", "enter")
        await pilot.pause()
        assert screen.pair is not None and screen.given is not None


async def test_hostile_completions_are_only_text(ruled: Path, unicode_look: None) -> None:
    app = app_on(ruled)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        card = screen.query(CompletionCard).first()
        card.show("1", "\x1b[31m[bold]x[/bold]\x07\nsecond line")
        await pilot.pause()
        assert "[bold]x[/bold]" in shown(app) and "\x1b" not in shown(app)
        card.show("1", "  ")
        await pilot.pause()
        assert "ended at once" in shown(app)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("typed", "marks"),
    [("7 4", (7.0, 4.0)), ("7,5 / 10", (7.5, 10.0)), ("7", None), ("7 11", None), ("a b", None),
     ("nan 1", None), ("", None)],
)  # fmt: skip
def test_marks(typed: str, marks: tuple[float, float] | None) -> None:
    assert read_marks(typed) == marks


def preference(**changes: Any) -> Preference:
    made: dict[str, Any] = {
        "step": 3, "index": 0, "choice": "first", "target": 1.0, "guess": 0.72, **changes
    }  # fmt: skip
    return Preference(**made)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (preference(), "You preferred 1. The reward model had expected 1 (72%): right."),
        (preference(guess=0.25), "You preferred 1. The reward model had expected 2 (75%): wrong."),
        (preference(choice="tie", target=0.5), "You found both alike. The reward model had "
         "expected 1 (72%)."),
        (preference(choice="skip", target=float("nan")), "You left the pair out: nothing is learned"
         " from it."),
        (preference(by="rule", choice="second", target=0.0), "The rule preferred 2. The reward "
         "model had expected 1 (72%): wrong."),
        (preference(scores=(7.0, 4.0), target=0.95), "You preferred 1: 7 against 4. The reward "
         "model had expected 1 (72%): right."),
    ],
)  # fmt: skip
def test_verdicts(given: Preference, said: str) -> None:
    assert rating_words.verdict(given) == said


def test_what_is_liked_most_and_least() -> None:
    members = [
        Member(actions=(), states=(), total=total, advantage=0.0, success=False, terminated=True,
               truncated=False, text=str(total))
        for total in (0.5, -1.0, 2.0)
    ]  # fmt: skip
    ends = rating_words.best_and_worst(members)
    assert ends is not None and [end.text for end in ends] == ["2.0", "-1.0"]
    assert rating_words.best_and_worst(members[:1]) is None


def test_shipped_presets_have_no_maze() -> None:
    for name in ("you-are-the-reward", "scripted-reward"):
        preset = presets.load(name)
        assert "[maze]" not in presets.dump(preset)


# ---------------------------------------------------------------- elsewhere


def test_forms_and_facts_speak_of_no_maze() -> None:
    preset = presets.load("scripted-reward")
    form = sections(preset)
    settings = [setting.key for group in form.main.values() for setting in group]
    assert "Preferences" in form.main and "Maze" not in form.main
    assert {"text.pairs", "text.every", "algorithm.kl"} <= set(settings)
    everything = settings + [setting.key for setting in form.advanced]
    assert not [key for key in everything if key.startswith(("maze.", "reward.", "warmup."))]
    draft = Draft(preset)
    assert draft.set("text.pairs", "4") == ""
    changed = draft.preset()
    assert isinstance(changed, LlmPreset) and changed.text is not None
    assert changed.text.pairs == 4
    card = PresetCard("scripted-reward", preset.title, preset.group, preset.summary, preset)
    seen = outlook(preset, solve_too=True)
    facts = {fact.label: fact.text for fact in of_preset(card, seen)}
    assert seen.maze is None and "optimum" not in facts
    assert "a rule prefers the shorter completion" in facts["reward"]
    assert "writes free text" in facts["model"]


def test_the_last_words_of_the_command_line(ruled: Path) -> None:
    with RunReader(ruled) as reader:
        final = reader.final()
    said = summary(ruled, final)
    assert "preferences" in said and "untouched model" in said and "by the rule" in said
    assert "success" not in said and "4 updates" in said
    assert "score" in score_words(final)


def test_terms_have_values_in_such_a_run(ruled: Path) -> None:
    source = SnapshotSource(ruled)
    try:
        snapshot = source.read()
    finally:
        source.close()
    assert snapshot is not None
    told = {slug: current_value(slug, snapshot) for slug in preferences.VALUES}
    assert all(told.values()), told
    assert "9 answers" in str(told["preference"]) and "3 rounds" in str(told["rlhf"])
    assert preferences.VALUES.keys() <= {entry.slug for entry in load()}


def test_what_stands_in_place_of_completions_is_true() -> None:
    nothing_yet = rating_words.nothing_yet
    assert "being loaded, writes, or learns" in nothing_yet(Head(state="running"))
    assert nothing_yet(Head(state="paused")).startswith("Paused")
    assert nothing_yet(Head(state="stopped")) == "Nothing was written."


def test_a_run_that_waits_for_answers_says_so() -> None:
    assert doing(Head(state="running")) == "running"
    assert doing(Head(state="running", waiting=1)).startswith("running, waiting for 1 answer of")
    assert doing(Head(state="stopped", waiting=2)) == "stopped"
    assert stands(Head(state="running", waiting=2)) and not stands(Head(state="running"))
