"""A lesson's page as Markdown, and the sentences around it.

What was answered and what has come about stands in the page as a quotation, where the directive
stood in the file.
"""

from __future__ import annotations

import math

from engine.experiments.lab.lesson import Ask, Point, Show, Text, Wait
from engine.experiments.lab.lesson_state import LessonState, Shown
from engine.experiments.lab.proposals import proposals
from tui.glossary.entries import load
from tui.ui import glyphs
from tui.ui.text import clean, number, percent

LETTERS = "abcdefghi"
SHARES = ("success_rate", "share", "rate")
"""Endings of the names of figures that are shares of 1."""
WRITTEN_OUT = 100_000
"""Whole figures of the exact solver below this are written without decimals."""


def page_markdown(state: LessonState) -> str:
    """The open page, down to where it waits for an answer or a figure."""
    pieces = [f"## {state.page.title}"]
    pieces += [text for shown in state.visible if (text := _part(state, shown))]
    return glyphs.plain(clean("\n\n".join(pieces), lines=True))


def _part(state: LessonState, shown: Shown) -> str:
    part = shown.part
    if isinstance(part, Text):
        return part.markdown
    if isinstance(part, Ask):
        return _quoted(*_told(part, shown)) if shown.answer else ""
    if isinstance(part, Wait):
        return _quoted(*_over(state, part, shown)) if shown.met else ""
    if isinstance(part, Show):
        return _quoted(f"{_capital(figure_name(state, part))}: **{_value(part, shown.value)}**")
    return f"*{_look_up(part)}*"


def _look_up(point: Point) -> str:
    try:
        title = load().get(point.point).title
    except KeyError:
        title = point.point
    return f"o explains: {title}"


def _quoted(*lines: str) -> str:
    """A Markdown quotation of one paragraph for each line."""
    return "\n>\n".join(f"> {' '.join(line.split())}" for line in lines if line)


def _told(ask: Ask, shown: Shown) -> list[str]:
    """An answered question: what was answered, and once it may be told, what is right."""
    answer = shown.answer
    assert answer is not None
    if ask.numeric:
        said = number(answer.given, 4)
    else:
        said = f"{LETTERS[int(answer.given) - 1]}, {ask.choices[int(answer.given) - 1]}"
    lines = [f"**{ask.ask}**"]
    if not answer.told:
        return [*lines, f"Your prediction: {said}"]
    label = "Your prediction" if ask.prediction else "Your answer"
    return [*lines, f"{label}: {said}. {_verdict(ask, shown)}", ask.because]


def _verdict(ask: Ask, shown: Shown) -> str:
    answer = shown.answer
    assert answer is not None
    right = ""
    if ask.numeric and math.isfinite(answer.truth):
        truth = answer.truth
        shown_as = f"{truth:.0f}" if ask.exact and _is_count(truth) else number(truth, 4)
        right = f" The figure is {shown_as}."
    if answer.right:
        return f"**Right.**{right}"
    if ask.numeric:
        return f"**Not so.**{right or ' The run has no such figure.'}"
    return f"**Not so:** it is {LETTERS[ask.answer - 1]}, {ask.choices[ask.answer - 1]}."


def _over(state: LessonState, wait: Wait, shown: Shown) -> list[str]:
    """A wait that is over."""
    met = shown.met
    assert met is not None
    name, value = figure_name(state, wait), _value(wait, met.value)
    if met.passed:
        return [f"{_capital(name)} has come to **{value}**."]
    ended = f"The run has ended, and {name} has come only to **{value}**."
    return [wait.otherwise or ended]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def waiting_for(state: LessonState, wait: Wait) -> str:
    """The figure that is waited for, as it is now and as it has to be."""
    bounds = []
    if wait.at_least is not None:
        bounds.append(f"at least {_value(wait, wait.at_least)}")
    if wait.at_most is not None:
        bounds.append(f"at most {_value(wait, wait.at_most)}")
    now = _value(wait, state.live(wait.run, wait.metric))
    name = _capital(figure_name(state, wait))
    return f"{name}: {now} now, waiting for {' and '.join(bounds)}"


def figure_name(state: LessonState, part: Wait | Show | Ask) -> str:
    """A figure in words, with the run it is of."""
    figure = part.metric or (part.exact if isinstance(part, Ask | Show) else "")
    return f"{figure.replace('_', ' ')} of {state.lesson.preset_of(part.run)}"


def _value(part: Wait | Show, value: float) -> str:
    figure = part.metric or (part.exact if isinstance(part, Show) else "")
    if math.isnan(value):
        return "nothing yet"
    if figure.endswith(SHARES):
        return percent(value)
    whole = isinstance(part, Show) and part.exact and _is_count(value)
    return f"{value:.0f}" if whole else number(value)


def _is_count(value: float) -> bool:
    """Whether a figure of the exact solver is whole, and short enough to be written out."""
    return abs(value) < WRITTEN_OUT and value == int(value)


def hint(state: LessonState) -> str:
    """What to do now."""
    question = state.question
    proposed = ["s starts what it proposes."] if proposals(state.page) else []
    if state.finished:
        return " ".join(["The lesson is finished.", *_scores(state), *proposed])
    if question is not None and question.numeric:
        return "Type a number, then Enter."
    if question is not None:
        joint = "or" if len(question.choices) == 2 else "to"
        return f"Press a {joint} {LETTERS[len(question.choices) - 1]}."
    if state.wait is not None:
        return "Space starts and pauses the runs; the page goes on when the figure is there."
    turn = "n finishes the lesson." if state.last_page else "n turns the page."
    return " ".join([turn, *proposed])


def _scores(state: LessonState) -> list[str]:
    """How it went, in a sentence each for what was asked and what was predicted."""
    right, asked = state.score
    told = [f"{right} of {asked} answers were right at once."] if asked else []
    known = [answer for _, answer in state.predictions if answer.right is not None]
    if known:
        true = sum(answer.right is True for answer in known)
        many = f"{true} of {len(known)} predictions came true."
        one = "Your prediction came true." if true else "Your prediction did not come true."
        told.append(one if len(known) == 1 else many)
    return told


def read_number(text: str) -> float | None:
    """A number as people type it: 0.7, .7, 70%, 0,7; None when it is none."""
    words = text.strip().replace(",", ".")
    share = words.endswith("%")
    try:
        value = float(words.removesuffix("%"))
    except ValueError:
        return None
    return (value / 100 if share else value) if math.isfinite(value) else None


def spelled(text: str) -> str:
    """Text of a lesson as the terminal can show it."""
    return glyphs.plain(clean(text))
