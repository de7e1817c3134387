"""What is typed to find a run, and the small files that lists and lessons keep: anything may be in
them. It is understood, or refused in one sentence; it costs little, and nothing else happens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.errors import UserError
from engine.experiments.lab import places
from engine.experiments.lab.lesson import parse_lesson
from engine.experiments.lab.lesson_state import LessonState, Place
from engine.runs.lists import filters, labels

VALUES: dict[str, filters.Value] = {
    "id": "20260101-000000-a-aa", "name": "a*b", "title": "x" * 300, "algorithm": "grpo",
    "state": "running", "pinned": True, "success": 0.5, "algorithm.learning_rate": 1e-4,
    "maze.kind": "odd", "run.kind": 3.0, "maze.on": False,
}  # fmt: skip
KNOWN = filters.known_fields([VALUES])
FIELDS = st.sampled_from([*KNOWN, *filters.ALIASES, "kind", "Success", "zzz", "", "-", "*", "."])
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "==", "<>", "!", " > ", ""])
GIVEN = st.one_of(
    st.sampled_from(["1e-4", "90%", "2k", "nan", "inf", "1e999", "-", ",", "a,,b", '"', "yes"]),
    st.text(max_size=12),
    st.integers(1, 120).map(lambda n: "*a" * n),
)
TERMS = st.builds(lambda *parts: "".join(parts), FIELDS, OPERATORS, GIVEN)
EXPRESSIONS = st.one_of(
    st.lists(TERMS, max_size=5).map(" ".join),
    st.text(max_size=80),
    st.integers(400, 4000).map(lambda n: "*" * n),
)
SMALL_LESSON = """# L
## P
```lesson
ask = "Q?"
choices = ["a", "b"]
answer = 1
```
"""


def examples(most: int) -> Any:
    return settings(
        max_examples=most, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@examples(400)
@given(EXPRESSIONS)
def test_any_filter_is_understood_or_refused(text: str) -> None:
    began = time.process_time()
    try:
        found = filters.parse(text, KNOWN)
    except UserError as error:
        said = str(error)
        assert said.isprintable() and 10 < len(said) < 400, ascii(said)
    else:
        words = filters.words_of(*map(str, VALUES.values()))
        assert found.fits(words, VALUES) in (True, False)
        assert found.fits("", {}) in (True, False)
    assert time.process_time() - began < 1.0


def test_a_pattern_full_of_stars_takes_no_time() -> None:
    began = time.process_time()
    found = filters.parse(f"title={'*x' * 200}*y", KNOWN)
    assert not found.fits("", VALUES)
    assert time.process_time() - began < 0.5


@examples(100)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=99).map(str.encode)))
def test_any_label_and_any_place_is_read(tmp_path_factory: Any, data: bytes) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "label"
    folder.mkdir(exist_ok=True)
    (folder / labels.FILE).write_bytes(data)
    assert isinstance(labels.read(folder), labels.Label)
    (folder / "lessons.json").write_bytes(data)
    state = LessonState(parse_lesson(SMALL_LESSON, "l.md", "l", ()))
    assert not places.restore(state, folder / "lessons.json") and state.place() == Place()


def test_a_label_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "else.json").write_text('{"title": "stolen"}')
    (tmp_path / labels.FILE).symlink_to(tmp_path / "else.json")
    assert labels.read(tmp_path) == labels.Label()
