"""The keys and the mouse on charts: one cursor, one window and one smoothing for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from home_tools import shown
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from trainer_tools import app_on, opened, settled

from tui.plot.chart import Chart
from tui.plot.chart_panel import ChartPanel
from tui.plot.chart_view import Series
from tui.plot.charts import Charts, Picture
from tui.watching.curves import CurvesPanel

X = np.arange(101.0)
PICTURES = [Picture(f"figure {i}", (Series(f"s{i}", X, X * i),)) for i in range(8)]


class PanelApp(App[None]):
    placed: float | None = None

    def compose(self) -> ComposeResult:
        yield ChartPanel("no data yet")

    def on_charts_cursor_moved(self, message: Charts.CursorMoved) -> None:
        self.placed = self.query_one(Charts).cursor_x = message.x


async def wheel(
    pilot: Pilot[None], chart: Chart, column: int, kind: type[events.MouseEvent]
) -> None:
    region = chart.content_region
    at = (region.x + column, region.y + 5)
    event = kind(chart, column, 5, 0, 0, 0, False, False, False, *at)
    chart.post_message(event)
    await pilot.pause()


async def test_all_charts_share_cursor_window_and_smoothing() -> None:
    app = PanelApp()
    async with app.run_test(size=(160, 48)) as pilot:
        panel = app.query_one(ChartPanel)
        charts = panel.charts
        charts.show(PICTURES)
        await pilot.pause()
        inside = [chart for chart in app.query(Chart) if chart.display]
        assert len(inside) == charts.shown == 6, "no more than can be read"
        panel.focus()
        await pilot.press("z", "S", "L")
        charts.move_cursor(-1)
        await pilot.pause()
        assert {chart.window for chart in inside} == {charts.window} != {None}
        assert {chart.cursor_x for chart in inside} == {100.0}
        assert {chart.smoothing for chart in inside} == {0.6} and inside[0].log_y
        text = shown(app)
        assert text.count("x = 100") == 5 and "figure 5" in text
        assert "101 points ≤ 0 left out" in text, "of figure 0, which is 0 all along"
        seen = charts.window
        assert seen is not None
        await pilot.press("shift+left")
        assert charts.window is not None and charts.window.low < seen.low
        await pilot.press("C")
        assert charts.shown == 1 and sum(chart.display for chart in app.query(Chart)) == 1
        await pilot.press("backspace", "S", "S", "S", "L", "C")
        assert charts.window is None and charts.smoothing == 0 and charts.shown == 6
        await pilot.resize_terminal(60, 16)
        await pilot.pause()
        assert charts.shown == 1, "one that can be read rather than six that cannot"


async def test_the_mouse_zooms_drags_and_puts_the_cursor() -> None:
    app = PanelApp()
    async with app.run_test(size=(80, 20)) as pilot:
        charts = app.query_one(ChartPanel).charts
        charts.show(PICTURES[1:2])
        await pilot.pause()
        chart = app.query(Chart).first()
        await wheel(pilot, chart, 40, events.MouseScrollUp)
        window = charts.window
        assert window is not None and 0 < window.low < 50 < window.high < 100
        await wheel(pilot, chart, 40, events.MouseScrollRight)
        assert charts.window is not None and charts.window.low > window.low
        for _ in range(4):
            await wheel(pilot, chart, 40, events.MouseScrollDown)
        assert charts.window is None
        await pilot.click(Chart, offset=(40, 8))
        assert app.placed is not None and app.placed == chart.x_at(40)
        assert "x = " in shown(app)


@pytest.mark.slow
@pytest.mark.usefixtures("unicode_look")
async def test_the_curves_of_a_run_over_another_unit(recording: Path) -> None:
    app = app_on(recording)
    async with app.run_test(size=(160, 50)) as pilot:
        screen = await opened(pilot)
        curves = screen.query_one(CurvesPanel)
        await pilot.press("p", "p", "w")
        await pilot.pause()
        assert curves.charts.shown > 1, "alone it has the room for several"
        assert "x: steps per agent" in shown(app)
        await pilot.press("b")
        assert "x: episodes" in shown(app) and "x: steps per agent" not in shown(app)
        await pilot.press("left", "left", "left")
        step, snapshot = curves.cursor, curves.snapshot
        assert step is not None and snapshot is not None and snapshot.progress is not None
        known = snapshot.progress
        episodes = known.episodes[known.step == step]
        assert curves.charts.cursor_x == pytest.approx(float(episodes[0]))
        await pilot.press("enter")
        await settled(pilot)
        assert curves.snapshot is not None and curves.snapshot.at <= step
        curves.cursor = 100.0  # as a timeline does it: a line at a step, in whatever unit
        assert curves.charts.cursor_x == pytest.approx(
            float(np.interp(100.0, known.step, known.episodes))
        )
