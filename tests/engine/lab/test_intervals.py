"""Intervals over agents: exact where they can be, and right at least as often as they say.

`python tests/engine/lab/test_intervals.py` prints the long table of coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from engine.core.arrays import Floats
from engine.experiments import intervals
from engine.experiments.intervals import (
    FROM_ZERO,
    OPEN,
    SHARE,
    Ends,
    compare,
    compare_exponents,
    exponent,
    of_group,
)

RANDOM = np.random.default_rng(7)
PROMISED = 0.93
"""Of so many samples at least the interval must hold the true mean."""

Draw = Callable[[np.random.Generator, int], Floats]
FIGURES: dict[str, tuple[Draw, float, Ends]] = {
    "normal": (lambda r, n: r.normal(0.0, 1.0, n), 0.0, OPEN),
    "exponential": (lambda r, n: r.exponential(1.0, n), 1.0, OPEN),
    "exponential, from 0": (lambda r, n: r.exponential(1.0, n), 1.0, FROM_ZERO),
    "log-normal": (lambda r, n: r.lognormal(0.0, 1.0, n), math.exp(0.5), OPEN),
    "log-normal, from 0": (lambda r, n: r.lognormal(0.0, 1.0, n), math.exp(0.5), FROM_ZERO),
    "two values": (lambda r, n: np.where(r.random(n) < 0.95, 0.74, 0.0), 0.74 * 0.95, OPEN),
    "two values, 0 to 1": (
        lambda r, n: np.where(r.random(n) < 0.95, 0.74, 0.0), 0.74 * 0.95, SHARE
    ),
    "two values, 0 to 0.74": (
        lambda r, n: np.where(r.random(n) < 0.95, 0.74, 0.0), 0.74 * 0.95, Ends(0.0, 0.74)
    ),
    "success 30 %": (lambda r, n: np.where(r.random(n) < 0.3, 1.0, 0.0), 0.3, SHARE),
    "success 98 %": (lambda r, n: np.where(r.random(n) < 0.98, 1.0, 0.0), 0.98, SHARE),
    "uniform, 0 to 1": (lambda r, n: r.random(n), 0.5, SHARE),
    "nearly constant": (lambda r, n: r.normal(0.74, 1e-6, n), 0.74, OPEN),
    "nearly constant, 0 to 1": (lambda r, n: r.normal(0.74, 1e-6, n), 0.74, SHARE),
    "nearly constant, 1 in 20 fails": (
        lambda r, n: np.where(r.random(n) < 0.95, r.normal(0.74, 1e-6, n), 0.0), 0.74 * 0.95, SHARE
    ),
    "a constant": (lambda r, n: np.full(n, 0.25), 0.25, SHARE),
}  # fmt: skip
"""What agents may come to: how it is drawn, its mean, and its ends."""
PAIRS = (
    ("normal", "normal"),
    ("log-normal", "normal"),
    ("log-normal", "log-normal"),
    ("exponential, from 0", "log-normal, from 0"),
    ("two values, 0 to 1", "nearly constant, 0 to 1"),
    ("two values, 0 to 1", "a constant"),
    ("success 98 %", "success 30 %"),
    ("nearly constant, 1 in 20 fails", "uniform, 0 to 1"),
)


def coverage_of_mean(name: str, n: int, samples: int) -> tuple[float, float]:
    """How often an interval held the mean, of those there were; and how often there was one."""
    draw, mean, ends = FIGURES[name]
    random = np.random.default_rng([n, 1])
    found = [of_group(draw(random, n), "mean", ends).estimate for _ in range(samples)]
    return _counted(found, mean)


def coverage_of_difference(names: tuple[str, str], n: int, samples: int) -> tuple[float, float]:
    """The same for the difference of two means."""
    (one, a, first), (two, b, second) = (FIGURES[name] for name in names)
    random = np.random.default_rng([n, 2])
    found = [compare(one(random, n), two(random, n), ends=(first, second)) for _ in range(samples)]
    return _counted(found, a - b)


def _counted(found: list[intervals.Estimate], truth: float) -> tuple[float, float]:
    known = [each for each in found if each.known]
    hits = sum(each.low <= truth <= each.high for each in known)
    return hits / len(known) if known else math.nan, len(known) / len(found)


@pytest.fixture
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Enough for coverage, where the noise of single limits averages out."""
    monkeypatch.setattr(intervals, "DRAWS", 1_999)
    intervals._weights.cache_clear()
    yield
    intervals._weights.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize("name", FIGURES)
def test_the_interval_of_a_mean_holds_as_often_as_promised(name: str) -> None:
    """400 samples each: below the promise by more than three standard errors is a failure."""
    for n in (3, 5, 8, 16, 32):
        held, shown = coverage_of_mean(name, n, 400)
        assert shown == 1.0 or name == "two values"
        assert held > PROMISED - 3 * math.sqrt(0.93 * 0.07 / (400 * shown)), (n, held)


@pytest.mark.slow
@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize("names", PAIRS, ids=" minus ".join)
def test_the_interval_of_a_difference_holds_as_often_as_promised(names: tuple[str, str]) -> None:
    for n in (3, 5, 8, 16, 32):
        held, shown = coverage_of_difference(names, n, 400)
        assert shown == 1.0
        assert held > PROMISED - 3 * math.sqrt(0.93 * 0.07 / 400), (n, held)


# ---------------------------------------------------------------- exact


def tail(n: int, p: float, counts: range) -> float:
    """The chance that a binomial count is one of `counts`, in exact arithmetic."""
    chance = Fraction(p)
    terms = (math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in counts)
    return float(sum(terms, Fraction(0)))


@pytest.mark.parametrize(("count", "n"), [(7, 20), (0, 16), (16, 16), (1, 64), (63, 64), (2, 3)])
def test_of_zeros_and_ones_the_limits_are_clopper_and_pearson_s(count: int, n: int) -> None:
    """By definition: each makes what was seen, or more, a chance of a fortieth."""
    ones = np.repeat([1.0, 0.0], [count, n - count])
    found = of_group(ones, "mean", SHARE).estimate
    assert found.value == count / n
    if count > 0:
        assert tail(n, found.low, range(count, n + 1)) == pytest.approx(0.025, abs=0.005)
    if count < n:
        assert tail(n, found.high, range(count + 1)) == pytest.approx(0.025, abs=0.005)
    assert (found.low == 0.0) == (count == 0) and (found.high == 1.0) == (count == n)
    times = np.where(ones == 1.0, 5.0, math.nan)
    assert of_group(times, "share").estimate == found


@pytest.mark.parametrize("n", [6, 15, 20, 64])
def test_the_limits_of_a_median_are_those_of_the_sign_test(n: int) -> None:
    """Outside of these two agents the median lies with a chance of at most a fortieth each."""
    found = of_group(np.arange(1.0, n + 1), "median").estimate
    outside = next(k for k in range(n) if tail(n, 0.5, range(k + 1)) > 0.025)
    assert (found.low, found.high) == (outside, n + 1 - outside)


def test_agents_who_agree_leave_room_for_one_that_does_not() -> None:
    """All of 16 agents at 0.74, of 0 to 1: exactly as many may fail as of 16 that all succeed."""
    found = of_group(np.full(16, 0.74), "mean", SHARE).estimate
    missed = 1 - 0.025 ** (1 / 16)
    assert found.low == pytest.approx(0.74 * (1 - missed), abs=0.005)
    assert found.high == pytest.approx(0.74 + 0.26 * missed, abs=0.005)


def test_equivalent_figures_have_equivalent_intervals() -> None:
    """A score of 2 for each success says the same of success as the success rate."""
    of, against = np.repeat([1.0, 0.0], [7, 1]), np.repeat([1.0, 0.0], [3, 5])
    success = compare(of, against, ends=(SHARE, SHARE))
    score = compare(2.0 * of, 2.0 * against, ends=(Ends(0.0, 2.0), Ends(0.0, 2.0)))
    assert (score.low, score.high) == pytest.approx((2 * success.low, 2 * success.high))


def test_a_difference_turned_round_is_the_same_difference() -> None:
    of, against = RANDOM.gamma(4.0, 1.0, 32), RANDOM.gamma(2.0, 1.0, 32)
    there, back = compare(of, against), compare(against, of)
    width = there.high - there.low
    assert (-back.high, -back.low) == pytest.approx((there.low, there.high), abs=0.05 * width)


def test_a_ratio_is_of_what_is_not_below_zero() -> None:
    of, against = RANDOM.gamma(4.0, 1.0, 64), RANDOM.gamma(2.0, 1.0, 64)
    found = compare(of, against, "ratio", ends=(FROM_ZERO, FROM_ZERO))
    assert found.value == of.mean() / against.mean() and found.low < 2.0 < found.high
    assert math.isnan(compare(np.array([-1.0, 2, 3]), np.ones(3), "ratio").value)
    none = compare(np.ones(20), np.zeros(20), "ratio", ends=(SHARE, SHARE))
    assert (none.value, none.high) == (math.inf, math.inf)
    assert math.isnan(compare(np.zeros(20), np.zeros(20), "ratio").value)


def test_the_same_agents_have_the_same_interval() -> None:
    of, against = RANDOM.gamma(4.0, 1.0, 32), RANDOM.gamma(2.0, 1.0, 32)
    first = compare(of, against)
    intervals._weights.cache_clear()
    assert compare(of, against) == first
    assert compare(of[::-1], against).value == pytest.approx(first.value)


# ---------------------------------------------------------------- without an interval


@pytest.mark.parametrize("statistic", ["mean", "median", "share"])
def test_too_few_agents_have_none_and_it_is_said_how_many_would_do(
    statistic: intervals.Statistic,
) -> None:
    need = intervals.FEWEST[statistic]
    enough, few = RANDOM.random(need), RANDOM.random(need - 1)
    assert of_group(enough, statistic).estimate.known
    for found in (
        of_group(few, statistic).estimate, compare(few, enough, "difference", statistic),
        exponent([1, 2, 3], [enough, few, enough], statistic).estimate,
    ):  # fmt: skip
        assert not found.known and f"at least {need} agents" in found.why


def test_agents_who_agree_in_a_figure_without_ends_have_none() -> None:
    for ends in (OPEN, FROM_ZERO):
        found = of_group(np.full(16, 3.0), "mean", ends).estimate
        assert (found.value, found.known) == (3.0, False) and "all agents agree" in found.why
        assert not compare(np.full(9, 3.0), np.full(9, 2.0), ends=(ends, ends)).known
    nearly = of_group(np.array([0.1 + 0.2, 0.3, 0.3])).estimate
    assert not nearly.known  # they differ by rounding only
    # Beside others who differ they have one.
    assert compare(np.full(9, 3.0), RANDOM.normal(9.0, 1.0, 9)).high < 0


# ---------------------------------------------------------------- agents that never got there


def test_a_median_counts_those_that_never_got_there_as_infinitely_late() -> None:
    times = np.array([10.0, 20.0, 30.0, 40.0, math.nan, math.nan, math.nan])
    group = of_group(times, "median", FROM_ZERO)
    assert (group.n, group.reached) == (7, 4)
    assert group.estimate.value == 40.0 and group.estimate.high == math.inf
    never = of_group(np.array([1.0, math.nan, math.nan]), "median")
    assert never.estimate.value == math.inf


def test_a_mean_is_not_taken_over_those_that_happen_to_have_a_figure() -> None:
    times = np.array([10.0, 20.0, math.nan])
    assert math.isnan(of_group(times, "mean").estimate.value)
    assert math.isnan(compare(times, np.ones(3), "difference").value)


def test_a_ratio_of_medians_is_zero_when_only_the_other_never_got_there() -> None:
    quick, never = np.arange(10.0, 17), np.full(7, math.nan)
    ends = (FROM_ZERO, FROM_ZERO)
    found = compare(quick, never, "ratio", "median", ends)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert compare(quick, never, "difference", "median", ends).value == -math.inf
    unknown = compare(never, never, "ratio", "median", ends)
    assert math.isnan(unknown.value)
    assert (unknown.low, unknown.high) == (-math.inf, math.inf)


def test_draws_without_a_value_widen_the_interval_to_both_sides() -> None:
    """Half of the agents of both groups never got there: their medians are often both infinite."""
    times = np.array([1.0, 2, 3, 4, 5, math.nan, math.nan, math.nan, math.nan])
    found = compare(times, times, "ratio", "median", (FROM_ZERO, FROM_ZERO))
    assert found.value == 1.0
    assert (found.low, found.high) == (-math.inf, math.inf)


# ---------------------------------------------------------------- growth


def test_the_exponent_of_a_power_law_is_found() -> None:
    sizes = [16, 36, 64, 144]
    groups = [3.0 * size**1.5 * RANDOM.lognormal(0.0, 0.2, 32) for size in sizes]
    found = exponent(sizes, groups, "median").estimate
    slope = np.polyfit(np.log(sizes), [np.log(np.median(group)) for group in groups], 1)[0]
    assert found.value == pytest.approx(slope)
    assert found.low < 1.5 < found.high and found.high - found.low < 0.3


def test_exponents_are_compared_by_their_draws() -> None:
    sizes = [16, 36, 64, 144]
    steep, flat = (
        exponent(sizes, [size**e * RANDOM.lognormal(0.0, 0.2, 32) for size in sizes], "median")
        for e in (1.5, 1.0)
    )
    found = compare_exponents(steep, flat)
    assert found.value == pytest.approx(steep.estimate.value - flat.estimate.value)
    assert found.low < 0.5 < found.high
    alone = [each.estimate.high - each.estimate.low for each in (steep, flat)]
    # Independent errors add up like the sides of a right angle.
    assert found.high - found.low == pytest.approx(math.hypot(*alone), rel=0.15)


def test_no_exponent_where_agents_never_got_there() -> None:
    groups = [np.arange(10.0, 16), np.arange(20.0, 26), np.full(6, math.nan)]
    found = exponent([4, 9, 16], groups, "median").estimate
    assert math.isnan(found.value) and (found.low, found.high) == (-math.inf, math.inf)


# ---------------------------------------------------------------- the long table


def print_table(samples: int = 4_000, sizes: tuple[int, ...] = (3, 5, 8, 16, 32, 64)) -> None:
    """Coverage in %, and behind a slash how many samples had an interval, where not all had."""
    print("mean".ljust(62), *(f"n={n}".rjust(9) for n in sizes))
    for name in FIGURES:
        print(name.ljust(62), *(_cell(*coverage_of_mean(name, n, samples)) for n in sizes))
    for names in PAIRS:
        row = [_cell(*coverage_of_difference(names, n, samples)) for n in sizes]
        print(" minus ".join(names).ljust(62), *row, flush=True)


def _cell(held: float, shown: float) -> str:
    return (f"{100 * held:.1f}" + ("" if shown == 1.0 else f"/{100 * shown:.0f}")).rjust(9)


if __name__ == "__main__":
    intervals.DRAWS = 1_999
    print_table()
