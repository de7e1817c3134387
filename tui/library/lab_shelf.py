"""What the Lab lists, as read from disk: the challenges, further pages, further experiments.

Nothing here knows a widget. The engine is imported inside the functions, as in `shelf`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tui.library.shelf import PresetCard, RunCard
from tui.ui.text import clean

if TYPE_CHECKING:
    from engine.experiments.lab.challenge import Challenge
    from engine.experiments.lab.lesson import Lesson

Kind = Literal["challenge", "page", "preset"]
PAGES = "pages"
"""The folder of lessons that belong to no challenge."""


@dataclass(frozen=True, slots=True)
class LabCard:
    """A row of the Lab. All texts are clean. `error` says why it cannot be opened."""

    kind: Kind
    name: str
    title: str
    question: str = ""
    number: int = 0
    presets: tuple[PresetCard, ...] = ()
    """What it runs; of a challenge the failing one first."""
    challenge: Challenge | None = None
    lesson: Lesson | None = None
    error: str = ""
    lesson_error: str = ""

    @property
    def id(self) -> str:
        """Unlike that of any other row."""
        return f"{self.kind}:{self.name}"


def read_lab(presets: Mapping[str, PresetCard]) -> list[LabCard]:
    """The challenges by number, the pages, and the presets of the group that belong to neither.

    A broken one is listed with its error. `presets` are all shipped ones by name.
    """
    # start-up time
    from engine.experiments.lab.challenge import challenge_names, lab_folder

    challenges = [_challenge(name, presets) for name in challenge_names()]
    challenges.sort(key=lambda card: (bool(card.error), card.number))
    pages = [_page(path, presets) for path in sorted(lab_folder().glob(f"{PAGES}/*.md"))]
    used = {preset.name for card in (*challenges, *pages) for preset in card.presets}
    others = [card for card in presets.values() if card.group == "challenge"]
    further = [
        LabCard("preset", card.name, card.title, presets=(card,))
        for card in others
        if card.name not in used
    ]
    return [*challenges, *pages, *further]


def _challenge(name: str, presets: Mapping[str, PresetCard]) -> LabCard:
    # start-up time
    from engine.core.errors import UserError
    from engine.experiments.lab.challenge import load_challenge

    shown = clean(name)
    try:
        challenge = load_challenge(name)
    except UserError as error:
        return LabCard("challenge", shown, shown, error=clean(str(error)))
    lesson, problem = _lesson(challenge.lesson) if challenge.lesson.is_file() else (None, "")
    runs = lesson.runs if lesson else challenge.presets
    return LabCard(
        "challenge",
        shown,
        clean(challenge.title),
        clean(challenge.question),
        challenge.number,
        tuple(presets[name] for name in runs if name in presets),
        challenge,
        lesson,
        lesson_error=problem,
    )


def _page(path: Path, presets: Mapping[str, PresetCard]) -> LabCard:
    lesson, problem = _lesson(path)
    name = clean(path.stem)
    if lesson is None:
        return LabCard("page", name, name, error=problem)
    missing = [run for run in lesson.runs if run not in presets]
    if missing:
        problem = clean(f"{path.name}: start: there is no preset named {missing[0]!r}.")
    runs = tuple(presets[run] for run in lesson.runs if run in presets)
    title = clean(lesson.title)
    return LabCard("page", name, title, presets=runs, lesson=lesson, error=problem)


def _lesson(path: Path) -> tuple[Lesson | None, str]:
    """A lesson, or why it cannot be read."""
    # start-up time
    from engine.core.errors import UserError
    from engine.experiments.lab.lesson import load_lesson

    try:
        return load_lesson(path), ""
    except UserError as error:
        return None, clean(str(error))


def earlier_runs(card: LabCard, runs: Sequence[RunCard]) -> list[RunCard]:
    """The newest readable run of each of its presets; none unless there is one of each.

    `runs` are all runs, newest first.
    """
    newest: dict[str, RunCard] = {}
    for run in runs:
        if run.summary.state not in ("broken", "failed"):
            newest.setdefault(run.summary.preset_name, run)
    names = [preset.name for preset in card.presets]
    return [newest[name] for name in names] if all(name in newest for name in names) else []
