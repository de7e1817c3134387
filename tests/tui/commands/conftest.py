"""The tests of commands share the tools of the tests of the interface, a folder up, and the small
lab of the tests of the engine."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path += [str(TESTS / "tui"), str(TESTS / "engine" / "lab")]
