"""How long a redraw of the chart takes: 3 series of 10,000 points with bands in 120 x 30 cells.

    python benchmarks/chart.py

A redraw is what a tick of a live run costs: new data in, all 30 lines out as strips. It alternates
with the redraw of a plain `Static` of the same size, so that both meet the same machine. Prints
the medians, their ratio, and the ratio to the bar of 10 ms; exits 1 if the bar is missed.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Static

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tui.plot.chart import Chart
from tui.plot.chart_view import Reference, Series

POINTS, WIDTH, HEIGHT, ROUNDS, BAR_MS = 10_000, 120, 30, 60, 10.0


class Bench(App[None]):
    CSS = "Chart, Static { width: 120; height: 30; }"

    def compose(self) -> ComposeResult:
        yield Chart("Success rate", x_label="env steps")
        yield Static(markup=False)


def arrays() -> list[tuple[np.ndarray, ...]]:
    """(x, y, low, high) of three noisy learning curves."""
    random = np.random.default_rng(0)
    x = np.arange(1.0, POINTS + 1) * 5
    curves = [
        level * (1 - np.exp(-x / pace)) + 0.05 + random.normal(0, 0.012, POINTS)
        for level, pace in ((0.7, 6e3), (0.55, 12e3), (0.12, 3e3))
    ]
    return [(x, y, y - 0.05, y + 0.05) for y in curves]


def redraw(widget: Widget, change: Callable[[int], object], turn: int) -> float:
    """Milliseconds to change the widget and get all its lines."""
    start = perf_counter()
    change(turn)
    widget._styles_cache.clear()  # what a refresh of the whole widget does before painting
    strips = widget.render_lines(Region(0, 0, WIDTH, HEIGHT))
    assert len(strips) == HEIGHT
    return (perf_counter() - start) * 1000


async def measure(log: bool) -> tuple[list[float], list[float]]:
    app = Bench()
    async with app.run_test(size=(WIDTH, 2 * HEIGHT)) as pilot:
        await pilot.pause()
        chart, plain, data = app.query_one(Chart), app.query_one(Static), arrays()
        chart.log_x = chart.log_y = log
        await pilot.pause()
        lines = [["".join(np.random.default_rng(i).choice(list("abc "), WIDTH)) for _ in "x" * 30]
                 for i in range(2)]  # fmt: skip

        def show(turn: int) -> None:
            series = [Series(f"series {i}", *curve) for i, curve in enumerate(data)]
            chart.show(series, [Reference("optimum", 0.74)])

        def write(turn: int) -> None:
            plain.update("\n".join(lines[turn % 2]), layout=False)

        for turn in range(5):
            redraw(chart, show, turn), redraw(plain, write, turn)
        pairs = [(redraw(chart, show, t), redraw(plain, write, t)) for t in range(ROUNDS)]
    return [chart_ms for chart_ms, _ in pairs], [plain_ms for _, plain_ms in pairs]


def main() -> int:
    missed = False
    print(f"redraw of 3 x {POINTS:,} points with bands, {WIDTH} x {HEIGHT} cells, {ROUNDS} rounds")
    for name, log in (("linear axes", False), ("log axes", True)):
        chart, plain = (statistics.median(times) for times in asyncio.run(measure(log)))
        missed |= chart > BAR_MS
        print(
            f"{name:12} chart {chart:5.2f} ms   plain Static {plain:5.2f} ms   "
            f"ratio {chart / plain:4.1f}   share of the {BAR_MS:g} ms bar {chart / BAR_MS:.2f}"
        )
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
