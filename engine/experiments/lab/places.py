"""Where a user is in each lesson: the page, what was answered and predicted, what has come about.

Kept in one small file beside the lab's progress, `lessons.json`, mode 0600. A file or a place that
makes no sense is as good as none: the lesson then begins anew.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec

from engine.core.errors import StorageError
from engine.core.files import replace_file
from engine.experiments.lab import progress
from engine.experiments.lab.lesson import Lesson
from engine.experiments.lab.lesson_state import LessonState, Place

VERSION = 1
LARGEST = 1 << 20
"""Bytes that are read of the file."""


class Kept(msgspec.Struct, frozen=True):
    """A place, and the digest of the lesson it is a place in."""

    digest: str
    place: Place


class Contents(msgspec.Struct, frozen=True):
    """The file."""

    version: int = VERSION
    lessons: dict[str, Kept] = {}


def default_file() -> Path:
    """Where a user's places are kept."""
    return progress.default_file().with_name("lessons.json")


def restore(state: LessonState, file: Path | None = None) -> bool:
    """Go on where the user was in this very lesson, if that is known and still makes sense."""
    kept = _read(file or default_file()).lessons.get(state.lesson.name)
    return kept is not None and kept.digest == digest(state.lesson) and state.restore(kept.place)


def keep(state: LessonState, file: Path | None = None) -> None:
    """Note where the user is. Raises StorageError when that cannot be written."""
    file = file or default_file()
    kept = Kept(digest(state.lesson), state.place())
    lessons = {**_read(file).lessons, state.lesson.name: kept}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, msgspec.json.encode(Contents(lessons=lessons)))
    except OSError as error:
        raise StorageError(
            f"{file}: your place in the lesson cannot be kept ({error.strerror}). Make room or "
            "mend the permissions."
        ) from error


def digest(lesson: Lesson) -> str:
    """Another one for a lesson with other pages."""
    return hashlib.sha256(repr(lesson.pages).encode("utf-8", "replace")).hexdigest()[:16]


def _read(file: Path) -> Contents:
    with contextlib.suppress(OSError, ValueError, RecursionError), file.open("rb") as handle:
        found = msgspec.json.decode(handle.read(LARGEST), type=Contents)
        if found.version == VERSION:
            return found
    return Contents()
