"""A rectangle of characters, each with its colours: what a widget paints before it makes strips."""

from __future__ import annotations

from itertools import groupby

from rich.segment import Segment
from rich.style import Style
from textual.color import Color

DEFAULT = Color.parse("ansi_default")
"""The terminal's own foreground or background."""
Look = tuple[Color, Color, bool]
"""Foreground, background, bold."""


class Canvas:
    """`width` by `height` characters of one cell each."""

    def __init__(self, width: int, height: int, colour: Color, ground: Color) -> None:
        self.width, self.height = width, height
        self._chars = [[" "] * width for _ in range(height)]
        self._looks: list[list[Look]] = [[(colour, ground, False)] * width for _ in range(height)]

    def fill(self, x: int, y: int, width: int, height: int, ground: Color) -> None:
        """Change the background of a region."""
        end = min(x + width, self.width)
        for line in self._looks[y : y + height]:
            line[x:end] = [(colour, ground, bold) for colour, _, bold in line[x:end]]

    def put(
        self,
        x: int,
        y: int,
        text: str,
        colour: Color,
        ground: Color | None = None,
        *,
        bold: bool = False,
    ) -> None:
        """Write single-width characters; without `ground` the background stays."""
        line = self._looks[y]
        for i, char in enumerate(text, start=x):
            if 0 <= i < self.width:
                self._chars[y][i] = char
                line[i] = (colour, line[i][1] if ground is None else ground, bold)

    def recolour(self, x: int, y: int, colour: Color, ground: Color) -> None:
        """Change the colours of one character, not the character."""
        self._looks[y][x] = (colour, ground, True)

    def ground(self, x: int, y: int) -> Color:
        """The background at a place inside."""
        return self._looks[y][x][1]

    def lines(self, styles: dict[Look, Style]) -> list[list[Segment]]:
        """The rows as segments; `styles` keeps the Rich styles made on the way."""
        return [
            self._line(chars, looks, styles)
            for chars, looks in zip(self._chars, self._looks, strict=True)
        ]

    @staticmethod
    def _line(chars: list[str], looks: list[Look], styles: dict[Look, Style]) -> list[Segment]:
        segments = []
        for look, run in groupby(zip(looks, chars, strict=True), key=lambda pair: pair[0]):
            if look not in styles:
                colour, ground, bold = look
                styles[look] = _style(colour, ground, bold)
            segments.append(Segment("".join(char for _, char in run), styles[look]))
        return segments


def _style(colour: Color, ground: Color, bold: bool) -> Style:
    """A look as Rich has it. A ground of the terminal's own colours is reversed text in it: so it
    can be read on light and dark terminals, and is there when all colour is taken away."""
    if ground.ansi is None or ground.ansi == DEFAULT.ansi:
        return Style(color=colour.rich_color, bgcolor=ground.rich_color, bold=bold)
    return Style(
        color=ground.rich_color, bgcolor=DEFAULT.rich_color, bold=bold or None, reverse=True
    )
