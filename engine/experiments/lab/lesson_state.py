"""Where somebody stands in a lesson: which page, what was answered, what is waited for.

Pure logic: figures come in by `watch` and `know`, answers by `choose` and `enter`; nothing here
reads a run or draws. A lesson cannot be finished without answering: `go_on` never answers, and an
answer never goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass

import msgspec

from engine.experiments.lab.lesson import Ask, Lesson, Page, Part, Show, Wait

TRIES = 3
"""Wrong numbers after which the right one is told."""
SLACK = 1e-9
"""What is typed in decimals may miss a bound by this."""
Figures = Mapping[str, Mapping[str, float]]
Position = tuple[int, int]
"""Page and part, both from 0."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a question. `given` is a choice from 1, or a number."""

    given: float
    right: bool | None
    """None for a prediction whose figure is not there yet."""
    truth: float = math.nan
    """The figure, for a question about a number, once it may be told."""
    tries: int = 1
    """How many answers it took."""

    @property
    def told(self) -> bool:
        """Whether it may be said what is right."""
        return self.right is not None


@dataclass(frozen=True, slots=True)
class Met:
    """A wait that is over: at which figure, and whether it passed."""

    value: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of the page that is in sight, and what became of it."""

    part: Part
    answer: Answer | None = None
    met: Met | None = None
    value: float = math.nan
    """Of a figure that is shown."""


class PlaceAnswer(msgspec.Struct, frozen=True):
    """An answer as it is kept; `truth` is None where there is none."""

    page: int
    part: int
    given: float
    right: bool | None = None
    truth: float | None = None
    tries: int = 1


class Place(msgspec.Struct, frozen=True):
    """Where somebody is in a lesson, as plain data. Positions are page and part, both from 0."""

    page: int = 0
    finished: bool = False
    answers: list[PlaceAnswer] = []
    wrong: list[tuple[int, int, list[float]]] = []
    met: list[tuple[int, int, float | None, bool]] = []


class LessonState:
    """One way through a lesson, from its first page to its end."""

    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson
        self.page_number = 0
        """From 0."""
        self.finished = False
        self._answers: dict[Position, Answer] = {}
        self._wrong: dict[Position, list[float]] = {}
        self._met: dict[Position, Met] = {}
        self._figures: Figures = {}
        self._ended: Set[str] = frozenset()
        self._exact: dict[tuple[str, str], float] = {}

    # ------------------------------------------------------------ where one is

    @property
    def page(self) -> Page:
        """The page that is open."""
        return self.lesson.pages[self.page_number]

    @property
    def visible(self) -> tuple[Shown, ...]:
        """The page down to the first question or wait that is still open."""
        shown = []
        for i, part in enumerate(self.page.parts):
            place = (self.page_number, i)
            value = self._value_of(part)
            shown.append(Shown(part, self._answers.get(place), self._met.get(place), value))
            if self._is_open(place, part):
                break
        return tuple(shown)

    @property
    def question(self) -> Ask | None:
        """The question to be answered now."""
        place = self._open_position
        part = self.page.parts[place[1]] if place else None
        return part if isinstance(part, Ask) else None

    @property
    def wait(self) -> Wait | None:
        """The figure that is waited for now."""
        place = self._open_position
        part = self.page.parts[place[1]] if place else None
        return part if isinstance(part, Wait) else None

    @property
    def wrong(self) -> tuple[float, ...]:
        """What was answered to the open question and is not right."""
        place = self._open_position
        return tuple(self._wrong.get(place, ())) if place else ()

    @property
    def last_page(self) -> bool:
        """Whether no page follows."""
        return self.page_number == len(self.lesson.pages) - 1

    @property
    def obstacle(self) -> str:
        """Why one may not go on yet; empty when one may."""
        if self.question is not None:
            return "Answer the question first."
        if self.wait is not None:
            return "Wait until the figure is there."
        return ""

    @property
    def predictions(self) -> tuple[tuple[Ask, Answer], ...]:
        """The predictions made so far, in the order of the pages."""
        return tuple((ask, answer) for ask, answer in self._answered if ask.prediction)

    @property
    def score(self) -> tuple[int, int]:
        """Of the questions that are checked: how many were right at once, how many answered."""
        checked = [answer for ask, answer in self._answered if not ask.prediction]
        return sum(a.right is True and a.tries == 1 for a in checked), len(checked)

    @property
    def _answered(self) -> list[tuple[Ask, Answer]]:
        found = []
        for (page, i), answer in sorted(self._answers.items()):
            part = self.lesson.pages[page].parts[i]
            assert isinstance(part, Ask)
            found.append((part, answer))
        return found

    @property
    def _open_position(self) -> Position | None:
        for i, part in enumerate(self.page.parts):
            if self._is_open((self.page_number, i), part):
                return self.page_number, i
        return None

    def _is_open(self, place: Position, part: Part) -> bool:
        if isinstance(part, Ask):
            return place not in self._answers
        return isinstance(part, Wait) and place not in self._met

    # ------------------------------------------------------------ pages

    def go_on(self) -> bool:
        """To the next page; from the last one, to the end. False when there is an obstacle."""
        if self.obstacle:
            return False
        if self.last_page:
            self.finished = True
        else:
            self.page_number += 1
            self._see_whether_met()
        return True

    def go_back(self) -> bool:
        """To the page before. False on the first."""
        if self.page_number == 0:
            return False
        self.page_number -= 1
        return True

    # ------------------------------------------------------------ leaving and coming back

    def place(self) -> Place:
        """Where one is now."""
        answers = [
            PlaceAnswer(page, i, a.given, a.right, _or_none(a.truth), a.tries)
            for (page, i), a in self._answers.items()
        ]
        wrong = [(page, i, given) for (page, i), given in self._wrong.items() if given]
        met = [(page, i, _or_none(m.value), m.passed) for (page, i), m in self._met.items()]
        return Place(self.page_number, self.finished, answers, wrong, met)

    def restore(self, place: Place) -> bool:
        """Go on at a place. False, and nothing is changed, where this lesson has no such one."""
        answered: list[tuple[Position, tuple[float, ...]]]
        answered = [((a.page, a.part), (a.given,)) for a in place.answers]
        answered += [((page, i), tuple(given)) for page, i, given in place.wrong]
        asked = all(self._can_be_answered(at, given) for at, given in answered)
        waits = all(isinstance(self._part_at(page, i), Wait) for page, i, *_ in place.met)
        if not (asked and waits and 0 <= place.page < len(self.lesson.pages)):
            return False
        self.page_number, self.finished = place.page, place.finished
        self._answers = {
            (a.page, a.part): Answer(a.given, a.right, _or_nan(a.truth), max(a.tries, 1))
            for a in place.answers
        }
        self._wrong = {(page, i): list(given) for page, i, given in place.wrong}
        self._met = {(page, i): Met(_or_nan(value), ok) for page, i, value, ok in place.met}
        return True

    def begin_anew(self) -> None:
        """From the first page, with nothing answered."""
        self.restore(Place())

    def _part_at(self, page: int, part: int) -> Part | None:
        pages = self.lesson.pages
        known = 0 <= page < len(pages) and 0 <= part < len(pages[page].parts)
        return pages[page].parts[part] if known else None

    def _can_be_answered(self, place: Position, given: tuple[float, ...]) -> bool:
        ask = self._part_at(*place)
        if not isinstance(ask, Ask):
            return False
        choices = range(1, len(ask.choices) + 1)
        return all(math.isfinite(one) and (ask.numeric or one in choices) for one in given)

    # ------------------------------------------------------------ figures

    def watch(self, figures: Figures, ended: Set[str]) -> bool:
        """Take the runs' last figures by preset, and which runs have ended.

        Whether something on the page has changed.
        """
        before = self._signs()
        self._figures, self._ended = figures, ended
        self._see_whether_met()
        return before != self._signs()

    def know(self, exact: Mapping[tuple[str, str], float]) -> None:
        """Take figures of the exact solver, by preset and name (see `exact_wanted`)."""
        self._exact.update(exact)

    @property
    def exact_wanted(self) -> tuple[tuple[str, str], ...]:
        """The figures of the exact solver that the lesson asks for, by preset and name."""
        parts = [part for page in self.lesson.pages for part in page.parts]
        exact = [part for part in parts if isinstance(part, Ask | Show) and part.exact]
        return tuple(dict.fromkeys((self.lesson.preset_of(p.run), p.exact) for p in exact))

    def live(self, run: str, metric: str) -> float:
        """The last figure of a run; NaN where there is none."""
        of_run = self._figures.get(self.lesson.preset_of(run)) or self._figures.get(run) or {}
        return of_run.get(metric, math.nan)

    def _ended_run(self, run: str) -> bool:
        return run in self._ended or self.lesson.preset_of(run) in self._ended

    def _value_of(self, part: Part) -> float:
        if isinstance(part, Wait):
            return self.live(part.run, part.metric)
        if not isinstance(part, Ask | Show):
            return math.nan
        if part.metric:
            return self.live(part.run, part.metric)
        return self._exact.get((self.lesson.preset_of(part.run), part.exact), math.nan)

    def _signs(self) -> object:
        """Changes when the page has to be drawn again."""
        shown = [(i, s.value) for i, s in enumerate(self.visible) if isinstance(s.part, Show)]
        return self._open_position, repr(shown), dict(self._answers)

    def _see_whether_met(self) -> None:
        """A wait is over when it is reached and its figure passes, or its run has ended."""
        while (place := self._open_position) and (wait := self.wait):
            value = self.live(wait.run, wait.metric)
            if not (wait.met_by(value) or self._ended_run(wait.run)):
                return
            self._met[place] = Met(value, wait.met_by(value))
            self._reveal(place)

    def _reveal(self, wait: Position) -> None:
        """The predictions above a wait that is over are judged."""
        for i, part in enumerate(self.page.parts[: wait[1]]):
            place = (wait[0], i)
            answer = self._answers.get(place)
            if isinstance(part, Ask) and answer is not None and not answer.told:
                self._answers[place] = self._judged(part, answer.given, answer.tries)

    # ------------------------------------------------------------ answers

    def choose(self, choice: int) -> Answer | None:
        """Answer the open question by one of its choices, from 1. None when it has no such choice,
        or that one was wrong already; an answer that is not right leaves the question open."""
        ask = self.question
        if ask is None or not 1 <= choice <= len(ask.choices) or choice in self.wrong:
            return None
        return self._give(ask, choice)

    def enter(self, number: float) -> Answer | None:
        """Answer the open question by a number. None when it has choices, when the number is none,
        and while the figure is not known that it is compared with."""
        ask = self.question
        if ask is None or not ask.numeric or not math.isfinite(number):
            return None
        if not ask.prediction and math.isnan(self._value_of(ask)):
            return None
        return self._give(ask, number)

    def _give(self, ask: Ask, given: float) -> Answer:
        place = self._open_position
        assert place is not None
        wrong = self._wrong.setdefault(place, [])
        if ask.prediction:
            answer = Answer(given, right=None)  # recorded; judged when the figure is there
        else:
            answer = self._judged(ask, given, len(wrong) + 1)
            if not answer.right:
                wrong.append(given)
                if not ask.numeric or len(wrong) < TRIES:
                    return answer
        self._answers[place] = answer
        self._see_whether_met()
        return self._answers[place]

    def _judged(self, ask: Ask, given: float, tries: int) -> Answer:
        if not ask.numeric:
            return Answer(given, given == ask.answer, tries=tries)
        truth = self._value_of(ask)
        return Answer(given, abs(given - truth) <= ask.tolerance + SLACK, truth, tries)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
