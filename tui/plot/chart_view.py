"""What a chart shows: its series, levels and settings, without size and colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tui.plot.window import Window

BAND = "P10–P90"
"""The band over the agents: from the 10th percentile to the 90th."""


@dataclass(frozen=True)
class Series:
    """One curve. x: (N,) finite, ascending; y: (N,), NaN for a gap, ±inf off the chart;
    low, high: (N,) edges of the band around it, both or neither. The arrays are kept, not
    copied: hand over new ones instead of changing them. Raises ValueError where they disagree."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    band: str = BAND
    """What the band is, in a word: without it, it would be taken for any other."""

    def __post_init__(self) -> None:
        for field in ("x", "y", "low", "high"):
            values = getattr(self, field)
            if values is not None:
                object.__setattr__(self, field, np.asarray(values, dtype=np.float64))
                if getattr(self, field).shape != (np.size(self.x),):
                    raise ValueError(f"series {self.name!r}: {field} is not as long as x")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"series {self.name!r}: a band needs both low and high")
        if not (np.isfinite(self.x).all() and (np.diff(self.x) >= 0).all()):
            raise ValueError(f"series {self.name!r}: x must be finite and ascending")

    def looks_like(self, other: Series) -> bool:
        """Whether the other curve has the same name, points and band."""
        mine, others = (
            (self.x, self.y, self.low, self.high),
            (other.x, other.y, other.low, other.high),
        )
        return (self.name, self.band) == (other.name, other.band) and all(
            one is two or (one is not None and two is not None and np.array_equal(one, two, True))
            for one, two in zip(mine, others, strict=True)
        )

    def place(self, x: float | None = None) -> int:
        """Which point `reading` reads; -1 where there is none."""
        if x is not None:
            return int(np.searchsorted(self.x, x, side="right")) - 1
        known = np.flatnonzero(~np.isnan(self.y))
        return int(known[-1]) if known.size else -1

    def reading(self, x: float | None = None) -> tuple[float, float, float]:
        """(y, low, high) as last recorded at or before x, without x the last ones that are
        numbers; NaN where there is nothing to read."""
        at = self.place(x)
        if at < 0:
            return math.nan, math.nan, math.nan
        if self.low is None or self.high is None:
            return float(self.y[at]), math.nan, math.nan
        return float(self.y[at]), float(self.low[at]), float(self.high[at])


@dataclass(frozen=True)
class Reference:
    """A horizontal line at a value that matters, such as the optimum."""

    name: str
    value: float


@dataclass(frozen=True)
class View:
    """Everything a picture of a chart depends on, except its size and its colours."""

    series: tuple[Series, ...] = ()
    references: tuple[Reference, ...] = ()
    y_range: tuple[float | None, float | None] = (None, None)
    title: str = ""
    x_label: str = ""
    empty: str = "no data yet"
    ascii: bool = False
    hollow_bands: bool = False
    """Leave the bands out behind the curves: for palettes that cannot mix a background."""
    log_x: bool = False
    log_y: bool = False
    cursor_x: float | None = None
    span: tuple[float, float] | None = None
    """From where to where the x axis goes at least, as other charts beside it do."""
    window: Window | None = None
    """The part of the x axis that is shown; None is all of it."""
    fit_y: bool = False
    """The y axis shows what is in view, whatever `y_range` says."""
    smoothing: float = 0.0
    """The weight of `smoothing.ema`; with 0 nothing is smoothed."""
