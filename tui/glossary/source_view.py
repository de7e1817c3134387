"""Source lines of an entry: highlighted, numbered, wrapped, the lines meant marked.

The lines meant carry a bar in the gutter as well as a background: not by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from tui.glossary.render import to_ascii
from tui.glossary.source import Excerpt
from tui.ui import glyphs


@dataclass(frozen=True, slots=True)
class _Line:
    gutter: str
    code: Content
    meant: bool


class SourceView(Widget):
    """Shows excerpts one under the other, as high as they need."""

    DEFAULT_CSS = """
    SourceView {
        height: auto;
        width: 1fr;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._excerpts: list[tuple[str, list[_Line]]] = []

    def show(self, excerpts: list[Excerpt]) -> None:
        """Show these excerpts from now on."""
        self._excerpts = [
            (f"{e.file}:{e.marked[0] if e.marked else e.first_line}", self._lines(e))
            for e in excerpts
        ]
        self.refresh(layout=True)

    @property
    def plain(self) -> str:
        """What is shown, unwrapped, as plain text."""
        return self._content(10_000).plain

    def _lines(self, excerpt: Excerpt) -> list[_Line]:
        # Pygments takes long to import, and is not needed before somebody opens an entry.
        from textual.highlight import highlight

        bars = "|>" if glyphs.current().ascii else "│▌"
        digits = len(str(excerpt.last_line))
        text = to_ascii(excerpt.text) if glyphs.current().ascii else excerpt.text
        code = highlight(text, language="python").split("\n", allow_blank=True)
        lines = []
        for number, line in enumerate(code[: excerpt.last_line - excerpt.first_line + 1]):
            place = excerpt.first_line + number
            meant = place in excerpt.marked
            bar = bars[meant]
            lines.append(_Line(f"{place:>{digits}} {bar} ", line, meant))
        return lines

    def _content(self, width: int) -> Content:
        rows: list[Content] = []
        for title, lines in self._excerpts:
            if rows:
                rows.append(Content(""))
            rows += Content.styled(title, "$foreground 60%").fold(width)
            for line in lines:
                rows += self._wrapped(line, width)
        return Content("\n").join(rows)

    def _wrapped(self, line: _Line, width: int) -> list[Content]:
        """One source line; what does not fit goes on below, further in and without a number."""
        room = max(width - len(line.gutter), 8)
        style = "$text-primary" if line.meant else "$foreground 60%"
        rows = []
        for i, part in enumerate(_broken(line.code, room)):
            gutter = line.gutter if i == 0 else " " * (len(line.gutter) - 2) + line.gutter[-2:]
            code = part
            if line.meant:
                code = part.pad_right(room - part.cell_length).stylize("on $primary-muted")
            rows.append(Content.styled(gutter, style).append(code))
        return rows

    def render(self) -> Content:
        """The excerpts, wrapped to the present width."""
        return self._content(self.content_size.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as the wrapped excerpts take."""
        return self._content(width).plain.count("\n") + 1 if self._excerpts else 0


def _broken(code: Content, room: int) -> list[Content]:
    """A line of code in pieces of at most `room` cells, broken at spaces where there are any."""
    if code.cell_length <= room:
        return [code]
    indent = len(code.plain) - len(code.plain.lstrip())
    hang = min(indent + 4, room // 2)
    pieces = code[min(indent, hang) :].wrap(room - hang)
    return [piece.pad_left(hang if i else min(indent, hang)) for i, piece in enumerate(pieces)]
