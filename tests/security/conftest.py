"""What tests of shut doors share with the others, and a run that several of them copy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "reliability"), str(TESTS / "tui")]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the example of an algorithm of one's own, to be read only."""
    from hostile_runs import record

    return record(tmp_path_factory.mktemp("recorded"))
