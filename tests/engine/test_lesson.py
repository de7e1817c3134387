"""Lessons: how they are read, what is said of mistakes, and the way through one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.config import shipped
from engine.core.errors import UserError
from engine.experiments.lab.exact_figures import NAMES, exact_figures
from engine.experiments.lab.lesson import (
    Ask,
    Lesson,
    Point,
    Show,
    Text,
    Wait,
    load_lesson,
    parse_lesson,
)
from engine.experiments.lab.lesson_state import TRIES, LessonState
from engine.experiments.lab.model_figures import MEASURED
from engine.experiments.lab.model_figures import NAMES as OF_MODELS

RUNS = ("greedy", "curious")
CHOICE = """
```lesson
ask = "Near or far?"
choices = ["near", "far"]
answer = 2
because = "It pays more."
```
"""
NUMBER = """
```lesson
ask = "What is the best return?"
exact = "optimal_return"
tolerance = 0.02
```
"""
WAIT = """
```lesson
wait = {run = "curious", metric = "success_rate", at_least = 0.9}
```
"""


def lesson(*pages: str) -> Lesson:
    """A lesson of these pages, each a body below a heading."""
    text = "\n".join(f"## Page {i}\n{page}" for i, page in enumerate(pages, start=1))
    return parse_lesson(text, "lesson.md", "demo", RUNS)


def state(*pages: str) -> LessonState:
    return LessonState(lesson(*pages))


def shown(at: LessonState) -> list[str]:
    """The kinds of the parts in sight, texts as they are."""
    return [p.markdown if isinstance(p, Text) else type(p).__name__ for p in parts(at)]


def parts(at: LessonState) -> list[object]:
    return [shown.part for shown in at.visible]


# ---------------------------------------------------------------- reading


def test_a_page_is_its_parts_from_top_to_bottom() -> None:
    body = f"""
Look at *this*.

```python
x = 1
## not a heading
```
{CHOICE}
Then this.

```lesson
point = "epsilon"
```
```lesson
show = {{metric = "episodes"}}
```
{WAIT}"""
    read = parse_lesson(f"# Greed\n\n## One\n{body}", "lesson.md", "demo", RUNS)
    assert (read.name, read.title, read.failing, read.runs) == ("demo", "Greed", "greedy", RUNS)
    (page,) = read.pages
    assert page.title == "One"
    text, ask, then, point, show, wait = page.parts
    assert isinstance(text, Text) and "## not a heading\n```" in text.markdown
    assert ask == Ask(
        ask="Near or far?", choices=("near", "far"), answer=2, because="It pays more.",
        prediction=True,
    )  # fmt: skip
    assert then == Text("Then this.")
    assert point == Point(point="epsilon")
    assert show == Show(metric="episodes")
    assert wait == Wait(run="curious", metric="success_rate", at_least=0.9)
    assert page.words == 3 + 9 + 2 + 8  # Look…, the block of code, Then…, the question


def test_a_question_is_a_prediction_only_with_a_wait_below_it() -> None:
    first, second = lesson(WAIT + CHOICE, CHOICE + WAIT).pages
    assert [ask.prediction for ask in (*first.asks, *second.asks)] == [False, True]


def test_what_to_say_of_a_run_that_ended_may_stand_in_or_below_the_wait() -> None:
    block = '```lesson\nwait = {{metric = "x", at_most = 1{}}}\n{}\n```\n'
    inside = block.format(', otherwise = "it ended"', "")
    below = block.format("", 'otherwise = "it ended"')
    for text in (inside, below):
        (page,) = lesson(text + CHOICE).pages
        assert page.parts[0] == Wait(metric="x", at_most=1, otherwise="it ended")


def test_failing_is_what_the_challenge_beside_the_lesson_says(tmp_path: Path) -> None:
    file = tmp_path / "greed" / "lesson.md"
    file.parent.mkdir()
    file.write_text(f"## One\n{NUMBER}", "utf-8")
    (file.parent / "challenge.toml").write_text('failing = "a"\nremedies = ["b", "c"]', "utf-8")
    read = load_lesson(file)
    assert (read.name, read.title, read.failing, read.runs) == ("greed", "greed", "a", tuple("abc"))
    assert LessonState(read).exact_wanted == (("a", "optimal_return"),)


def test_a_page_of_its_own_names_the_runs_it_starts(tmp_path: Path) -> None:
    file = tmp_path / "why-harder.md"
    start = '```lesson\nstart = ["curious", "greedy"]\n```\n'
    file.write_text(f"## One\n{start}{WAIT}{CHOICE}", "utf-8")
    read = load_lesson(file)
    assert (read.name, read.failing, read.runs) == ("why-harder", "", ("curious", "greedy"))


def test_words_below_the_title_open_the_first_page(tmp_path: Path) -> None:
    read = parse_lesson(f"# Title\nFirst this.\n## One\nThen that.{CHOICE}", "x", "x")
    (page,) = read.pages
    assert page.parts[:2] == (Text("First this."), Text("Then that."))


def test_a_question_may_start_runs() -> None:
    block = CHOICE.replace("ask =", 'start = ["new", "other"]\nask =')
    read = lesson(block)
    assert read.runs == ("new", "other")
    assert [ask.answer for ask in read.pages[0].asks] == [2]


def test_a_block_may_hold_several_directives_in_their_order() -> None:
    wait = 'wait = {metric = "x", at_least = 1}\notherwise = "it ended"\n'
    (page,) = lesson(CHOICE.replace("ask =", f'{wait}point = "epsilon"\nask =')).pages
    assert [type(part) for part in page.parts] == [Wait, Point, Ask]
    assert page.parts[0] == Wait(metric="x", at_least=1, otherwise="it ended")


MISTAKES = {
    "no heading": ("words\n## One\n" + CHOICE, "line 1: this is on no page"),
    "question on no page": ("# Title\n" + CHOICE + "## One\nwords", "line 1: this is on no page"),
    "title below": ("## One\n" + CHOICE + "# Title\nwords", "this is on no page"),
    "no page": ("# Title\n", "line 1: there is no page"),
    "no question": ("## One\nwords\n" + WAIT, "the lesson asks nothing"),
    "empty page": ("## One\n\n## Two\n" + CHOICE, "line 1: the page 'One' is empty"),
    "empty heading": ("## \nwords\n" + CHOICE, "line 1: the heading is empty"),
    "open block": ("## One\n```lesson\nask = 1\n", "line 2: the block is not closed"),
    "toml": ("## One\n```lesson\nask = \n```\n", "line 2: not valid TOML"),
    "kind": (
        '## One\n```lesson\naks = "x"\n```\n',
        "found aks; expected at least one of ask, wait",
    ),
    "nearest": ('## One\n```lesson\naks = "x"\n```\n', "Did you mean 'ask'?"),
    "key": (CHOICE.replace("because", "why"), "ask: Object contains unknown field `why`"),
    "type": (CHOICE.replace("= 2", '= "2"'), "Expected `int`, got `str`"),
    "answer": (CHOICE.replace("= 2", "= 3"), "answer = 3; expected the number of the right choice"),
    "one choice": (CHOICE.replace(', "far"', "").replace("= 2", "= 1"), "expected 2 to 9"),
    "prediction": (CHOICE.replace("because =", "prediction = true #"), "prediction is not a key"),
    "no truth": ('```lesson\nask = "x"\n```\n', "expected choices with answer, or exact"),
    "both": (CHOICE.replace("because =", 'metric = "y" #'), "either choices, or exact, or metric"),
    "bound": (WAIT.replace(", at_least = 0.9", "") + CHOICE, "expected at_least or at_most"),
    "run": (WAIT.replace("curious", "curios") + CHOICE, "run = 'curios' is not among the runs"),
    "show": ("```lesson\nshow = {}\n```\n" + CHOICE, "show: expected either metric or exact"),
    "many": ('```lesson\nstart = ["a","b","c","d","e"]\n```\n' + CHOICE, "expected at most 4"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(mistake: str) -> None:
    text, message = MISTAKES[mistake]
    text = text if text.startswith(("#", "words")) else "## One\n" + text
    with pytest.raises(UserError) as error:
        parse_lesson(text, "lesson.md", "demo", RUNS)
    assert str(error.value).startswith("lesson.md, line ")
    assert message in str(error.value)


def test_without_a_challenge_nothing_is_the_failing_run() -> None:
    with pytest.raises(UserError, match="expected the name of a preset"):
        parse_lesson(f"## One\n{NUMBER}", "page.md", "page")


def test_a_lesson_that_is_not_there_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_lesson(tmp_path / "lesson.md")
    (tmp_path / "lesson.md").write_bytes(b"## \xff")
    with pytest.raises(UserError, match="UTF-8"):
        load_lesson(tmp_path / "lesson.md")


# ---------------------------------------------------------------- the way through


def test_the_page_goes_no_further_than_its_open_question() -> None:
    at = state(f"Before.{CHOICE}After.", "End.")
    assert shown(at) == ["Before.", "Ask"]
    assert (at.obstacle, at.go_on()) == ("Answer the question first.", False)
    answer = at.choose(2)
    assert answer is not None and answer.right
    assert shown(at) == ["Before.", "Ask", "After."]
    assert at.obstacle == "" and at.go_on() and at.page_number == 1
    assert at.last_page and not at.finished
    assert at.go_on() and at.finished
    assert at.score == (1, 1)


def test_a_wrong_choice_leaves_the_question_open_and_cannot_be_given_again() -> None:
    at = state(CHOICE)
    answer = at.choose(1)
    assert answer is not None and answer.right is False
    assert at.question is not None and at.wrong == (1,)
    assert at.choose(1) is None and at.choose(3) is None and at.choose(0) is None
    answer = at.choose(2)
    assert answer is not None and (answer.right, answer.tries) == (True, 2)
    assert at.question is None and at.score == (0, 1)


@pytest.mark.parametrize("presses", ["next", "choose 1", "choose 2", "enter 0"])
def test_no_single_key_leads_to_the_end(presses: str) -> None:
    at = state(CHOICE, CHOICE.replace("= 2", "= 1") + WAIT, NUMBER, "End.")
    at.watch({"curious": {"success_rate": 1.0}}, {"curious"})
    at.know({("greedy", "optimal_return"): 0.5})
    for _ in range(100):
        kind, _, number = presses.partition(" ")
        if kind == "next":
            at.go_on()
        elif kind == "choose":
            at.choose(int(number))
        else:
            at.enter(float(number))
    assert not at.finished
    assert at.page_number == 0


def test_a_wait_opens_only_when_its_figure_passes_and_then_stays_open() -> None:
    at = state(f"Before.{WAIT}After.{CHOICE}")
    assert shown(at) == ["Before.", "Wait"]
    assert math.isnan(at.live("curious", "success_rate"))
    for value in (math.nan, 0.0, 0.89):
        assert not at.watch({"curious": {"success_rate": value}}, set())
        assert at.wait is not None and at.obstacle == "Wait until the figure is there."
    assert at.live("curious", "success_rate") == 0.89
    assert not at.watch({"greedy": {"success_rate": 1.0}}, {"greedy"})  # another run
    assert at.watch({"curious": {"success_rate": 0.9}}, set())
    assert shown(at) == ["Before.", "Wait", "After.", "Ask"]
    assert at.visible[1].met is not None and at.visible[1].met.passed
    at.watch({"curious": {"success_rate": 0.1}}, set())
    assert at.wait is None


def test_a_run_that_ended_without_passing_is_no_longer_waited_for() -> None:
    at = state(WAIT + CHOICE)
    assert at.watch({"curious": {"success_rate": 0.5}}, {"curious"})
    met = at.visible[0].met
    assert met is not None and (met.value, met.passed) == (0.5, False)


def test_both_bounds_must_hold() -> None:
    wait = Wait(metric="x", at_least=0.2, at_most=0.4)
    assert [wait.met_by(v) for v in (0.1, 0.2, 0.4, 0.5, math.nan)] == [False, True, True] + [
        False
    ] * 2


def test_the_failing_run_goes_by_either_name() -> None:
    waits = WAIT.replace('run = "curious", ', "")
    for name in ("failing", "greedy"):
        at = state(waits + CHOICE)
        assert at.watch({name: {"success_rate": 0.95}}, set())
        at = state(waits + CHOICE)
        assert at.watch({}, {name})


def test_a_prediction_is_kept_before_it_is_judged() -> None:
    at = state(f"{CHOICE}{WAIT}Revealed.")
    at.watch({"curious": {"success_rate": 1.0}}, set())  # the figure alone opens nothing
    assert shown(at) == ["Ask"] and at.predictions == ()
    at = state(f"{CHOICE}{WAIT}Revealed.")
    answer = at.choose(1)
    assert answer is not None and not answer.told
    assert shown(at) == ["Ask", "Wait"]
    ((ask, kept),) = at.predictions
    assert (ask.ask, kept.given, kept.right) == ("Near or far?", 1, None)
    assert at.watch({"curious": {"success_rate": 1.0}}, set())
    ((_, judged),) = at.predictions
    assert (judged.given, judged.right) == (1, False)  # wrong, and one may go on all the same
    assert shown(at) == ["Ask", "Wait", "Revealed."]
    assert at.obstacle == "" and at.score == (0, 0)


def test_a_number_is_checked_against_the_exact_figure() -> None:
    at = state(NUMBER)
    assert at.exact_wanted == (("greedy", "optimal_return"),)
    assert at.enter(0.5) is None  # the solver is not done
    at.know({("greedy", "optimal_return"): 0.5})
    assert at.enter(math.nan) is None and at.enter(math.inf) is None
    assert at.choose(1) is None
    answer = at.enter(0.53)
    assert answer is not None and answer.right is False and at.question is not None
    answer = at.enter(0.52)
    assert answer is not None and (answer.right, answer.truth, answer.tries) == (True, 0.5, 2)
    assert at.question is None


def test_after_some_wrong_numbers_the_right_one_is_told() -> None:
    at = state(NUMBER)
    at.know({("greedy", "optimal_return"): 0.5})
    for i in range(TRIES):
        assert at.question is not None
        answer = at.enter(float(i + 1))
    assert answer is not None and (answer.right, answer.truth) == (False, 0.5)
    assert at.question is None and at.score == (0, 1)


def test_a_predicted_live_figure_is_judged_by_what_came() -> None:
    ask = NUMBER.replace("exact", "run = 'curious'\nmetric").replace("optimal_return", "falls")
    at = state(ask + WAIT)
    answer = at.enter(3.0)  # there is no figure yet: that is what makes it a prediction
    assert answer is not None and not answer.told
    at.watch({"curious": {"success_rate": 0.9, "falls": 3.01}}, set())
    ((_, judged),) = at.predictions
    assert (judged.right, judged.truth) == (True, 3.01)


def test_one_may_read_back_without_answering_again() -> None:
    at = state(CHOICE, "End.")
    assert not at.go_back()
    at.choose(2)
    at.go_on()
    assert at.go_back() and at.page_number == 0
    assert at.question is None and at.go_on() and at.page_number == 1


def test_a_figure_that_is_shown_is_that_of_now() -> None:
    at = state('```lesson\nshow = {run = "curious", metric = "falls"}\n```\n' + CHOICE)
    assert math.isnan(at.visible[0].value)
    assert at.watch({"curious": {"falls": 2.0}}, set())
    assert at.visible[0].value == 2.0
    assert not at.watch({"curious": {"falls": 2.0}}, set())
    assert at.watch({"curious": {"falls": 3.0}}, set())


# ---------------------------------------------------------------- the exact solver

LAKE = """
title = "Lake"
[maze]
map = "S.G"
max_steps = 10
rewards = {goal = 1.0, step = -0.1}
[algorithm]
name = "q-learning"
gamma = 0.5
[budget]
episodes = 1
"""


@pytest.mark.slow
def test_exact_figures_are_those_of_the_solver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lake.toml").write_text(LAKE, "utf-8")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    of_mazes = [name for name in NAMES if name not in {**OF_MODELS, **MEASURED}]
    found = {
        name: value
        for (_, name), value in exact_figures(("lake", name) for name in of_mazes).items()
    }
    assert found["optimal_return"] == pytest.approx(-0.1 + 0.5 * 0.9)
    assert found["optimal_value"] == pytest.approx(0.35)
    assert found["optimal_score"] == pytest.approx(0.8)
    assert (found["optimal_success_rate"], found["optimal_length"]) == (1.0, 2.0)
    assert 0 < found["random_success_rate"] < 1
    assert found["random_return"] < found["optimal_return"] <= found["horizon_optimum"] + 1e-12
    assert (found["states"], found["observations"], found["table_size"]) == (3, 3, 12)
    with pytest.raises(UserError, match="Did you mean 'optimal_return'"):
        exact_figures([("lake", "optimal_retrun")])
