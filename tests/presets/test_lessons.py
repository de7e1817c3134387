"""Every shipped lesson: it can be read, is short, and what it names exists."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest

from engine import factory, presets
from engine.config.preset import LlmPreset
from engine.config.shipped import shipped_names
from engine.experiments.lab.challenge import lab_folder
from engine.experiments.lab.exact_figures import NAMES
from engine.experiments.lab.lesson import Point, Wait, load_lesson
from engine.experiments.lab.lesson_state import LessonState
from engine.experiments.lab.model_figures import MEASURED
from engine.learning.events import Evaluation, Update
from tui.glossary.entries import load

LESSONS = sorted([*lab_folder().glob("*/lesson.md"), *lab_folder().glob("pages/*.md")])
WORDS = 120
"""What a page may hold, questions and explanations included."""


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_lesson_is_short_and_names_what_exists(path: Path) -> None:
    lesson = load_lesson(path)
    assert 3 <= len(lesson.pages) <= 7
    assert {page.title: page.words for page in lesson.pages if page.words > WORDS} == {}
    terms = {entry.slug for entry in load()}
    points = [p.point for page in lesson.pages for p in page.parts if isinstance(p, Point)]
    assert [point for point in points if point not in terms] == []
    shipped = shipped_names()
    wanted = LessonState(lesson).exact_wanted
    assert [run for run in (*lesson.runs, *(run for run, _ in wanted)) if run not in shipped] == []
    assert [name for _, name in wanted if name not in NAMES] == []
    asked = [ask.exact for page in lesson.pages for ask in page.asks]
    assert [name for name in asked if name in MEASURED] == [], "without a run it has no answer"
    answers = {ask.answer for page in lesson.pages for ask in page.asks if ask.choices}
    assert len(answers) != 1, "the same answer is right everywhere"


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_lesson_waits_for_is_not_there_from_the_beginning(path: Path) -> None:
    lesson = load_lesson(path)
    waits = [part for page in lesson.pages for part in page.parts if isinstance(part, Wait)]
    for wait in waits:
        run = lesson.preset_of(wait.run)
        if isinstance(presets.load(run), LlmPreset):
            continue
        figures = first_figures(run)
        met = wait.met_by(figures.get(wait.metric, math.nan))
        assert not met, (run, wait, figures.get(wait.metric))


@cache
def first_figures(run: str) -> dict[str, float]:
    """What a run tells before it has learned anything."""
    learner = factory.make_learner(presets.load(run))
    learner.prepare()
    events = [*learner.begin(), *learner.advance(1)]
    update = next(event for event in events if isinstance(event, Update))
    evaluation = next(event for event in events if isinstance(event, Evaluation))
    told = {**update.metrics, **evaluation.figures}
    return {name: figure.mean for name, figure in told.items()}


def test_a_lesson_of_a_challenge_asks_before_it_shows() -> None:
    for path in lab_folder().glob("*/lesson.md"):
        asks = [ask for page in load_lesson(path).pages for ask in page.asks]
        assert any(ask.prediction for ask in asks), path
        assert any(not ask.prediction for ask in asks), path
