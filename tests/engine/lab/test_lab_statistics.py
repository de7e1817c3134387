"""Intervals over agents: exact where they can be, and right about as often as they say."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from engine.experiments.lab import statistics
from engine.experiments.lab.statistics import (
    compare,
    compare_exponents,
    exact_share,
    exponent,
    is_chance,
    of_group,
)

RANDOM = np.random.default_rng(7)


def tail(n: int, p: float, counts: range) -> Fraction:
    """The chance that a binomial count is one of `counts`, in exact arithmetic."""
    chance = Fraction(p)
    return sum((math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in counts), Fraction(0))


@pytest.mark.parametrize(("count", "n"), [(7, 20), (0, 16), (16, 16), (1, 64), (63, 64)])
def test_the_ends_for_a_share_make_what_was_seen_a_chance_of_a_fortieth(count: int, n: int) -> None:
    """Clopper & Pearson (1934), by definition."""
    found = exact_share(count, n)
    assert found.value == count / n
    if count > 0:
        assert float(tail(n, found.low, range(count, n + 1))) == pytest.approx(0.025, abs=1e-9)
    if count < n:
        assert float(tail(n, found.high, range(count + 1))) == pytest.approx(0.025, abs=1e-9)
    assert (found.low == 0.0) == (count == 0) and (found.high == 1.0) == (count == n)


def test_a_group_that_agrees_in_a_share_still_has_an_interval() -> None:
    every, none = np.ones(16), np.zeros(16)
    assert of_group(every, "mean", chance=True).estimate == exact_share(16, 16)
    found = compare(every, none, "difference", chance=True)
    assert found.value == 1.0
    # MOVER: the two distances combined like independent errors.
    assert found.low == pytest.approx(
        1.0 - math.hypot(1 - 0.025 ** (1 / 16), 1 - 0.025 ** (1 / 16))
    )
    assert found.high == 1.0


def test_a_score_that_happens_to_be_one_is_no_share() -> None:
    assert is_chance("success_rate_map_0") and not is_chance("expected_score")
    alike = of_group(np.ones(16), "mean").estimate
    assert (alike.low, alike.value, alike.high) == (1.0, 1.0, 1.0)
    found = compare(np.full(16, 2.4), np.ones(16), "ratio")
    assert (found.low, found.value, found.high) == (2.4, 2.4, 2.4)


def test_the_difference_of_shares_is_newcombe_s_with_exact_limits() -> None:
    of, against = np.repeat([1.0, 0.0], [15, 5]), np.repeat([1.0, 0.0], [4, 16])
    a, b = exact_share(15, 20), exact_share(4, 20)
    found = compare(of, against, "difference", chance=True)
    assert found.value == pytest.approx(0.55)
    assert found.low == pytest.approx(0.55 - math.hypot(0.75 - a.low, b.high - 0.2))
    assert found.high == pytest.approx(0.55 + math.hypot(a.high - 0.75, 0.2 - b.low))


def test_the_ratio_of_shares_solves_what_defines_it() -> None:
    """Donner & Zou (2012): each limit θ makes the MOVER interval of p - θq end at zero."""
    of, against = np.repeat([1.0, 0.0], [15, 5]), np.repeat([1.0, 0.0], [4, 16])
    p, q = exact_share(15, 20), exact_share(4, 20)
    found = compare(of, against, "ratio", chance=True)
    assert found.value == pytest.approx(3.75)
    low, high = found.low, found.high
    assert p.value - low * q.value == pytest.approx(
        math.hypot(p.value - p.low, low * (q.high - q.value))
    )
    assert high * q.value - p.value == pytest.approx(
        math.hypot(p.high - p.value, high * (q.value - q.low))
    )
    none = 1 - 0.025 ** (1 / 20)
    of_none = compare(of, np.zeros(20), "ratio", chance=True)
    assert of_none.value == math.inf and of_none.high == math.inf
    assert of_none.low == pytest.approx(math.sqrt(p.low * (2 * p.value - p.low)) / none)
    assert math.isnan(compare(np.zeros(20), np.zeros(20), "ratio").value)


def test_the_interval_of_a_mean_is_near_student_s_where_that_is_right() -> None:
    values = RANDOM.normal(10.0, 2.0, 200)
    found = of_group(values, "mean").estimate
    half = 1.972 * values.std(ddof=1) / math.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (found.value - half, found.value + half), abs=0.05 * half
    )


def test_the_interval_of_a_skewed_mean_leans_to_the_long_side() -> None:
    values = RANDOM.lognormal(0.0, 1.0, 64)
    found = of_group(values, "mean").estimate
    assert found.high - found.value > 1.15 * (found.value - found.low)


@pytest.mark.parametrize("kind", ["difference", "ratio"])
def test_the_intervals_hold_about_as_often_as_they_say(
    kind: statistics.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 experiments with skewed figures: 95 % must lie between 89 % and 99 % of them."""
    monkeypatch.setattr(statistics, "RESAMPLES", 499)
    truth = 4.0 - 2.0 if kind == "difference" else 4.0 / 2.0
    hits = 0
    for seed in range(200):
        of, against = RANDOM.gamma(4.0, 1.0, 32), RANDOM.gamma(2.0, 1.0, 32)
        found = compare(of, against, kind, seed=seed)
        hits += found.low <= truth <= found.high
    assert 178 <= hits <= 198


def test_the_same_agents_and_seed_give_the_same_interval() -> None:
    of, against = RANDOM.gamma(4.0, 1.0, 32), RANDOM.gamma(2.0, 1.0, 32)
    assert compare(of, against, "ratio") == compare(of, against, "ratio")
    assert compare(of, against, "ratio") != compare(of, against, "ratio", seed=1)


def test_many_agents_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = RANDOM.normal(size=50)
    whole = of_group(values, "mean").estimate
    monkeypatch.setattr(statistics, "CHUNK", 50 * 7)
    assert of_group(values, "mean").estimate == whole


# ---------------------------------------------------------------- agents that never got there


def test_a_median_counts_those_that_never_got_there_as_infinitely_late() -> None:
    times = np.array([10.0, 20.0, 30.0, 40.0, math.nan, math.nan, math.nan])
    group = of_group(times, "median")
    assert (group.n, group.reached) == (7, 4)
    assert group.estimate.value == 40.0 and group.estimate.high == math.inf
    never = of_group(np.array([1.0, math.nan, math.nan]), "median")
    assert never.estimate.value == math.inf


def test_a_mean_is_not_taken_over_those_that_happen_to_have_a_figure() -> None:
    times = np.array([10.0, 20.0, math.nan])
    assert math.isnan(of_group(times, "mean").estimate.value)
    assert math.isnan(compare(times, np.ones(3), "difference").value)


def test_a_share_is_of_the_agents_that_got_there() -> None:
    times = np.array([10.0, 20.0, math.nan, math.nan])
    assert of_group(times, "share").estimate == exact_share(2, 4)
    found = compare(times, np.full(4, math.nan), "difference", "share")
    assert found == compare(np.array([1.0, 1, 0, 0]), np.zeros(4), "difference", chance=True)


def test_a_ratio_of_medians_is_zero_when_only_the_other_never_got_there() -> None:
    quick, never = np.array([10.0, 11, 12, 13, 14]), np.full(5, math.nan)
    found = compare(quick, never, "ratio", "median")
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert compare(quick, never, "difference", "median").value == -math.inf
    unknown = compare(never, never, "ratio", "median")
    assert math.isnan(unknown.value)
    assert (unknown.low, unknown.high) == (-math.inf, math.inf)


def test_resamples_without_a_value_widen_the_interval_to_both_sides() -> None:
    """Half of the agents of both groups never got there: their medians are often both infinite."""
    times = np.array([1.0, 2, 3, 4, 5, math.nan, math.nan, math.nan, math.nan])
    found = compare(times, times, "ratio", "median")
    assert found.value == 1.0
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_a_ratio_of_figures_below_zero_says_nothing() -> None:
    assert math.isnan(compare(np.array([-1.0, 2, 3]), np.ones(3), "ratio").value)


def test_one_agent_has_no_interval() -> None:
    found = compare(np.array([3.0]), np.array([2.0]), "difference")
    assert found.value == 1.0 and not found.known
    assert not of_group(np.array([3.0]), "mean").estimate.known


# ---------------------------------------------------------------- growth


def test_the_exponent_of_a_power_law_is_found() -> None:
    sizes = [16, 36, 64, 144]
    groups = [3.0 * size**1.5 * RANDOM.lognormal(0.0, 0.2, 32) for size in sizes]
    found = exponent(sizes, groups, "median").estimate
    slope = np.polyfit(np.log(sizes), [np.log(np.median(group)) for group in groups], 1)[0]
    assert found.value == pytest.approx(slope)
    assert found.low < 1.5 < found.high and found.high - found.low < 0.3


def test_exponents_are_compared_by_their_resamples() -> None:
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
    groups = [np.array([10.0, 11, 12]), np.array([20.0, 21, 22]), np.full(3, math.nan)]
    found = exponent([4, 9, 16], groups, "median").estimate
    assert math.isnan(found.value) and (found.low, found.high) == (-math.inf, math.inf)
