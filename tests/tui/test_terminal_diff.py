"""What is sent to the terminal: as little as possible, and the same picture."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

import pytest
from rich.cells import get_character_cell_size
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tui.ui.terminal_diff import DiffUpdate, TerminalDiff

WIDTH, HEIGHT = 24, 6
STYLES = [
    None,
    Style(),
    Style.parse("bold #ff0000 on #101010"),
    Style.parse("#ff0000 on #101010"),
    Style.parse("#00ff00 on #101010"),
    Style.parse("reverse underline"),
    Style.parse("dim bright_red on blue"),
    Style.parse("color(100) on bright_black"),
    Style.parse("default on default"),
    Style.parse("strike link https://example.org"),
]
TOKEN = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|\x1b\]8;[^\x1b]*;([^\x1b;]*)\x1b\\|(.)", re.DOTALL)


class Cell(NamedTuple):
    text: str = " "
    attributes: frozenset[int] = frozenset()
    front: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    link: str = ""


class Terminal:
    """The least of a terminal: places, colours, links and characters of any width."""

    def __init__(self) -> None:
        self.cells = [[Cell() for _ in range(WIDTH)] for _ in range(HEIGHT)]
        self.x = self.y = 0
        self.pen = Cell()

    def feed(self, data: str) -> None:
        for match in TOKEN.finditer(data):
            numbers, letter, link, text = match.groups()
            if letter == "H":
                self.y, self.x = (int(n) - 1 for n in numbers.split(";"))
            elif letter == "C":
                assert self.x < WIDTH, "after the last column terminals differ"
                self.x += int(numbers)
            elif letter == "m":
                self._sgr([int(n) for n in (numbers or "0").split(";")])
            elif link is not None:
                self.pen = self.pen._replace(link=link)
            elif text == "\n":
                pass
            else:
                self._put(text)

    def _put(self, text: str) -> None:
        size = get_character_cell_size(text)
        line = self.cells[self.y]
        if size == 0:
            x = self.x - 1 if line[self.x - 1].text else self.x - 2
            line[x] = line[x]._replace(text=line[x].text + text)
            return
        line[self.x] = self.pen._replace(text=text)
        if size == 2:
            line[self.x + 1] = self.pen._replace(text="")
        self.x += size

    def _sgr(self, codes: list[int]) -> None:
        while codes:
            code = codes.pop(0)
            pen = self.pen
            if code == 0:
                pen = Cell(link=pen.link)
            elif code in (38, 48):
                count = 4 if codes[0] == 2 else 2
                colour, codes = (code, *codes[:count]), codes[count:]
                pen = pen._replace(front=colour) if code == 38 else pen._replace(behind=colour)
            elif code in (39, 49):
                pen = pen._replace(front=()) if code == 39 else pen._replace(behind=())
            elif 30 <= code < 38 or 90 <= code < 98:
                pen = pen._replace(front=(code,))
            elif 40 <= code < 48 or 100 <= code < 108:
                pen = pen._replace(behind=(code,))
            else:
                pen = pen._replace(attributes=pen.attributes | {code})
            self.pen = pen


def random_strip(rng: random.Random, width: int) -> Strip:
    """Pieces of text in all kinds of style; now and then characters that are not one cell wide."""
    alphabet = "ab │▄" if rng.random() < 0.8 else "a氷e\u0301 "
    segments: list[Segment] = []
    left = width
    while left:
        text = "".join(rng.choice(alphabet) for _ in range(rng.randint(1, left)))
        strip = Strip([Segment(text.lstrip("\u0301") or " ")]).crop(0, left)
        segments.append(Segment("".join(s.text for s in strip), rng.choice(STYLES)))
        left -= strip.cell_length
    return Strip(segments, width)


def random_update(rng: random.Random, screen: list[list[Strip]]) -> CompositorUpdate:
    """Textual's update after some pieces of the screen have changed."""
    cuts = [8, 16, WIDTH]
    if rng.random() < 0.1:
        for line in screen:
            line[:] = [random_strip(rng, 8) for _ in cuts]
        return LayoutUpdate([list(line) for line in screen], Region(0, 0, WIDTH, HEIGHT))
    spans = []
    for y, line in enumerate(screen):
        for i in range(3):
            if rng.random() < 0.3:
                if rng.random() < 0.7:
                    line[i] = random_strip(rng, 8)
                spans.append((y, cuts[i] - 8, cuts[i]))
    chops = [dict(zip((0, 8, 16), line, strict=True)) for line in screen]
    return ChopsUpdate(chops, spans or [(0, 0, 8)], [cuts] * HEIGHT)


@pytest.mark.parametrize("seed", range(8))
def test_the_terminal_shows_what_textual_would_have_sent(seed: int) -> None:
    rng = random.Random(seed)
    console = Console(color_system="truecolor", force_terminal=True)
    screen = [[random_strip(rng, 8) for _ in range(3)] for _ in range(HEIGHT)]
    first = LayoutUpdate([list(line) for line in screen], Region(0, 0, WIDTH, HEIGHT))
    ours, textuals, diff = Terminal(), Terminal(), TerminalDiff()
    ours.feed(DiffUpdate(diff, first).render_segments(console))
    textuals.feed(first.render_segments(console))
    for _ in range(40):
        update = random_update(rng, screen)
        ours.feed(DiffUpdate(diff, update).render_segments(console))
        assert ours.pen == Cell()
        textuals.feed(update.render_segments(console))
        assert ours.cells == textuals.cells


def strips(*texts: str) -> LayoutUpdate:
    return LayoutUpdate([[Strip([Segment(text)])] for text in texts], Region(0, 0, 5, len(texts)))


def spans(*texts: str) -> ChopsUpdate:
    chops = [{0: Strip([Segment(text)])} for text in texts]
    return ChopsUpdate(chops, [(y, 0, 5) for y in range(len(texts))], [[5]] * len(texts))


def test_only_what_differs_is_sent() -> None:
    diff = TerminalDiff()

    def send(update: CompositorUpdate) -> str:
        return diff.update(update, ColorSystem.TRUECOLOR)

    assert send(strips("abcde", "fghij")) == "\x1b[1;1Habcde\x1b[2;1Hfghij"
    assert send(spans("abcde", "fghij")) == ""
    assert send(spans("abcXe", "fghij")) == "\x1b[1;4HX"
    # What Textual paints anew as a whole may be there because the terminal was written over.
    assert send(strips("abcXe", "fghij")) == "\x1b[1;1HabcXe\x1b[2;1Hfghij"
    assert send(spans("abcXe")) == "\x1b[1;1HabcXe"  # the terminal has another size now
    diff.forget()
    assert send(spans("abcXe")) == "\x1b[1;1HabcXe"
