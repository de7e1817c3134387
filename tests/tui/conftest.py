"""Runs that several tests only read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainer_tools import LEARNING, ON_POLICY, PLANNING, record

from tui.widgets import glyphs

TEXTS = {"learning": LEARNING, "on-policy": ON_POLICY, "planning": PLANNING}


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
