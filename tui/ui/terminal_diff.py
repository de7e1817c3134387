"""What the terminal shows already is not sent again.

Textual sends every cell of the regions that a widget calls dirty, each piece of text with all of
its colours. Here the cells are compared with what was sent last, and of those that differ only the
change of colours is sent: at a few frames a second that is a tenth of the bytes, which is what a
slow line and a terminal in a browser have to swallow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

GAP = 4
"""So many unchanged cells cost no more than a jump over them."""
CLOSE_LINK = "\x1b]8;;\x1b\\"


class Look(NamedTuple):
    """How a cell is drawn: the parameters of its colours and attributes, and the start of a
    link."""

    sgr: str = ""
    link: str = ""


PLAIN = Look()


class Line:
    """The cells of a line. The second cell of a wide character is empty; what is not known is
    None."""

    def __init__(self, width: int) -> None:
        self.texts: list[str | None] = [None] * width
        self.looks: list[Look] = [PLAIN] * width

    def copy(self) -> Line:
        """Another line with the same cells."""
        twin = Line(0)
        twin.texts, twin.looks = self.texts.copy(), self.looks.copy()
        return twin

    def write(self, x: int, strip: Strip, colours: ColorSystem) -> None:
        """Put a strip over the cells from `x` on."""
        texts: list[str | None] = []
        looks: list[Look] = []
        for text, style, control in strip:
            if control:
                continue
            cells = _cells(text)
            texts += cells
            looks += [_look(style, colours)] * len(cells)
        room = len(self.texts) - x
        self.texts[x : x + len(texts)] = texts[:room]
        self.looks[x : x + len(looks)] = looks[:room]

    @property
    def even(self) -> bool:
        """Whether every cell holds one character: terminals do not agree about others."""
        return all(text is None or len(text) == 1 for text in self.texts)


class TerminalDiff:
    """Knows what the terminal shows, as long as nobody else writes to it."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._lines: list[Line] = []

    def forget(self) -> None:
        """Somebody else may have written: nothing is known of what is shown."""
        self._size = (0, 0)

    def update(self, update: CompositorUpdate, colours: ColorSystem) -> str:
        """What to send so that the terminal shows the update, beginning and ending with plain
        text. All of it where Textual paints everything anew."""
        size, pieces = _pieces(update)
        if isinstance(update, LayoutUpdate) or size != self._size:
            self._size = size
            self._lines = [Line(size[0]) for _ in range(size[1])]
        changed: dict[int, Line] = {}
        for x, y, strip in pieces:
            if y < len(self._lines):
                line = changed.setdefault(y, self._lines[y].copy())
                line.write(x, strip, colours)
        out: list[str] = []
        look = PLAIN
        for y, line in changed.items():
            for start, end, close in _runs(self._lines[y], line):
                out.append(f"\x1b[{close}C" if close else f"\x1b[{y + 1};{start + 1}H")
                for x in range(start, end):
                    if line.looks[x] != look:
                        out.append(_change(look, line.looks[x]))
                        look = line.looks[x]
                    out.append(line.texts[x] or "")
            self._lines[y] = line
        out.append(_change(look, PLAIN))
        return "".join(out)


class DiffUpdate(CompositorUpdate):
    """An update of Textual's that sends no more than what it changes."""

    def __init__(self, diff: TerminalDiff, update: CompositorUpdate) -> None:
        self._diff, self._update = diff, update

    def render_segments(self, console: Console) -> str:
        """What to send. Asked once, when it is being sent."""
        return self._diff.update(self._update, console._color_system or ColorSystem.TRUECOLOR)


def _pieces(update: CompositorUpdate) -> tuple[tuple[int, int], Iterator[tuple[int, int, Strip]]]:
    """Width and height of the screen, and the strips to be painted with their places."""
    if isinstance(update, LayoutUpdate):
        return (update.region.width, update.region.height), _all_of(update)
    assert isinstance(update, ChopsUpdate)
    return (update.chop_ends[0][-1], len(update.chops)), _some_of(update)


def _all_of(update: LayoutUpdate) -> Iterator[tuple[int, int, Strip]]:
    for y, strips in enumerate(update.strips, update.region.y):
        x = update.region.x
        for strip in strips:
            yield x, y, strip
            x += strip.cell_length


def _some_of(update: ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Every piece that a dirty span touches, whole: what of it is as before is found anyway."""
    done: set[tuple[int, int]] = set()
    for y, first, last in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is not None and x < last and end > first and (x, y) not in done:
                done.add((x, y))
                yield x, y, strip


def _runs(old: Line, new: Line) -> Iterator[tuple[int, int, int]]:
    """Which cells to send: start, end, and how many cells lie between it and the run before where a
    relative jump leads to it (else 0)."""
    if old.texts == new.texts and old.looks == new.looks:
        return
    if not (old.even and new.even):
        yield from _whole(new)
        return
    start = end = -1
    before = -1
    for x in _differing(old, new):
        if start >= 0 and (x == end or (x - end <= GAP and _alike(new, end - 1, x))):
            end = x + 1
            continue
        if start >= 0:
            yield start, end, start - before if before >= 0 else 0
            before = end
        start, end = x, x + 1
    if start >= 0:
        yield start, end, start - before if before >= 0 else 0


def _differing(old: Line, new: Line) -> Iterable[int]:
    return [
        x
        for x, (was, text) in enumerate(zip(old.texts, new.texts, strict=True))
        if was != text or old.looks[x] != new.looks[x]
    ]


def _alike(line: Line, first: int, last: int) -> bool:
    """Whether no colour changes from one cell to the other, and all between them are known."""
    cells = range(first, last + 1)
    return all(line.looks[x] == line.looks[first] and line.texts[x] is not None for x in cells)


def _whole(line: Line) -> Iterator[tuple[int, int, int]]:
    """All known cells of the line, each character that is not one cell wide by itself."""
    x, width = 0, len(line.texts)
    while x < width:
        start = x
        while x < width and len(line.texts[x] or "??") == 1:
            x += 1
        if x > start:
            yield start, x, 0
        if x < width:
            if line.texts[x]:
                yield x, x + 1, 0
            x += 1


@lru_cache(4096)
def _cells(text: str) -> tuple[str, ...]:
    """The cells of a text; what takes no room stands with the character before it."""
    if text.isascii() or cell_len(text) == len(text):
        sizes = [1] * len(text) if text.isascii() else [*map(get_character_cell_size, text)]
        if all(size == 1 for size in sizes):
            return tuple(text)
    cells: list[str] = []
    for character in text:
        size = get_character_cell_size(character)
        if size == 0:
            if cells:
                cells[-2 if cells[-1] == "" else -1] += character
            continue
        cells += [character, *[""] * (size - 1)]
    return tuple(cells)


def _look(style: Style | None, colours: ColorSystem) -> Look:
    if style is None:
        return PLAIN
    link = f"\x1b]8;id={style._link_id};{style._link}\x1b\\" if style._link else ""
    return _interned(Strip.render_ansi(style, colours), link)


@lru_cache(4096)
def _interned(sgr: str, link: str) -> Look:
    return Look(sgr, link)


@lru_cache(8192)
def _change(old: Look, new: Look) -> str:
    """From one look to another, in as few parameters as it takes."""
    link = "" if old.link == new.link else new.link or CLOSE_LINK
    if old.sgr == new.sgr:
        return link
    if not new.sgr:
        return f"\x1b[0m{link}"
    was, now = _parts(old.sgr), _parts(new.sgr)
    if not was.attributes <= now.attributes:
        return f"\x1b[0;{new.sgr}m{link}"
    codes = sorted(now.attributes - was.attributes)
    if was.front != now.front:
        codes.append(now.front or "39")
    if was.behind != now.behind:
        codes.append(now.behind or "49")
    return f"\x1b[{';'.join(codes)}m{link}" if codes else link


class _Parts(NamedTuple):
    attributes: frozenset[str]
    front: str
    behind: str


@lru_cache(4096)
def _parts(sgr: str) -> _Parts:
    """The attributes and the two colours of what `Strip.render_ansi` gives."""
    codes = iter(sgr.split(";") if sgr else ())
    attributes: set[str] = set()
    front = behind = ""
    for code in codes:
        if code in ("38", "48"):
            kind = next(codes)
            colour = ";".join([code, kind, *(next(codes) for _ in range(3 if kind == "2" else 1))])
        elif len(code) > 1 and (code[0] in "349" or len(code) == 3):
            colour = code  # 30 to 49, 90 to 107
        else:
            attributes.add(code)
            continue
        if colour.startswith(("4", "10")):
            behind = colour
        else:
            front = colour
    return _Parts(frozenset(attributes), front, behind)
