"""Curves as inline SVG: the mean over the agents, the band around it, and axes. No script."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from engine.core.arrays import Floats
from engine.exports.words import escaped, number
from engine.runs.curves import Curve

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 40
MOST_POINTS = 800
"""Of a curve with more, every k-th point is drawn, and the last."""
STYLE = """\
.axis{stroke:#9fb3c8;stroke-width:1;fill:none}.band{fill:#0072b2;fill-opacity:.18}
.mean{fill:none;stroke:#0072b2;stroke-width:2}
.held-out{fill:none;stroke:#b85000;stroke-width:2;stroke-dasharray:6 4}
@media (prefers-color-scheme:dark){.axis{stroke:#5a6f85}.band{fill:#56b4e9;fill-opacity:.22}
.mean{stroke:#56b4e9}.held-out{stroke:#e69f00}}
"""


def chart(name: str, curve: Curve, held_out: Curve | None, axis: str) -> str:
    """One metric over the run's clock, with its words. At least one point of it is known."""
    curve, every = _thinned(curve)
    others = [_thinned(held_out)[0]] if held_out is not None else []
    x_range = _range([each.x for each in (curve, *others)])
    y_range = _range([y for c in (curve, *others) for y in (c.mean, c.low, c.high)])
    title, words = escaped(name), escaped(_words(curve, every, axis))
    parts = [
        f'<figure><svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{title}: {words}">',
        *_axes(x_range, y_range, axis),
    ]
    to_x, to_y = _scale(x_range, LEFT, WIDTH - RIGHT), _scale(y_range, HEIGHT - BOTTOM, TOP)
    parts += _band(curve, to_x, to_y)
    parts += [f'<polyline class="mean" points="{p}"/>' for p in _lines(curve, to_x, to_y)]
    for other in others:
        parts += [f'<polyline class="held-out" points="{p}"/>' for p in _lines(other, to_x, to_y)]
    held = " Dashed: mazes that are not trained on." if others else ""
    parts.append(f"</svg><figcaption><b>{title}</b> {words}{held}</figcaption></figure>")
    return "\n".join(parts)


class _Scale:
    """A straight map of numbers to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.slope = (end - start) / (high - low)
        self.start = start - low * self.slope

    def __call__(self, value: float) -> float:
        return self.start + value * self.slope


def _scale(numbers: tuple[float, float], start: float, end: float) -> _Scale:
    return _Scale(*numbers, start, end)


def _thinned(curve: Curve) -> tuple[Curve, int]:
    every = -(-len(curve.x) // MOST_POINTS) or 1
    keep = np.unique([*range(0, len(curve.x), every), len(curve.x) - 1])
    parts = {key: getattr(curve, key)[keep] for key in ("x", "mean", "low", "high")}
    return Curve(**parts), every


def _range(arrays: list[Floats]) -> tuple[float, float]:
    known = np.concatenate(arrays)
    known = known[np.isfinite(known)]
    low, high = float(known.min()), float(known.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1.0):  # a constant, in the middle
        room = abs(low) / 2 or 1.0
        return low - room, high + room
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two, about five."""
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= rough)
    first = math.ceil(low / step)
    found = [round(k * step, 12) for k in range(first, first + 8) if k * step <= high + step * 1e-9]
    return found or [low]


def _axes(x: tuple[float, float], y: tuple[float, float], axis: str) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    yield f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    to_x, to_y = _scale(x, LEFT, right), _scale(y, bottom, TOP)
    for tick in _ticks(*y):
        at = to_y(tick)
        yield f'<path class="axis" d="M{LEFT - 4} {at:.1f}H{LEFT}"/>'
        yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>'
    for tick in _ticks(*x):
        at = to_x(tick)
        yield f'<path class="axis" d="M{at:.1f} {bottom}v4"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{_short(tick)}</text>'
    middle = (LEFT + right) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escaped(axis)}</text>'


def _short(value: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (value >= size and value % size == 0):
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _lines(curve: Curve, to_x: _Scale, to_y: _Scale) -> Iterator[str]:
    """The points of each stretch without a gap; a lone point is a short line."""
    for start, end in _stretches(np.isfinite(curve.mean)):
        points = [f"{to_x(curve.x[i]):.1f},{to_y(curve.mean[i]):.1f}" for i in range(start, end)]
        if len(points) == 1:
            points.append(f"{to_x(curve.x[start]) + 2:.1f},{to_y(curve.mean[start]):.1f}")
        yield " ".join(points)


def _band(curve: Curve, to_x: _Scale, to_y: _Scale) -> Iterator[str]:
    known = np.isfinite(curve.low) & np.isfinite(curve.high)
    if not (curve.low[known] != curve.high[known]).any():
        return  # one learner
    for start, end in _stretches(known):
        there = [f"{to_x(curve.x[i]):.1f},{to_y(curve.high[i]):.1f}" for i in range(start, end)]
        back = [f"{to_x(curve.x[i]):.1f},{to_y(curve.low[i]):.1f}" for i in range(start, end)]
        yield f'<polygon class="band" points="{" ".join([*there, *reversed(back)])}"/>'


def _stretches(known: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield int(start), int(end)


def _words(curve: Curve, every: int, axis: str) -> str:
    known = np.flatnonzero(np.isfinite(curve.mean))
    first, last = known[0], known[-1]
    thinned = f" Every {every}th recorded point is drawn." if every > 1 else ""
    return (
        f"from {number(float(curve.mean[first]))} at {curve.x[first]:,.0f} to "
        f"{number(float(curve.mean[last]))} at {curve.x[last]:,.0f} {axis}.{thinned}"
    )
