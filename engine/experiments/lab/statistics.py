"""Intervals over independent agents: means, medians, shares, their differences and ratios, and the
exponent of a power law. Everything is 95 %, seeded, and needs nothing but NumPy.

- **Means** are bootstrapped over agents: BCa intervals (Efron 1987), for two groups with the
  acceleration of several samples (Davison & Hinkley 1997, section 5.3).
- **Medians** are bootstrapped too, with percentile intervals (BCa needs a smooth statistic). They
  are for times until something: NaN, an agent that never got there, counts as infinitely late, so
  that agents are never left out of a comparison because they did badly.
- **Shares** of agents have exact intervals (Clopper & Pearson 1934). Where every agent succeeds
  always or never (`is_chance`, all zeros and ones), their mean is a share as well: a bootstrap
  would give a group in which all agents agree no width at all.
- **Differences and ratios with a share** in them combine the two groups' own intervals (MOVER: Zou
  & Donner 2008; for ratios Donner & Zou 2012, equations 9 and 10).

The two groups are taken as independent. Agents of runs with one seed share their random numbers,
which makes their figures alike, and an interval that ignores it as a rule a little too wide.

Where a resample has no value (a ratio of two infinite medians) both ends count it as the worst.
Agents that are all alike in a figure that is no share give an interval without width.

Shapes: N agents, B resamples, K sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Literal

import msgspec
import numpy as np

from engine.core.arrays import Floats
from engine.experiments.lab.challenge import Statistic

Kind = Literal["difference", "ratio"]

CONFIDENCE = 0.95
RESAMPLES = 9_999
CHUNK = 4_000_000
"""Numbers drawn at a time, so that many agents do not need much memory."""
NORMAL = NormalDist()


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval. `low` and `high` are NaN where there is none: with fewer
    than two agents there is nothing to resample."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One group of `n` agents: what stands for them, and how many have the figure at all."""

    estimate: Estimate
    n: int
    reached: int


NOTHING = Estimate(value=math.nan, low=math.nan, high=math.nan)


def is_chance(metric: str) -> bool:
    """Whether a figure of an agent is a chance of success: 0 or 1 where nothing is left to luck."""
    return "success_rate" in metric


# ---------------------------------------------------------------- one group


def of_group(values: Floats, statistic: Statistic, seed: int = 0, *, chance: bool = False) -> Group:
    """Mean, median or share of one group of agents [N]; `chance` is of `is_chance`.

    A mean is NaN when an agent has no figure: leaving it out would flatter the group.
    """
    reached = int(np.count_nonzero(~np.isnan(values)))
    chance = chance or statistic == "share"
    estimate = _one(*_prepared(values, statistic), seed, chance)
    return Group(estimate=estimate, n=values.size, reached=reached)


def _one(values: Floats, statistic: Statistic, seed: int, chance: bool) -> Estimate:
    if values.size == 0 or np.isnan(values).any():
        return NOTHING
    if chance and _is_share(values, statistic):
        return exact_share(int(values.sum()), values.size)
    value = float(_statistic(values, statistic))
    if values.size < 2:
        return Estimate(value=value, low=math.nan, high=math.nan)
    resampled = resample(values, statistic, np.random.default_rng(seed))
    if statistic == "median":
        return _percentile(value, resampled)
    return _bca(value, resampled, [values - values.mean()])


def _prepared(values: Floats, statistic: Statistic) -> tuple[Floats, Statistic]:
    """Values [N] in which NaN has got its meaning: late for ever, or not one of the share."""
    if statistic == "share":
        return (~np.isnan(values)).astype(float), "mean"
    if statistic == "median":
        return np.where(np.isnan(values), np.inf, values), statistic
    return values, statistic


def _is_share(values: Floats, statistic: Statistic) -> bool:
    return statistic == "mean" and bool(np.isin(values, (0.0, 1.0)).all())


def _statistic(values: Floats, statistic: Statistic) -> Floats:
    """Over the last axis: [..., N] to [...]."""
    if statistic == "median":
        with np.errstate(invalid="ignore"):
            return np.asarray(np.median(values, axis=-1))
    return np.asarray(values.mean(axis=-1))


def resample(values: Floats, statistic: Statistic, random: np.random.Generator) -> Floats:
    """The statistic of `RESAMPLES` draws of N from the N values, with replacement: [B]."""
    rows = max(1, CHUNK // values.size)
    found = [
        _statistic(values[random.integers(values.size, size=(n, values.size))], statistic)
        for n in (min(rows, RESAMPLES - done) for done in range(0, RESAMPLES, rows))
    ]
    return np.concatenate(found)


# ---------------------------------------------------------------- two groups


def compare(
    of: Floats,
    against: Floats,
    kind: Kind,
    statistic: Statistic = "mean",
    seed: int = 0,
    *,
    chance: bool = False,
) -> Estimate:
    """What stands for the agents `of` [N] minus, or over, what stands for those `against` [M];
    `chance` is of `is_chance`.

    NaN for means when an agent has no figure, and for ratios of figures below zero, which say
    nothing. Of two infinite medians neither difference nor ratio is known.
    """
    chance = chance or statistic == "share"
    (of, statistic), (against, _) = _prepared(of, statistic), _prepared(against, statistic)
    both = np.concatenate([of, against])
    if not (of.size and against.size) or np.isnan(both).any():
        return NOTHING
    if kind == "ratio" and (both < 0).any():
        return NOTHING
    value = float(_combined(_statistic(of, statistic), _statistic(against, statistic), kind))
    if min(of.size, against.size) < 2:
        return Estimate(value=value, low=math.nan, high=math.nan)
    if chance and (_is_share(of, statistic) or _is_share(against, statistic)):
        sides = (_one(of, statistic, seed, True), _one(against, statistic, seed + 1, True))
        return _mover_ratio(*sides) if kind == "ratio" else _mover_difference(*sides)
    random = np.random.default_rng(seed)
    drawn = [resample(values, statistic, random) for values in (of, against)]
    resampled = _combined(drawn[0], drawn[1], kind)
    if statistic == "median" or not np.isfinite(resampled).all():
        return _percentile(value, resampled)
    return _bca(value, resampled, _influences(of, against, kind))


def _combined(of: Floats, against: Floats, kind: Kind) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return of - against if kind == "difference" else of / against


def _influences(of: Floats, against: Floats, kind: Kind) -> list[Floats]:
    """How much each agent of either group moves a difference or ratio of means: [N] and [M]."""
    a, b = of.mean(), against.mean()
    if kind == "difference":
        return [of - a, b - against]
    return [(of - a) / b, -(against - b) * a / b**2]


def _mover_difference(of: Estimate, against: Estimate) -> Estimate:
    value = of.value - against.value
    below = math.hypot(of.value - of.low, against.high - against.value)
    above = math.hypot(of.high - of.value, against.value - against.low)
    return Estimate(value=value, low=value - below, high=value + above)


def _mover_ratio(of: Estimate, against: Estimate) -> Estimate:
    """Both are at least zero. The lower end is written so that it divides by no difference."""
    p, q = of.value, against.value
    grown, shrunk = of.low * (2 * p - of.low), against.high * (2 * q - against.high)
    below = p * q + math.sqrt(max(0.0, (p * q) ** 2 - grown * shrunk))
    grown_, shrunk_ = of.high * (2 * p - of.high), against.low * (2 * q - against.low)
    above = p * q + math.sqrt(max(0.0, (p * q) ** 2 - grown_ * shrunk_))
    return Estimate(
        value=p / q if q else (math.nan if p == 0 else math.inf),
        low=grown / below if below else 0.0,
        high=above / shrunk_ if shrunk_ > 0 else math.inf,
    )


# ---------------------------------------------------------------- intervals


def exact_share(count: int, n: int) -> Estimate:
    """`count` of `n` agents, with the exact interval of Clopper & Pearson (1934)."""
    if n == 0:
        return NOTHING
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if count == 0 else _solve(lambda p: 1 - _binomial_below(count - 1, n, p), tail)
    high = 1.0 if count == n else _solve(lambda p: 1 - _binomial_below(count, n, p), 1 - tail)
    return Estimate(value=count / n, low=low, high=high)


def _binomial_below(count: int, n: int, p: float) -> float:
    """The chance of at most `count` successes in `n` trials that succeed with chance 0 < p < 1."""
    k = np.arange(count + 1)
    ways = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    return float(np.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p)).sum())


def _solve(rising: Any, wanted: float) -> float:
    """Where a function that rises on (0, 1) is as large as `wanted`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def _percentile(value: float, resampled: Floats) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    return Estimate(
        value=value, low=_quantile(resampled, tail, -np.inf), high=_quantile(resampled, 1 - tail)
    )


def _bca(value: float, resampled: Floats, influences: Sequence[Floats]) -> Estimate:
    """The bias-corrected and accelerated interval; `influences` are one array for each group."""
    below = np.count_nonzero(resampled < value) + np.count_nonzero(resampled == value) / 2
    edge = 0.5 / resampled.size
    bias = NORMAL.inv_cdf(min(max(below / resampled.size, edge), 1 - edge))
    cubes = sum(float((group**3).sum()) / group.size**3 for group in influences)
    squares = sum(float((group**2).sum()) / group.size**2 for group in influences)
    if squares == 0:
        return Estimate(value=value, low=value, high=value)
    acceleration = cubes / (6 * squares**1.5)

    def end(tail: float) -> float:
        z = bias + NORMAL.inv_cdf(tail)
        return _quantile(resampled, NORMAL.cdf(bias + z / (1 - acceleration * z)))

    tail = (1 - CONFIDENCE) / 2
    return Estimate(value=value, low=end(tail), high=end(1 - tail))


def _quantile(resampled: Floats, share: float, worst: float = np.inf) -> float:
    """An order statistic, for infinite values cannot be interpolated; NaN counts as `worst`."""
    ordered = np.sort(np.where(np.isnan(resampled), worst, resampled))
    place = round(share * (ordered.size + 1)) - 1
    return float(ordered[min(max(place, 0), ordered.size - 1)])


# ---------------------------------------------------------------- growth


class Exponent(msgspec.Struct, frozen=True, kw_only=True):
    """The fitted exponent of a power law, with its resamples [B] to compare it with another."""

    estimate: Estimate
    resampled: Floats


def exponent(
    sizes: Sequence[float], groups: Sequence[Floats], statistic: Statistic, seed: int = 0
) -> Exponent:
    """The slope of log(what stands for the agents of each size) over log(size), by least squares.

    `sizes` [K] are above zero and not all equal; `groups` are K arrays of agents [N]. Agents are
    resampled within each size. The slope is NaN, and the interval reaches everywhere, where a
    median is infinite or a figure is not above zero.
    """
    random = np.random.default_rng(seed)
    pairs = [_prepared(values, statistic) for values in groups]
    points = np.array([float(_statistic(values, how)) for values, how in pairs])
    drawn = np.stack([resample(values, how, random) for values, how in pairs], axis=-1)  # [B, K]
    value = float(_slope(sizes, points))
    resampled = _slope(sizes, drawn)
    if min(values.size for values in groups) < 2:
        return Exponent(
            estimate=Estimate(value=value, low=math.nan, high=math.nan), resampled=resampled
        )
    return Exponent(estimate=_percentile(value, resampled), resampled=resampled)


def compare_exponents(of: Exponent, against: Exponent) -> Estimate:
    """The difference of two exponents of independent runs, with its percentile interval."""
    value = of.estimate.value - against.estimate.value
    if not (of.estimate.known and against.estimate.known):
        return Estimate(value=value, low=math.nan, high=math.nan)
    # The two come from different runs, but were drawn with one seed: shuffled, they are apart.
    shuffled = np.random.default_rng(1).permutation(against.resampled)
    return _percentile(value, of.resampled - shuffled)


def _slope(sizes: Sequence[float], points: Floats) -> Floats:
    """The slope over the last axis, [..., K] to [...]; NaN where a logarithm is not finite."""
    x = np.log(np.asarray(sizes, float))
    x = x - x.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.where((points > 0) & np.isfinite(points), np.log(points), np.nan)
        y = y - y.mean(axis=-1, keepdims=True)  # so that a constant has a slope of exactly 0
        return np.asarray((y * x).sum(axis=-1) / (x**2).sum())
