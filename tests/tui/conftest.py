"""Runs that several tests only read."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import textual.app
from patience import DEADLINE, all_done
from textual._wait import wait_for_idle
from textual.notifications import Notification
from textual.pilot import Pilot
from trainer_tools import LEARNING, ON_POLICY, PLANNING, record

from engine.experiments.lab import places
from tui.ui import glyphs

Wait = Callable[..., Awaitable[Any]]
TEXTS = {"learning": LEARNING, "on-policy": ON_POLICY, "planning": PLANNING}


def _and_all_done(wait: Wait) -> Wait:
    async def patient(*args: Any, **how: Any) -> Any:
        result = await wait(*args, **how)
        await all_done()
        return result

    return patient


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine changes nothing about what a test sees.

    Textual takes a process that uses no CPU for one that has nothing left to do; it may just as
    well have been kept from running. And notifications would be forgotten after some seconds.
    """
    for name in ("press", "click", "pause", "resize_terminal"):
        monkeypatch.setattr(Pilot, name, _and_all_done(getattr(Pilot, name)))
    monkeypatch.setattr(textual.app, "wait_for_idle", _and_all_done(wait_for_idle))  # between keys
    monkeypatch.setattr(Notification, "time_left", DEADLINE)


@pytest.fixture(autouse=True)
def no_lesson_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own places in lessons are neither read nor written."""
    monkeypatch.setattr(places, "default_file", lambda: tmp_path / "lessons.json")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs, made once."""
    folder = tmp_path_factory.mktemp("recordings")
    return {name: record(folder, text, name) for name, text in TEXTS.items()}


@pytest.fixture
def recording(recordings: dict[str, Path], tmp_path: Path) -> Path:
    """A finished Q-learning run that a test may do anything to."""
    copy = tmp_path / "runs" / recordings["learning"].name
    shutil.copytree(recordings["learning"], copy)
    return copy


@pytest.fixture
def unicode_look() -> Iterator[None]:
    """Unicode, whatever the terminal of the tests can show."""
    glyphs.choose(False)
    yield
    glyphs.choose(None)


@pytest.fixture
def ascii_look() -> Iterator[None]:
    """ASCII only."""
    glyphs.choose(True)
    yield
    glyphs.choose(None)
