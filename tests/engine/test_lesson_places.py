"""Lessons keep their place, and what their pages propose can be started."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import presets
from engine.config import shipped
from engine.core.errors import UserError
from engine.experiments.lab import places
from engine.experiments.lab.challenge import lab_folder
from engine.experiments.lab.lesson import load_lesson, parse_lesson
from engine.experiments.lab.lesson_state import LessonState, Place, PlaceAnswer
from engine.experiments.lab.proposals import Proposal, proposals

TEXT = """# Greed
## One
```lesson
ask = "Near or far?"
choices = ["near", "far"]
answer = 2
```
```lesson
wait = {metric = "success_rate", at_least = 0.5}
```
## Two
```lesson
ask = "How much?"
exact = "optimal_return"
tolerance = 0.01
```
- `icemaze train greedy --set algorithm.gamma=0.5 --set 'run.seed=3'`: what then?
- `icemaze train curious`, then `icemaze train --resume x` and `icemaze lab run greed`.
"""
LESSON = parse_lesson(TEXT, "lesson.md", "greed", ("greedy", "curious"))


def test_page_answers_and_predictions_survive_leaving(tmp_path: Path) -> None:
    file = tmp_path / "data" / "lessons.json"
    state = LessonState(LESSON)
    assert not places.restore(state, file)
    state.choose(2)
    state.watch({"greedy": {"success_rate": 0.75}}, set())
    assert state.go_on()
    state.know({("greedy", "optimal_return"): 0.9})
    state.enter(0.1)
    places.keep(state, file)
    again = LessonState(LESSON)
    assert places.restore(again, file) and again.place() == state.place()
    assert again.page_number == 1 and again.wrong == (0.1,)
    assert [answer.given for _, answer in again.predictions] == [2]
    assert file.stat().st_mode & 0o777 == 0o600
    again.begin_anew()
    assert again.place() == Place()


def test_a_changed_lesson_or_a_damaged_file_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "lessons.json"
    state = LessonState(LESSON)
    state.choose(2)
    places.keep(state, file)
    other = parse_lesson(TEXT.replace("far?", "further?"), "l.md", "greed", ("greedy", "curious"))
    assert not places.restore(LessonState(other), file)
    for damaged in (b"", b"\xff", b"{}", b'{"version": 1, "lessons": {"greed": 3}}', b"[" * 9999):
        file.write_bytes(damaged)
        assert not places.restore(LessonState(LESSON), file)
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match="cannot be kept"):
        places.keep(state, file)


@pytest.mark.parametrize(
    "place",
    [
        Place(page=2),
        Place(page=-1),
        Place(answers=[PlaceAnswer(0, 1, 1.0)]),
        Place(answers=[PlaceAnswer(0, 0, 3.0)]),
        Place(answers=[PlaceAnswer(0, 0, 1.5)]),
        Place(answers=[PlaceAnswer(1, 0, float("nan"))]),
        Place(wrong=[(7, 0, [1.0])]),
        Place(met=[(0, 0, 1.0, True)]),
    ],
)
def test_an_impossible_place_changes_nothing(place: Place) -> None:
    state = LessonState(LESSON)
    assert not state.restore(place) and state.place() == Place()


def test_what_a_page_proposes() -> None:
    assert proposals(LESSON.pages[0]) == []
    first, second = proposals(LESSON.pages[1])
    assert (first.preset, first.settings) == ("greedy", ("algorithm.gamma=0.5", "run.seed=3"))
    assert second == Proposal("icemaze train curious", "curious")


def test_every_shipped_proposal_is_a_preset_with_settings_it_has() -> None:
    files = [*lab_folder().glob("*/lesson.md"), *lab_folder().glob("pages/*.md")]
    found = [p for file in files for page in load_lesson(file).pages for p in proposals(page)]
    assert len(found) > len(files)
    for proposal in found:
        assert proposal.preset in shipped.shipped_names(), proposal
        presets.load(proposal.preset, list(proposal.settings))
