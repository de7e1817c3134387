"""The agent-environment loop as lines of text: its stations in a frame, wide or compact."""

from __future__ import annotations

from rich.cells import cell_len

from tui.kinds.loop import Piece, Pieces, Stop, Story, muted, term
from tui.ui.glyphs import plain
from tui.ui.text import fit


class LoopLayout:
    """The lines of one story: `full` where there is room for five, else `compact`."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._glyphs = story.glyphs

    def full(self, width: int) -> list[Pieces]:
        """Five lines: labels and values of the agent, the update, values and labels of the rest."""
        top_left, top_right, bottom_left, bottom_right, across, down = self._glyphs.loop
        upper, lower = self.story.agent_side(), self.story.environment_side()
        starts = self._columns(width)
        forth, back = self._glyphs.forth, self._glyphs.back
        head: Pieces = [Piece(f"{top_left}{across}{forth} ", "frame")]
        foot: Pieces = [Piece(f"{bottom_left}{across * 2} ", "frame")]
        for i, (above, below) in enumerate(zip(upper, lower, strict=True)):
            end = starts[i + 1] if i + 1 < len(starts) else width
            head.append(above.label)
            foot.append(below.label)
            room = end - starts[i] - cell_len(above.label.text)
            last = i + 1 == len(upper)
            line = across * (room - 2) + top_right if last else across * (room - 3) + forth + " "
            head.append(Piece(" " + line, "frame"))
            room = end - starts[i] - cell_len(below.label.text)
            line = across * (room - 3) + bottom_right if last else across * (room - 3) + " "
            foot.append(Piece(f" {back}{line}", "frame"))
        return [
            head,
            self._values(width, starts, upper, down),
            self._framed(width, self.story.learning(brief=False), down),
            self._values(width, starts, lower, down),
            foot,
        ]

    @staticmethod
    def _columns(width: int) -> list[int]:
        """Where the three stations start. By the width alone, so that nothing jumps about."""
        first = 4
        second = first + max(13, min(width // 6, 24))
        third = min(second + max(35, width * 2 // 5), width - 20)
        return [first, second, third]

    def _values(self, width: int, starts: list[int], stops: list[Stop], down: str) -> Pieces:
        pieces: Pieces = [Piece(down, "frame"), Piece(" " * (starts[0] - 1), "muted")]
        for start, end, stop in zip(starts, [*starts[1:], width - 1], stops, strict=True):
            pieces += self._fitted(stop.value, end - start)
        return [*pieces, Piece(down, "frame")]

    def _framed(self, width: int, pieces: Pieces, down: str) -> Pieces:
        inside = self._fitted(pieces, width - 5)
        return [Piece(f"{down}   ", "frame"), *inside, Piece(down, "frame")]

    def compact(self, width: int) -> list[Pieces]:
        """Three lines for narrow places: the agent, the update, the environment."""
        forth, back = self._glyphs.forth, self._glyphs.back
        top_left, top_right, bottom_left, bottom_right, across, down = self._glyphs.loop
        upper, lower = self.story.agent_side(), self.story.environment_side()
        symbols = (("s", "state"), ("", ""), ("a", "action"))
        head = self._short(upper, symbols, f" {forth} ")
        symbols = (("s′", "next-state"), ("r", "reward"), ("", ""))
        foot = self._short(lower, symbols, f" {back} ")
        inner = width - 4
        return [
            self._closed(f"{top_left}{forth} ", head, inner, across, f" {top_right}"),
            [
                Piece(f"{down} ", "frame"),
                *self._fitted(self.story.learning(brief=True), inner + 1),
                Piece(down, "frame"),
            ],
            self._closed(f"{bottom_left}{across} ", foot, inner, across, f"{back}{bottom_right}"),
        ]

    def _short(
        self, stops: list[Stop], symbols: tuple[tuple[str, str], ...], between: str
    ) -> Pieces:
        """The stations in one line: each with the symbol of its label, and the value's gist."""
        pieces: Pieces = []
        for stop, (symbol, slug) in zip(stops, symbols, strict=True):
            if pieces:
                pieces.append(Piece(between, "frame"))
            if symbol and stop.value:
                pieces.append(term(symbol, slug))
                pieces.append(muted(" "))
            pieces += stop.value[:1] or [stop.label]
        return pieces

    def _closed(self, start: str, pieces: Pieces, width: int, across: str, end: str) -> Pieces:
        room = width - 1 - _size(pieces)
        if room < 2:
            inside = self._fitted(pieces, width - 1)
            return [Piece(start, "frame"), *inside, Piece(end, "frame")]
        line = Piece(" " + across * (room - 1) + end.strip().rjust(len(end), across), "frame")
        return [Piece(start, "frame"), *pieces, line]

    def _fitted(self, pieces: Pieces, width: int) -> Pieces:
        """The pieces in exactly `width` cells; what does not fit is left out from the end."""
        kept = [piece._replace(text=plain(piece.text, self._glyphs.ascii)) for piece in pieces]
        while len(kept) > 1 and _size(kept) > width:
            kept.pop()
        if len(kept) < len(pieces):  # a label or a sign without its value says nothing
            while len(kept) > 1 and kept[-1].part in ("muted", "term"):
                kept.pop()
        if _size(kept) > width:
            kept = [kept[0]._replace(text=fit(kept[0].text, width, self._glyphs.ellipsis))]
        return [*kept, Piece(" " * (width - _size(kept)), "muted")]


def _size(pieces: Pieces) -> int:
    return sum(cell_len(piece.text) for piece in pieces)
