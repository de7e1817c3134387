"""The rasteriser against loops that do the same by definition, and the scales under stress."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.core.arrays import Bools, Floats
from tui.plot.braille import (
    FAR,
    Columns,
    Scale,
    braille_cells,
    fill,
    half_cells,
    linear_ticks,
    texture,
    tick_label,
)
from tui.plot.chart_plot import PATTERNS


def near(position: float) -> int:
    return math.floor(position + 0.5)


def slow_spans(positions: Floats, rows: Floats) -> dict[int, tuple[int, int]]:
    """{column: (top, bottom)} of the points and of the lines across columns without points."""
    seen: dict[int, list[int]] = {}
    for position, row in zip(positions, rows, strict=True):
        if not math.isnan(row):
            seen.setdefault(near(position), []).append(near(row))
    for i in range(len(positions) - 1):
        if math.isnan(rows[i]) or math.isnan(rows[i + 1]):
            continue
        for column in range(near(positions[i]) + 1, near(positions[i + 1])):
            share = (column - positions[i]) / (positions[i + 1] - positions[i])
            seen.setdefault(column, []).append(near(rows[i] + share * (rows[i + 1] - rows[i])))
    return {column: (min(found), max(found)) for column, found in seen.items()}


def slow_line(positions: Floats, rows: Floats, count: int, height: int) -> Bools:
    """The dots of a line, (height, count), one dot after the other."""
    spans = slow_spans(positions, rows)
    dots = np.zeros((height, count), dtype=bool)
    for column, (top, bottom) in spans.items():
        for row in range(height):
            dots[row, column] = top <= row <= bottom
    for i in range(len(positions) - 1):
        if math.isnan(rows[i]) or math.isnan(rows[i + 1]):
            continue
        for column in range(near(positions[i]), near(positions[i + 1])):
            here, there = spans[column], spans[column + 1]
            upper, lower = sorted((here, there))
            middle = (upper[1] + lower[0]) // 2
            for row in range(max(0, upper[1] + 1), min(height, lower[0])):
                side = here if (row <= middle) == (upper == here) else there
                dots[row, column if side is here else column + 1] = True
    return dots


def random_points(random: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Positions and rows of 0 to 30 points with gaps, clusters and infinite rows."""
    n = int(random.integers(0, 31))
    positions = np.sort(random.choice(random.uniform(0, count - 1, 12), n) if n else np.empty(0))
    rows = random.uniform(-6, 22, n)
    rows[random.random(n) < 0.15] = np.nan
    rows[random.random(n) < 0.05] = FAR
    rows[random.random(n) < 0.05] = -FAR
    return positions, rows


@pytest.mark.parametrize("seed", range(150))
def test_line_equals_the_slow_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 14)) * 2
    positions, rows = random_points(random, count)
    fast = fill(Columns(positions, count).line(rows), 16)
    np.testing.assert_array_equal(fast, slow_line(positions, rows, count, 16))


@pytest.mark.parametrize("seed", range(60))
def test_band_equals_the_slow_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 14)) * 2
    positions, upper = random_points(random, count)
    lower = upper + random.uniform(0, 8, upper.size)
    lower[random.random(upper.size) < 0.1] = np.nan
    upper[np.isnan(lower)] = np.nan
    tops, bottoms = (slow_spans(positions, edge) for edge in (upper, lower))
    expected = np.zeros((16, count), dtype=bool)
    for column in tops:
        for row in range(16):
            expected[row, column] = tops[column][0] <= row <= bottoms[column][1]
    np.testing.assert_array_equal(fill(Columns(positions, count).band(upper, lower), 16), expected)


def test_a_band_is_a_gap_where_either_edge_is_unknown() -> None:
    positions, nan = np.arange(4.0), np.nan
    columns = Columns(positions, 4)
    band = columns.band(np.array([0, nan, 0, 0]), np.array([3, 3, nan, 3.0]))
    assert fill(band, 4).all(axis=0).tolist() == [True, False, False, True]
    assert fill(band, 4).any(axis=0).tolist() == [True, False, False, True]


def test_a_line_has_no_holes_and_no_thick_slopes() -> None:
    rows = np.array([0.0, 1, 2, 3, 40, 39, 38, 0])
    dots = fill(Columns(np.arange(8.0), 8).line(rows), 44)
    for left, right in zip(dots.T, dots.T[1:], strict=False):
        gap = min(abs(a - b) for a in np.flatnonzero(left) for b in np.flatnonzero(right))
        assert gap <= 1
    assert dots[:, :3].sum(axis=0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_hides_a_spike(pattern: tuple[bool, ...]) -> None:
    """One point of 10,000, up or down, at any phase of the pattern."""
    for at in range(5_000, 5_500, 37):
        for spike, row in ((0.0, 0), (79.0, 79)):
            rows = np.full(10_000, 40.0)
            rows[at] = spike
            spans = Columns(np.linspace(0, 239, 10_000), 240).line(rows)
            assert texture(spans, 80, pattern)[row].any()


@pytest.mark.parametrize("seed", range(20))
def test_textures_keep_the_range_and_add_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.uniform(5, 75) + random.normal(0, random.uniform(0, 10), 400).cumsum() / 9
    spans = Columns(np.linspace(0, 119, 400), 120).line(np.clip(rows, 0, 79))
    dots = fill(spans, 80)
    for pattern in PATTERNS:
        drawn = texture(spans, 80, pattern)
        assert not (drawn & ~dots).any()
        used = np.flatnonzero(drawn.any(axis=1))
        expected = np.flatnonzero(dots.any(axis=1))
        assert (used[0], used[-1]) == (expected[0], expected[-1])


def test_textures_of_a_flat_line_all_differ() -> None:
    spans = Columns(np.array([0.0, 23.0]), 24).line(np.array([4.0, 4.0]))
    rows = [texture(spans, 8, pattern)[4] for pattern in PATTERNS]
    assert len({row.tobytes() for row in rows}) == len(PATTERNS)


def test_a_single_point_is_one_dot() -> None:
    for pattern in PATTERNS:
        for column in range(12):
            spans = Columns(np.array([float(column)]), 12).line(np.array([3.0]))
            assert np.argwhere(texture(spans, 8, pattern)).tolist() == [[3, column]]


def test_cells_are_the_standard_braille_dots() -> None:
    """Unicode numbers the dots 1-2-3-7 down the left column and 4-5-6-8 down the right one."""
    random = np.random.default_rng(0)
    dots = random.random((12, 10)) < 0.4
    number = {
        (0, 0): 1,
        (1, 0): 2,
        (2, 0): 3,
        (3, 0): 7,
        (0, 1): 4,
        (1, 1): 5,
        (2, 1): 6,
        (3, 1): 8,
    }
    expected = np.zeros((3, 5), dtype=int)
    for row, column in np.argwhere(dots):
        expected[row // 4, column // 2] |= 1 << (number[row % 4, column % 2] - 1)
    np.testing.assert_array_equal(braille_cells(dots), expected)


def test_half_cells_are_touched_by_any_of_their_dots() -> None:
    random = np.random.default_rng(1)
    dots = random.random((12, 10)) < 0.2
    expected = np.zeros((6, 5), dtype=bool)
    for row, column in np.argwhere(dots):
        expected[row // 2, column // 2] = True
    np.testing.assert_array_equal(half_cells(dots), expected)


def test_scale_puts_the_ends_on_the_first_and_last_dot() -> None:
    for scale in (Scale(-3, 7), Scale(0.01, 1000, log=True)):
        ends = np.array([scale.low, scale.high])
        np.testing.assert_allclose(scale.positions(ends, 100), [0, 99], atol=1e-9)
        assert scale.value(99, 100) == pytest.approx(scale.high)
        for x in (scale.low, scale.high, 0.5):
            assert scale.value(scale.positions(np.array([x]), 100)[0], 100) == pytest.approx(x)


def test_scale_ignores_what_it_cannot_show() -> None:
    values = np.array([np.nan, -np.inf, -5, 0, 2, 8, np.inf])
    assert Scale.fit([values]) == Scale(-5, 8)
    assert Scale.fit([values], log=True) == Scale(2, 8, True)
    assert Scale.fit([values], log=True, limits=(0, 100)) == Scale(2, 100, True)
    assert Scale.fit([values], limits=(0, None)) == Scale(0, 8)
    assert Scale.fit([np.array([np.nan, np.inf])]) is None
    assert Scale.fit([values[:4]], log=True) is None
    assert np.isnan(Scale(1, 10, True).positions(np.array([0, -1, np.nan]), 10)).all()


@pytest.mark.parametrize(
    "values",
    [[0.0], [5.0, 5.0], [-2.0], [1e300, 1e300], [1e-310], [-1.7e308, 1.7e308], [1.0, 1.0 + 1e-15]],
)
def test_scale_of_thin_and_huge_ranges_is_usable(values: list[float]) -> None:
    data = np.array(values)
    scale = Scale.fit([data])
    assert scale is not None and scale.low < scale.high
    positions = scale.positions(data, 50)
    assert ((positions >= -1e-9) & (positions <= 49 + 1e-9)).all()
    assert scale.ticks(5)[0]


def test_limits_beyond_the_data_still_give_a_range() -> None:
    for limits in ((10.0, None), (None, -10.0), (3.0, 3.0), (5.0, 1.0)):
        scale = Scale.fit([np.array([0.0, 1.0])], limits=limits)
        assert scale is not None and scale.low < scale.high


def parsed(label: str) -> float:
    unit = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(label[-1])
    return float(label[:-1]) * unit if unit else float(label)


@pytest.mark.parametrize("seed", range(200))
def test_tick_labels_say_the_ticks(seed: int) -> None:
    random = np.random.default_rng(seed)
    low = random.normal() * 10.0 ** random.integers(-8, 13)
    high = low + abs(low) * 10.0 ** random.uniform(-4, 3)
    ticks, step = linear_ticks(low, high, int(random.integers(2, 12)))
    labels = [tick_label(tick, step) for tick in ticks]
    assert len(set(labels)) == len(labels)
    margin = 1e-6 * step
    for tick, label in zip(ticks, labels, strict=True):
        assert low - margin <= tick <= high + margin
        assert parsed(label) == pytest.approx(tick, abs=1e-3 * step)


def test_tick_labels_read_well() -> None:
    def labels(low: float, high: float, count: int, log: bool = False) -> list[str]:
        ticks, step = Scale(low, high, log).ticks(count)
        return [tick_label(tick, step) for tick in ticks]

    assert labels(0, 1, 5) == ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert labels(-1, 1, 4) == ["-1.0", "-0.5", "0", "0.5", "1.0"]
    assert labels(0, 2000, 4) == ["0", "500", "1k", "1.5k", "2k"]
    assert labels(0, 3e6, 3) == ["0", "1M", "2M", "3M"]
    assert labels(0, 4e-5, 4) == ["0", "1e-5", "2e-5", "3e-5", "4e-5"]
    assert labels(0.001, 1e6, 12, log=True)[:4] == ["0.001", "0.01", "0.1", "1"]
    assert labels(1, 1e6, 3, log=True) == ["1", "1k", "1M"]
    assert labels(1, 10, 6, log=True) == ["1", "2", "5", "10"]
    assert labels(3, 8, 5, log=True) == ["3", "4", "5", "6", "7", "8"]
