"""Zoom windows, smoothing and what is written of figures: the arithmetic behind the charts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tui.plot import smoothing
from tui.plot.braille import Scale
from tui.plot.chart import compose
from tui.plot.chart_plot import RAW, SERIES
from tui.plot.chart_view import Series, View
from tui.plot.window import Window, around, panned, zoomed
from tui.ui import text

LINEAR, LOG = Scale(0.0, 100.0), Scale(1.0, 10_000.0, log=True)
X = np.arange(101.0)


def lines(view: View, width: int = 90, height: int = 20) -> str:
    found, _ = compose(view, width, height)
    return "\n".join("".join(run.text for run in line) for line in found)


# ---------------------------------------------------------------- windows


def test_zooming_keeps_its_place_and_zooming_out_ends_with_the_whole() -> None:
    window = zoomed(LINEAR, None, 40.0, 0.5)
    assert window == (20.0, 70.0)
    share = (40.0 - window.low) / (window.high - window.low)
    assert share == pytest.approx(0.4), "where 40 stood before"
    assert zoomed(LINEAR, window, 40.0, 2.0) is None
    edge = Window(90.0, 100.0)
    wider = zoomed(LINEAR, edge, 100.0, 4.0)
    assert wider == (60.0, 100.0)
    assert zoomed(LINEAR, Window(90.0, 95.0), 90.0, 4.0) == (80.0, 100.0), "moved, not cut"


def test_on_a_logarithmic_axis_half_is_half_of_the_decades() -> None:
    window = zoomed(LOG, None, 10_000.0, 0.5)
    assert window is not None and window == pytest.approx((100.0, 10_000.0))
    assert panned(LOG, window, -0.5) == pytest.approx((10.0, 1_000.0))
    assert panned(LOG, window, 5.0) == pytest.approx((100.0, 10_000.0)), "the axis ends there"


def test_panning_stops_at_the_ends_and_the_cursor_is_never_lost() -> None:
    window = Window(40.0, 60.0)
    assert panned(LINEAR, window, 0.25) == (45.0, 65.0)
    assert panned(LINEAR, window, -9.0) == (0.0, 20.0)
    assert panned(LINEAR, None, 1.0) is None
    assert around(LINEAR, window, 50.0) == window
    assert around(LINEAR, window, 70.0) == (50.0, 70.0)
    assert around(LINEAR, window, 30.0) == (30.0, 50.0)


def test_zooming_never_goes_below_what_numbers_can_tell() -> None:
    window: Window | None = None
    for _ in range(100):
        window = zoomed(LINEAR, window, 33.0, 0.5)
    assert window is not None and 0 < window.high - window.low <= 1e-3
    assert window.low <= 33.0 <= window.high


def test_a_zoomed_chart_shows_the_part_and_fits_y_to_it_when_asked() -> None:
    steep = Series("steep", X, np.where(X < 50, X / 1000, 0.9))
    view = View((steep,), y_range=(0.0, 1.0), x_label="steps", window=Window(0.0, 40.0))
    shown = lines(view)
    assert "zoomed" in shown and "1.0┤" in shown
    assert shown.splitlines()[-1].split() == ["0", "10", "20", "30", "40"]
    fitted = lines(View((steep,), y_range=(0.0, 1.0), window=Window(0.0, 40.0), fit_y=True))
    assert "0.04┤" in fitted and "1.0┤" not in fitted
    between = Window(10.2, 10.8)
    assert "⠤" in lines(View((Series("s", X, X * 0 + 3),), window=between)) or any(
        0x2801 <= ord(glyph) <= 0x28FF for glyph in lines(View((steep,), window=between))
    ), "a line is drawn between points that are both out of view"


# ---------------------------------------------------------------- smoothing


@pytest.mark.parametrize("weight", [w for w in smoothing.WEIGHTS if w])
def test_smoothing_is_the_formula_that_it_is_named_after(weight: float) -> None:
    values = np.random.default_rng(0).normal(size=50)
    for i in range(1, 51):
        powers = weight ** np.arange(i - 1, -1, -1)
        expected = (1 - weight) * (powers * values[:i]).sum() / (1 - weight**i)
        assert smoothing.ema(values, weight)[i - 1] == pytest.approx(expected)
    assert smoothing.name(weight) == f"EMA {weight:g}"


def test_gaps_stay_gaps_and_count_for_nothing() -> None:
    smooth = smoothing.ema(np.array([1.0, math.nan, math.inf, 3.0]), 0.5)
    assert smooth[0] == 1.0 and math.isnan(smooth[1]) and math.isinf(smooth[2])
    assert smooth[3] == pytest.approx((0.25 * 1 + 0.5 * 3) / 0.75)


def test_the_raw_curve_stays_visible_and_the_formula_is_named() -> None:
    noisy = Series("noisy", X, np.sin(X) * 0.3 + 0.5)
    view = View((noisy,), title="T", smoothing=0.9, cursor_x=50.0)
    assert "EMA 0.9 over points, raw behind it" in lines(view)
    assert f"noisy {noisy.y[50]:.6f} EMA 0.9 {smoothing.ema(noisy.y, 0.9)[50]:.6f}" in lines(view)
    inks = {run.ink for line in compose(view, 90, 20)[0] for run in line}
    assert {RAW, SERIES} <= inks
    plain = {run.ink for line in compose(View((noisy,)), 90, 20)[0] for run in line}
    assert RAW not in plain
    assert "," in lines(View((noisy,), ascii=True, smoothing=0.9))


# ---------------------------------------------------------------- bands and legends


def test_a_band_without_width_is_a_line() -> None:
    level = X * 0 + 0.5
    flat = Series("flat", X, level, level, level + 1e-16)
    shown = compose(View((flat,), y_range=(0, 1)), 90, 20)[0]
    assert not any(run.upper or run.lower for line in shown for run in line)
    assert "[" not in lines(View((flat,), y_range=(0, 1)))


def test_what_a_band_is_stands_in_the_legend() -> None:
    seeds = Series("mean of 3 seeds", X, X, X - 9, X + 9, band="95% of the mean of 3 seeds")
    assert "95% of the mean of 3 seeds [91.00, 109.0]" in lines(View((seeds,)))
    assert "band: 95% of the mean" in lines(View((seeds,), title="T"))


def test_names_are_not_cut_while_there_is_room_and_keep_what_differs() -> None:
    pair = ["Q-learning crosses the ice (alpha 0.1)", "Q-learning crosses the ice (alpha 0.5)"]
    roomy = lines(View(tuple(Series(name, X, X) for name in pair)), 150)
    assert all(name in roomy for name in pair)
    tight = lines(View(tuple(Series(name, X, X) for name in pair)), 60, 9)
    assert "(alpha 0.1)" in tight and "(alpha 0.5)" in tight and "…" in tight


@pytest.mark.parametrize(
    ("texts", "width", "expected"),
    [
        (["online success", "online return"], 14, ["online success", "online return"]),
        (["online success", "online return"], 10, ["on…success", "onl…return"]),
        (["A ice (seed 0)", "B ice (seed 1)"], 12, ["A i…(seed 0)", "B i…(seed 1)"]),
        (["walking far", "running"], 6, ["walki…", "runni…"]),
        (["one and the same", "one and the same"], 8, ["one and…", "one and…"]),
    ],
)
def test_labels_keep_what_tells_them_apart(
    texts: list[str], width: int, expected: list[str]
) -> None:
    assert text.cut_apart(texts, width) == expected


# ---------------------------------------------------------------- noise


def test_the_noise_of_rounding_is_zero_and_small_numbers_are_not() -> None:
    assert text.signed(0.1 + 0.2 - 0.3) == "0" and text.number(-1e-16) == "0"
    assert text.signed(1e-12) == "+1.00e-12" and text.number(5e-13) == "5.00e-13"
    assert text.difference(1000.0 + 1e-10, 1000.0) == 0.0
    assert text.difference(0.5, 0.25) == 0.25 and math.isnan(text.difference(math.nan, 1.0))
    assert text.fit_number(-3e-17, 6) == "0"
    assert [text.percent(share) for share in (1 - 1e-16, 2e-16, 1e-12)] == ["100%", "0%", "<0.01%"]
