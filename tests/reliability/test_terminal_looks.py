"""What reaches terminals with few colours: their own 16 or none, and bars in place of shades."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import ESCAPES, Terminal

# isort: split
from trainer_tools import record

pytestmark = pytest.mark.slow

STYLE = re.compile(rb"\x1b\[([0-9;]*)m([^\x1b]*)")
OPEN = """
import os, sys
os.environ.update(TERM={term!r}, LC_ALL="C.UTF-8")
for name in ("COLORTERM", "ICEMAZE_ASCII", "NO_COLOR"):
    os.environ.pop(name, None)
sys.argv = ["icemaze", "open"]
from tui.start import main
main()
"""
COLOURS = {*range(30, 38), *range(40, 48), *range(90, 98), *range(100, 108)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("runs")).parent


def styled(written: bytes) -> Iterator[tuple[set[int], bytes]]:
    """The codes before each text, and the text."""
    for codes, text in STYLE.findall(written):
        yield {int(code or 0) for code in codes.split(b";")}, text


@pytest.mark.parametrize("term", ["xterm", "linux"])
def test_the_values_of_a_maze_on_a_terminal_with_few_colours(runs: Path, term: str) -> None:
    with Terminal(runs, program=OPEN.format(term=term)) as terminal:
        terminal.until("Trajectory log")
        terminal.until("600/600")
        since = len(terminal.written)
        terminal.press(b"2")
        terminal.until("state value")
        terminal.read(0.5)
        maze = terminal.written[since:]
    used = set().union(*(codes for codes, _ in styled(terminal.written)))
    assert not used & {38, 48}, "colours that this terminal does not have"
    bars = {len(text) for codes, text in styled(maze) if 7 in codes and text.strip() == b""}
    assert len(bars) >= 3, "bars are as different as the values"
    if term == "xterm":
        assert used & COLOURS
    else:
        assert not used & COLOURS
        assert ESCAPES.sub(b"", terminal.written).isascii()
