"""The chart as people see it: what stands where, what the legend says, at which sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rich.cells import cell_len

from tui.plot.chart import compose
from tui.plot.chart_plot import MARKERS, PATTERNS, REFERENCE, SERIES
from tui.plot.chart_view import Reference, Series, View

X = np.arange(101.0)
RISING = Series("rising", X, X / 100, X / 100 - 0.1, X / 100 + 0.1)
FALLING = Series("falling", X, 1 - X / 100)
OPTIMUM = Reference("optimum", 0.74)
SIZES = [(1, 1), (3, 2), (9, 4), (20, 5), (37, 7), (40, 8), (80, 10), (80, 24), (200, 50)]


def picture(view: View, width: int, height: int) -> list[str]:
    lines, _ = compose(view, width, height)
    return ["".join(run.text for run in line) for line in lines]


def text(view: View, width: int = 80, height: int = 20) -> str:
    return "\n".join(picture(view, width, height))


def dots(lines: list[str]) -> np.ndarray:
    """The braille dots of a picture, (4 x height, 2 x width)."""
    grid = np.zeros((4 * len(lines), 2 * len(lines[0])), dtype=bool)
    place = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1))
    for y, line in enumerate(lines):
        for x, glyph in enumerate(line):
            for bit, (row, column) in enumerate(place):
                if 0x2800 <= ord(glyph) <= 0x28FF and (ord(glyph) - 0x2800) >> bit & 1:
                    grid[4 * y + row, 2 * x + column] = True
    return grid


def plot_of(view: View, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The dots of the plot alone and the ink of each of its cells."""
    lines, where = compose(view, width, height)
    assert where is not None
    first = height - where.rows - where.x_labels - where.x_line
    rows = lines[first : first + where.rows]
    cells = slice(where.left, where.left + where.columns)
    inks = np.array([[run.ink for run in line for _ in run.text] for line in rows])
    return dots(["".join(run.text for run in line)[cells] for line in rows]), inks[:, cells]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_every_size_is_filled_exactly(size: tuple[int, int], ascii_only: bool, log: bool) -> None:
    many = tuple(Series(f"series {i} 測試", X, X + i, X, X + 2 * i) for i in range(8))
    for series in ((), (RISING, FALLING), many):
        view = View(
            series, (OPTIMUM,), title="題" * 30, x_label="歩 steps", empty="no data: wait",
            ascii=ascii_only, log_x=log, log_y=log, cursor_x=50.0,
        )  # fmt: skip
        lines = picture(view, *size)
        assert [cell_len(line) for line in lines] == [size[0]] * size[1]


@pytest.mark.parametrize("size", [(20, 5), (40, 8), (80, 24)])
def test_curves_survive_at_every_size(size: tuple[int, int]) -> None:
    assert dots(picture(View((RISING,)), *size)).sum() > size[0]


def test_axes_have_their_place_and_go_when_room_is_short() -> None:
    large = picture(View((RISING,), y_range=(0, 1)), 60, 16)
    assert large[-1].split() == ["0", "20", "40", "60", "80", "100"]
    assert large[-2].lstrip().startswith("└┬─") and large[-2].count("┬") == 6
    assert [line[:4] for line in large if "┤" in line] == ["1.0┤", "0.5┤", "  0┤"]
    small = picture(View((RISING,)), 30, 5)
    assert small[0].startswith("●") and not any("└" in line for line in small)
    assert small[-1].split()[0] == "0"
    assert not any("●" in line and "rising" in line for line in picture(View((RISING,)), 30, 3))


def test_a_curve_goes_through_the_right_dots() -> None:
    grid, _ = plot_of(View((RISING,), y_range=(0, 1)), 40, 12)
    rows, columns = grid.shape
    for x, y in zip(X, X / 100, strict=True):
        column = math.floor(x / 100 * (columns - 1) + 0.5)
        row = rows - 1 - y * (rows - 1)
        assert grid[math.floor(row + 0.5), column]
    assert grid.sum() <= 2 * columns


def test_extremes_of_ten_thousand_points_are_drawn() -> None:
    """Whatever the series' line pattern is."""
    y = np.zeros(10_000)
    y[1234], y[8765] = 5.0, -5.0
    for index in range(6):
        others = [Series(f"s{i}", X[:1], X[:1]) for i in range(index)]
        plot, _ = plot_of(View((*others, Series("spiky", np.arange(10_000.0), y))), 80, 24)
        assert plot[0].any() and plot[-1].any()


def test_nan_is_a_gap_and_infinity_leaves_the_chart() -> None:
    y = np.full(101, 0.5)
    y[40:61] = np.nan
    plot, _ = plot_of(View((Series("gap", X, y),), y_range=(0, 1)), 60, 12)
    used = np.asarray(plot.any(axis=0))
    assert not used[int(0.4 * used.size) : int(0.6 * used.size)].any()
    assert used[: int(0.38 * used.size)].all() and used[int(0.62 * used.size) :].all()
    y = np.full(101, 0.5)
    y[50] = np.inf
    plot, _ = plot_of(View((Series("diverged", X, y),), y_range=(0, 1)), 60, 12)
    assert plot[0].any() and not plot[-1].any()


def bands(view: View, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The bit sets of the bands behind the upper and the lower half of every cell of the plot."""
    lines, where = compose(view, width, height)
    assert where is not None
    first = height - where.rows - where.x_labels - where.x_line
    runs = [[run for run in line for _ in run.text] for line in lines[first : first + where.rows]]
    cells = slice(where.left, where.left + where.columns)
    upper = np.array([[run.upper for run in line] for line in runs])
    lower = np.array([[run.lower for run in line] for line in runs])
    return upper[:, cells], lower[:, cells]


def test_bands_lie_between_low_and_high() -> None:
    half, zero = np.full(101, 0.5), np.zeros(101)
    series = Series("banded", X, half, zero, half)
    upper, lower = bands(View((series,), y_range=(0, 1)), 60, 15)
    rows = upper.shape[0]
    stacked = np.stack([upper, lower], axis=1).reshape(2 * rows, -1)
    edge = math.floor((1 - 0.5) * (4 * rows - 1) + 0.5) // 2
    assert not stacked[:edge].any()
    assert stacked[edge + 1 :].all()


def test_overlapping_bands_keep_their_identity() -> None:
    full, zero = np.ones(101), np.zeros(101)
    first = Series("a", X, full, zero, full)
    second = Series("b", X, full, full / 2, full)
    upper, lower = bands(View((first, second), y_range=(0, 1)), 60, 15)
    assert set(np.unique(upper)) == {1, 3} and set(lower[-1]) == {1}


def test_half_blocks_stand_only_on_band_edges() -> None:
    half = np.full(101, 0.5)
    level = Series("level", X, 0.9 + 0 * X, 0 * X, half)
    edge = Reference("on the edge of the band", 0.5)
    blocks = 0
    for view in (View((RISING,)), View((level,), (edge,), y_range=(0, 1))):
        for height in range(12, 24):
            for run in (run for line in compose(view, 70, height)[0] for run in line):
                differ = run.upper != run.lower
                expected = {"▄"} if run.upper == 0 else {"▀"}
                assert set(run.text) == expected if differ else not set(run.text) & {"▀", "▄"}
                blocks += differ
    assert blocks > 100


def test_dots_are_shared_and_the_later_series_gives_the_colour() -> None:
    rising, falling, nothing = (Series("s", X, y) for y in (X / 100, 1 - X / 100, X * np.nan))
    both, inks = plot_of(View((rising, falling), y_range=(0, 1)), 60, 14)
    first, _ = plot_of(View((rising, nothing), y_range=(0, 1)), 60, 14)
    second, _ = plot_of(View((nothing, falling), y_range=(0, 1)), 60, 14)
    np.testing.assert_array_equal(both, first | second)
    cells = [grid.reshape(grid.shape[0] // 4, 4, -1, 2) for grid in (first, second)]
    by_first, by_second = (np.any(grid, axis=(1, 3)) for grid in cells)
    assert np.any(by_first & by_second)
    assert set(inks[by_second].tolist()) == {SERIES + 1}


def test_references_are_dashed_and_named_where_no_curve_is() -> None:
    view = View((FALLING,), (OPTIMUM,), y_range=(0, 1))
    lines, _ = compose(view, 80, 20)
    in_ink = ["".join(run.text for run in line if run.ink == REFERENCE) for line in lines]
    named = [ink for ink in in_ink[1:] if "optimum" in ink]
    assert len(named) == 1 and len(named[0].split()) > 8, "dashes with the name among them"
    assert "optimum 0.7400" in text(view)
    learned = Series("learned", X, np.minimum(X / 60, 0.74))
    curve, _ = plot_of(View((learned,), y_range=(0, 1)), 80, 20)
    with_line, _ = plot_of(View((learned,), (OPTIMUM,), y_range=(0, 1)), 80, 20)
    assert not (curve & ~with_line).any(), "the name hides no dot of the curve"
    far = View((FALLING,), (Reference("far away", 9.0),), y_range=(0, 1))
    assert text(far).count("far away") == 1, "out of view it stands in the legend only"


def test_references_are_in_view_unless_told_otherwise() -> None:
    labels = [
        line.split("┤")[0].strip()
        for line in picture(View((FALLING,), (Reference("r", 5.0),)), 60, 20)
    ]
    assert "5" in labels or "4" in labels


def test_legend_has_current_values_and_bands() -> None:
    shown = text(View((RISING, FALLING), (OPTIMUM,)), 120, 20)
    assert "rising 1.000 P10–P90 [0.9000, 1.100]" in shown
    assert "falling 0" in shown
    unfinished = Series("late", X, np.where(X > 90, np.nan, X))
    assert "late 90.00" in text(View((unfinished,)))


def test_legend_shortens_itself_step_by_step() -> None:
    view = View((RISING, FALLING), (OPTIMUM,), cursor_x=50.0)
    assert "[0.400000, 0.600000]" in picture(view, 110, 9)[0]
    assert "[" not in picture(view, 85, 9)[0] and "⠤⠤⠤ rising" in picture(view, 85, 9)[0]
    assert picture(view, 60, 9)[0].startswith("● rising 0.500000")
    assert picture(view, 32, 9)[0].startswith("● 0.5000 ▲ 0.5000 x = 50")
    assert picture(view, 20, 5)[0] == "● 0.5000 ▲ 0.5000 +2"


def test_legend_reads_without_colour() -> None:
    many = View(tuple(Series(f"s{i}", X, X + i) for i in range(6)))
    legend = "\n".join(picture(many, 120, 30)[:2])
    marks = [legend[legend.index(f" s{i} ") - 5 : legend.index(f" s{i} ")] for i in range(6)]
    assert len({mark[0] for mark in marks}) == len({mark[1:] for mark in marks}) == 6
    assert "".join(mark[0] for mark in marks) == MARKERS
    assert len(set(PATTERNS)) == 6


def test_markers_stand_where_the_curves_end() -> None:
    lines = picture(View((RISING, FALLING), y_range=(0, 1)), 80, 20)
    plot = lines[-20 + 1 : -2]
    assert plot[0].rstrip().endswith("●") and plot[-1].rstrip().endswith("▲")
    level = [Series(f"s{i}", X, np.zeros(101)) for i in range(3)]
    together = [line.rstrip() for line in picture(View(tuple(level)), 80, 20)]
    assert any(line.endswith("●▲■") for line in together[2:])


def test_log_axes_say_what_they_leave_out() -> None:
    x = np.array([-1.0, 0, 1, 10, 100])
    y = np.array([1.0, 1, 0, 5, -3])
    view = View((Series("s", x, y),), title="T", log_x=True)
    assert "2 points ≤ 0 left out" in text(view)
    assert "log x" in text(view)
    both = View((Series("s", x, y),), log_x=True, log_y=True)
    assert "4 points ≤ 0 left out" in text(both) and "log x and y" in text(both)
    assert "4 left out" in text(both, 20, 5)
    assert "left out" not in text(View((Series("s", x, y),)))
    hopeless = View((Series("s", x, y - 9),), log_y=True, title="T")
    assert "5 points ≤ 0 left out" in text(hopeless) and "┤" not in text(hopeless)


def test_log_ticks_are_at_powers() -> None:
    x = np.geomspace(1, 1e6, 50)
    lines = picture(View((Series("s", x, x),), log_x=True, log_y=True), 80, 24)
    assert lines[-1].split() == ["1", "10", "100", "1k", "10k", "100k", "1M"]


def test_a_straight_line_on_log_axes_is_straight() -> None:
    x = np.geomspace(1, 1e4, 400)
    view = View((Series("s", x, x**2),), log_x=True, log_y=True)
    plot, _ = plot_of(view, 60, 20)
    for row, column in np.argwhere(plot):
        expected = (1 - column / (plot.shape[1] - 1)) * (plot.shape[0] - 1)
        assert abs(row - expected) <= 1


def test_a_band_below_zero_reaches_the_bottom_of_a_log_axis() -> None:
    ones = np.ones(101)
    series = Series("s", X, ones, -ones, 10 * ones)
    deep = Series("deep", X, 0.01 * ones)
    upper, lower = bands(View((series, deep), log_y=True), 60, 15)
    assert (upper & 1).all() and (lower & 1).all()


def test_cursor_reads_the_values_recorded_there() -> None:
    sparse = Series("s", np.array([10.0, 20, 30]), np.array([0.1, np.nan, 0.3]))
    assert "s 0.1000" in text(View((sparse,), cursor_x=19.0))
    assert "s - " in text(View((sparse,), cursor_x=20.0)) + " "
    assert "s -" in text(View((sparse,), cursor_x=9.0)), "before the first point"
    assert "s 0.3000" in text(View((sparse,), cursor_x=1e9))
    assert "x = 12,345" in text(View((sparse,), cursor_x=12345.0))
    with_line, without = (
        dots(picture(View((sparse,), cursor_x=at), 60, 12)[2:]).sum() for at in (25.0, None)
    )
    assert with_line >= without + 15


def test_ascii_is_ascii() -> None:
    series = tuple(Series(f"π₀ — {i} ×", X, X + i, X, X + 2 * i) for i in range(7))
    view = View(
        series, (Reference("optimum ★", 3.0),), title="Rückkehr ↑", x_label="Schritte ·",
        ascii=True, log_x=True, log_y=True, cursor_x=40.0,
    )  # fmt: skip
    for width, height in SIZES:
        assert text(view, width, height).isascii()
    assert text(View(empty="nothing – yet…", title="π", ascii=True)).isascii()
    shown = text(View((RISING, FALLING), (OPTIMUM,), ascii=True), 80, 20)
    assert all(glyph in shown for glyph in ("* rising", "+ falling", "-- optimum", ".....", "|"))


def test_only_single_width_glyphs_of_the_basic_plane() -> None:
    series = tuple(Series(f"s{i}", X, X + i, X, X + 2 * i) for i in range(6))
    view = View(series, (OPTIMUM,), title="T", log_y=True, log_x=True, cursor_x=9.0)
    for glyph in set(text(view, 100, 30)) - {"\n"}:
        assert cell_len(glyph) == 1 and ord(glyph) < 0x10000


def test_foreign_text_is_plain() -> None:
    evil = "[bold red]\x1b[31mx\x1b]0;title\x07\r\n\t\x9b2J\u202ey"
    view = View((Series(evil, X, X),), (Reference(evil, 50.0),), title=evil, x_label=evil)
    for shown in (text(view, 120, 24), text(View(empty=evil, title=evil))):
        assert "[bold red]x" in shown
        assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in shown)
        assert "\u202e" not in shown and "title" not in shown


def test_empty_says_what_to_do() -> None:
    shown = picture(View(title="Return", empty="no data yet: press space"), 40, 9)
    assert shown[0].strip() == "Return" and shown[4].strip() == "no data yet: press space"
    nothing = Series("s", X, np.full(101, np.nan))
    assert "no data yet" in text(View((nothing,), (OPTIMUM,)))
    assert "no data yet" in text(View((Series("s", X[:0], X[:0]),)))
    assert " ".join(text(View(empty="no data yet"), 6, 4).split()) == "no data yet"


def test_single_points_constants_and_huge_values_are_drawn() -> None:
    for y in ([1.0], [0.0] * 5, [1e308, -1e308], [1e-300, 2e-300], [np.inf, 1.0], [5.0, np.nan]):
        values = np.array(y)
        assert dots(picture(View((Series("s", X[: len(y)], values),)), 60, 12)[1:]).any()


def test_series_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="'s': y is not as long as x"):
        Series("s", X, X[:5])
    with pytest.raises(ValueError, match="needs both low and high"):
        Series("s", X, X, low=X)
    for x in (X[::-1], np.where(X == 3, np.nan, X), np.where(X == 100, np.inf, X)):
        with pytest.raises(ValueError, match="finite and ascending"):
            Series("s", x, X)
