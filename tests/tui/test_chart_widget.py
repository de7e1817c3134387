"""The chart as a widget: in an app, at several sizes, through themes and settings."""

from __future__ import annotations

import numpy as np
import pytest
from rich.color import Color
from rich.segment import Segment
from textual.app import App, ComposeResult

from tui.plot.chart import Chart, compose
from tui.plot.chart_view import Reference, Series, View

X = np.arange(101.0)
RISING = Series("rising", X, X / 100, X / 100 - 0.1, X / 100 + 0.1)
FALLING = Series("falling", X, 1 - X / 100)
OPTIMUM = Reference("optimum", 0.74)


def background(segment: Segment) -> Color:
    assert segment.style is not None and segment.style.bgcolor is not None
    return segment.style.bgcolor


class ChartApp(App[None]):
    CSS = "Screen { background: $background; }"

    def compose(self) -> ComposeResult:
        yield Chart("Success", x_label="env steps", empty="no data yet: press space")


def on_screen(app: App[None]) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (120, 40), (200, 50)])
async def test_widget_shows_data_as_it_comes(size: tuple[int, int]) -> None:
    app = ChartApp()
    async with app.run_test(size=size) as pilot:
        chart = app.query_one(Chart)
        assert "no data yet" in on_screen(app)
        chart.show([RISING, FALLING], [OPTIMUM], y_range=(0, 1))
        await pilot.pause()
        view = View((RISING, FALLING), (OPTIMUM,), (0, 1), "Success", "env steps")
        lines, _ = compose(view, *size)
        assert on_screen(app) == "\n".join("".join(run.text for run in line) for line in lines)
        chart.show([FALLING])
        await pilot.pause()
        assert "▲" not in on_screen(app) and "●" in on_screen(app)


async def test_widget_follows_its_settings() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(Chart)
        chart.show([RISING])
        await pilot.pause()
        for setting, value, sign in (
            ("title", "Return", "Return"),
            ("x_label", "updates", "x: updates"),
            ("cursor_x", 50.0, "x = 50"),
            ("log_x", True, "log x"),
            ("log_y", True, "log x and y"),
            ("ascii", True, "* rising"),
        ):
            assert sign not in on_screen(app)
            setattr(chart, setting, value)
            await pilot.pause()
            assert sign in on_screen(app)
        await pilot.resize_terminal(40, 12)
        await pilot.pause()
        assert len(on_screen(app).splitlines()) == 12


async def test_strips_are_kept_until_something_changes() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(Chart)
        chart.show([RISING])
        await pilot.pause()
        first = chart.render_line(5)
        assert chart.render_line(5) is first
        chart.show([Series("rising", X.copy(), X / 100, X / 100 - 0.1, X / 100 + 0.1)])
        assert chart.render_line(5) is first
        chart.show([RISING, FALLING])
        second = chart.render_line(5)
        assert second is not first
        chart.cursor_x = 5.0
        assert chart.render_line(5) is not second


async def test_colours_come_from_the_theme() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(Chart)
        chart.show([RISING])
        await pilot.pause()

        def colours() -> set[str]:
            return {background(s).name for y in range(24) for s in chart.render_line(y)}

        dark = colours()
        assert len(dark) == 2, "the background, and the band mixed with it"
        app.theme = "textual-light"
        await pilot.pause()
        assert not dark & colours()
        app.theme = "ansi-dark"
        await pilot.pause()
        for segment in (s for y in range(2, 22) for s in chart.render_line(y)):
            if any(0x2801 <= ord(glyph) <= 0x28FF for glyph in segment.text):
                assert background(segment).is_default, "a curve must not drown in its band"


async def test_cursor_moves_over_recorded_points() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(Chart)
        chart.move_cursor(1)
        assert chart.cursor_x is None and chart.x_at(5) is None
        chart.show([Series("s", np.array([0.0, 1, 2, 50, 1000]), np.arange(5.0))])
        await pilot.pause()
        chart.move_cursor(-1)
        assert chart.cursor_x == 1000
        seen: list[float | None] = []
        for _ in range(5):
            chart.move_cursor(-1)
            await pilot.pause()
            seen.append(chart.cursor_x)
        assert seen == [50, 2, 0, 0, 0]
        chart.move_cursor(200)
        assert chart.cursor_x == 1000
        assert chart.x_at(79) == 1000 and chart.x_at(0) == 0
        chart.log_x = True
        assert chart.x_at(0) == 1
