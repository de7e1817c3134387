"""The colours of the maze: those of its parts, and the heat scales blended from them."""

from __future__ import annotations

import math
from functools import cache

from textual.color import Color

from tui.ui.canvas import DEFAULT

PARTS = (
    *("ice", "hole", "goal", "wall", "bonus", "lesser", "key", "door", "agent", "cursor", "edge"),
    *("exploited", "explored", "optimal", "positive", "negative", "count", "muted"),
)
"""The component styles the painter needs, without their prefix."""
PART_OF = {"H": "hole", "G": "goal", "B": "bonus", "g": "lesser", "k": "key", "D": "door"}
"""Of the tiles with a symbol in a colour of their own; an open door is part of the ice."""

LEVELS = 32
"""Steps of a colour scale: more than a terminal with 256 colours can show."""


class Palette:
    """The colours in use, and the heat scales blended from them."""

    def __init__(self, styles: dict[str, tuple[Color, Color]]) -> None:
        """`styles` has (foreground, background) for each of `PARTS`."""
        self.styles = styles
        self.ice = styles["ice"][1]
        self.few = self.ice.ansi is not None
        """Whether there are only the terminal's own colours, which cannot be blended."""
        self.heat = cache(self._heat)
        self.text_on = cache(self._text_on)

    def __getitem__(self, part: str) -> Color:
        """The foreground of a part."""
        return self.styles[part][0]

    def ground(self, tile: str) -> Color:
        """The background of a tile without heat."""
        return self.styles[{**PART_OF, "#": "wall"}.get(tile, "ice")][1]

    def colour(self, value: float, scale: str) -> Color:
        """The background for a heat from -1 to 1; NaN is plain ice."""
        if math.isnan(value):
            return self.ice
        return self.heat(round(max(-1.0, min(value, 1.0)) * LEVELS), scale)

    def on(self, ground: Color, part: str) -> Color:
        """A part's colour, moved towards what reads best on `ground`."""
        if self.few:
            return self[part]
        return self[part].blend(ground.get_contrast_text(1.0), 0.65)

    def full(self, value: float, scale: str) -> Color:
        """The undiluted colour of a heat's sign."""
        return self["count" if scale != "signed" else "positive" if value >= 0 else "negative"]

    def _heat(self, level: int, scale: str) -> Color:
        strength = 0.8 if scale == "signed" else 0.6
        return self.ice.blend(self.full(level, scale), strength * abs(level) / LEVELS)

    def _text_on(self, ground: Color) -> Color:
        return DEFAULT if self.few else ground.blend(ground.get_contrast_text(1.0), 0.92)
