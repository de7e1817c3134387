"""The part of an axis that is in view: zooming and panning, also on a logarithmic axis."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tui.plot.braille import Scale

NARROWEST = 1e-6
"""Of the whole axis: nearer than that floating-point numbers would show."""


class Window(NamedTuple):
    """From where to where an axis is shown."""

    low: float
    high: float


def zoomed(whole: Scale, window: Window | None, at: float, factor: float) -> Window | None:
    """The window `factor` times as wide, in which `at` keeps its place; None is the whole axis."""
    low, high = _places(whole, window)
    (middle,) = whole.transform(np.array([at])).tolist()
    middle = min(max(middle, low), high)
    return _window(
        whole, middle - (middle - low) * factor, middle + (high - middle) * factor, factor > 1
    )


def panned(whole: Scale, window: Window | None, share: float) -> Window | None:
    """The window moved by a share of its own width, as far as the axis goes."""
    if window is None:
        return None
    low, high = _places(whole, window)
    first, last = whole.transform(np.array([whole.low, whole.high])).tolist()
    by = min(max(share * (high - low), first - low), last - high)
    return _window(whole, low + by, high + by, False)


def around(whole: Scale, window: Window | None, at: float) -> Window | None:
    """The window, moved as little as it takes to have `at` in it."""
    if window is None or window.low <= at <= window.high:
        return window
    low, high = _places(whole, window)
    (place,) = whole.transform(np.array([at])).tolist()
    past = place - high if place > high else place - low
    return panned(whole, window, past / (high - low))


def scale(whole: Scale, window: Window | None) -> Scale:
    """The axis as it is drawn."""
    if window is None or not window.low < window.high:
        return whole
    if whole.log and window.low <= 0:
        return whole
    return replace(whole, low=window.low, high=window.high)


def _places(whole: Scale, window: Window | None) -> tuple[float, float]:
    """The ends of the window where the axis is linear in them."""
    shown = scale(whole, window)
    low, high = whole.transform(np.array([shown.low, shown.high])).tolist()
    return low, high


def _window(whole: Scale, low: float, high: float, grown: bool) -> Window | None:
    """The window between these places, moved to where the axis is; None if it is all of it."""
    first, last = whole.transform(np.array([whole.low, whole.high])).tolist()
    least = (last - first) * NARROWEST
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    if grown and high - low >= (last - first) * (1 - 1e-9):
        return None
    past = max(first - low, 0.0) + min(last - high, 0.0)
    low, high = max(low + past, first), min(high + past, last)
    if whole.log:
        return Window(10.0**low, 10.0**high)
    return Window(low, high)
