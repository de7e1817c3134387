"""A lesson as plain text, for reading without the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.experiments.lab.lesson import Ask, Lesson, Part, Show, Wait


def lesson_text(lesson: Lesson) -> str:
    """The pages from top to bottom; what the questions' answers are stands at the end."""
    blocks, answers = [], []
    for number, page in enumerate(lesson.pages, start=1):
        blocks.append(f"## {number}. {page.title}")
        for part in page.parts:
            blocks.append(_words(part, lesson))
        answers += [f"Page {number}: {_answer(ask, lesson)}" for ask in page.asks]
    if answers:
        blocks += ["## Answers", *answers]
    return "\n\n".join(blocks)


def _words(part: Part, lesson: Lesson) -> str:
    # start-up time
    from engine.experiments.lab.lesson import Ask, Point, Show, Text, Wait

    match part:
        case Text(markdown=text):
            return text
        case Wait():
            return f"[Wait until {_wait(part, lesson)}]"
        case Ask():
            choices = [f"  {i}. {choice}" for i, choice in enumerate(part.choices, start=1)]
            return "\n".join([f"? {part.ask}", *choices])
        case Show():
            return f"[Look at {_which(part, lesson)}]"
        case Point():
            return f'[Term: {part.point}; `icemaze glossary "{part.point}"` explains it]'


def _wait(wait: Wait, lesson: Lesson) -> str:
    words = (("at least", wait.at_least), ("at most", wait.at_most))
    wanted = " and ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)
    return f"{_of(wait.metric, wait.run, lesson)} is {wanted}"


def _which(figure: Show | Ask, lesson: Lesson) -> str:
    return _of(figure.metric or figure.exact, figure.run, lesson)


def _of(name: str, run: str, lesson: Lesson) -> str:
    preset = lesson.preset_of(run)
    return f"{name} of {preset}" if preset else name


def _answer(ask: Ask, lesson: Lesson) -> str:
    if ask.numeric:
        right = f"{_which(ask, lesson)}, as the app computes it."
    else:
        right = f"{ask.answer}. {ask.choices[ask.answer - 1]}."
    return f"{right} {ask.because}".strip()
