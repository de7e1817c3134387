"""95 % intervals over independent agents: the one place in which they are made.

What an interval must allow for is the agent that nobody has seen. So every draw gives each of the N
agents a random weight, and one more agent, who stands at an end of what the figure can be, a weight
too; the N + 1 weights are uniform among those that sum to 1, as the gaps between N sorted uniform
numbers are. From the draws with that agent at the low end comes the lower limit (their 2.5 %
quantile), from those with it at the high end the upper one (97.5 %).

- **Means.** These are the limits of Gaffke (2005) and of Learned-Miller & Thomas (2019,
  arXiv:1905.06208). That they hold for every distribution between the two ends, however few agents
  there are, is conjectured, and no exception is known; somewhat wider limits of the same kind are
  proved to (Phan, Thomas & Learned-Miller 2021, arXiv:2106.03163). Of zeros and ones they are the
  exact limits of Clopper & Pearson (1934).
- **Medians**: the same draws, weighted medians of which give the exact limits of the sign test.
  They are for times until something: NaN, an agent that never got there, counts as infinitely late,
  so that agents are never left out of a comparison because they did badly.
- **Shares** of agents are means of zeros and ones.
- **Differences, ratios and exponents** combine independent draws: the lower limits of what they
  rise with, and the upper ones of what they fall with.

**The ends** are the business of `engine.experiments.ends`: what the best and the worst policy come
to. An end that is unknown is taken to lie beyond the last agent, by 10 / (N - 1) of the distance
from the first to the last. That is no theorem: it was chosen so that the interval of a mean holds
at least 93 times in 100 for normal, exponential and log-normal figures (σ = 1) from three agents
on. Nothing can hold for every distribution without ends (Bahadur & Savage 1956): a rare agent far
from all others, like none of the N, is then not allowed for. Agents who all agree in a figure
without ends have no interval.

The two groups are taken as independent. Agents of runs with one seed share their random numbers,
which makes their figures alike, and an interval that ignores it as a rule a little too wide.

Shapes: N agents, B draws, K sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from engine.core.arrays import Floats

Kind = Literal["difference", "ratio"]
Statistic = Literal["mean", "median", "share"]

CONFIDENCE = 0.95
METHOD = "95 % over agents: random weights, with one more agent at an end of what is possible"
"""How the intervals were made, for scripts."""
FEWEST = {"mean": 3, "share": 3, "median": 6}
"""So many agents an interval needs. Five agents' extremes hold a median between them only 15 times
in 16."""
BEYOND = 10.0
SAME = 1e-12
"""Figures that differ by so small a share differ by rounding only."""
DRAWS, LEAST_DRAWS = 9_999, 999
NUMBERS = 2_000_000
"""Random numbers drawn for one group, unless that would be fewer than `LEAST_DRAWS` draws."""


class Ends(NamedTuple):
    """The least and the most that a figure of one agent can be; NaN where that is unknown."""

    low: float = math.nan
    high: float = math.nan


OPEN, FROM_ZERO, SHARE = Ends(), Ends(low=0.0), Ends(0.0, 1.0)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval. Where there is none, `low` and `high` are NaN and `why` is a
    sentence that says why, and how many agents would do."""

    value: float
    low: float = math.nan
    high: float = math.nan
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One group of `n` agents: what stands for them, and how many have the figure at all."""

    estimate: Estimate
    n: int
    reached: int


class _Draws(NamedTuple):
    """What may stand for a group [B], with the unseen agent at its low and at its high end."""

    low: Floats
    high: Floats


NOTHING = Estimate(value=math.nan)


# ---------------------------------------------------------------- one group


def of_group(values: Floats, statistic: Statistic = "mean", ends: Ends = OPEN) -> Group:
    """Mean, median or share of one group of agents [N].

    A mean is NaN when an agent has no figure: leaving it out would flatter the group.
    """
    reached = int(np.count_nonzero(~np.isnan(values)))
    values, ends = _prepared(values, statistic, ends)
    if values.size == 0 or np.isnan(values).any():
        return Group(estimate=NOTHING, n=values.size, reached=reached)
    value = float(_statistic(values, statistic))
    why = _why_none([values], statistic, [ends])
    if why:
        estimate = Estimate(value=value, why=why)
    else:
        drawn = _draws(values, statistic, ends, _spread(values), 0)
        estimate = _estimate(value, drawn)
    return Group(estimate=estimate, n=values.size, reached=reached)


def _prepared(values: Floats, statistic: Statistic, ends: Ends) -> tuple[Floats, Ends]:
    """Values [N] in which NaN has got its meaning: late for ever, or not one of the share."""
    if statistic == "share":
        return (~np.isnan(values)).astype(float), SHARE
    if statistic == "median":
        return np.where(np.isnan(values), np.inf, values), ends
    return np.asarray(values, float), ends


def _statistic(values: Floats, statistic: Statistic) -> float:
    if statistic == "median":
        with np.errstate(invalid="ignore"):  # the mean of two that are infinite
            return float(np.median(values))
    return float(values.mean())


def _why_none(groups: Sequence[Floats], statistic: Statistic, ends: Sequence[Ends]) -> str:
    """Why there is no interval, and how many agents would do; nothing if there is one."""
    n, need = min(values.size for values in groups), FEWEST[statistic]
    if n < need:
        what = "a median" if statistic == "median" else "an interval"
        return f"{what} needs at least {need} agents, and there {'is' if n == 1 else 'are'} {n}"
    unknown = any(math.isnan(end) for pair in ends for end in pair)
    if statistic == "mean" and unknown and not any(_spread(values) for values in groups):
        return (
            "all agents agree, and nothing says how far from them another could be: no number of "
            "agents would do"
        )
    return ""


def _spread(values: Floats) -> float:
    """From the first to the last; 0 where they differ by rounding only."""
    spread = float(values.max() - values.min()) if np.isfinite(values).all() else math.inf
    return 0.0 if spread <= SAME * float(np.abs(values).max()) else spread


# ---------------------------------------------------------------- two groups


def compare(
    of: Floats,
    against: Floats,
    kind: Kind = "difference",
    statistic: Statistic = "mean",
    ends: tuple[Ends, Ends] = (OPEN, OPEN),
) -> Estimate:
    """What stands for the agents `of` [N] minus, or over, what stands for those `against` [M];
    `ends` are those of either group.

    NaN for means when an agent has no figure, and for ratios of figures below zero, which say
    nothing. Of two infinite medians neither difference nor ratio is known.
    """
    pairs = [_prepared(v, statistic, e) for v, e in zip((of, against), ends, strict=True)]
    groups = [values for values, _ in pairs]
    both = np.concatenate(groups)
    if not all(values.size for values in groups) or np.isnan(both).any():
        return NOTHING
    if kind == "ratio" and (both < 0).any():
        return NOTHING
    standing = [np.asarray(_statistic(values, statistic)) for values in groups]
    value = float(_combined(standing[0], standing[1], kind))
    if why := _why_none(groups, statistic, [ends for _, ends in pairs]):
        return Estimate(value=value, why=why)
    spreads = [_spread(values) for values in groups]
    first, second = (
        # Agents who all agree say nothing of how far another could be; those beside them do.
        _draws(values, statistic, ends, spreads[i] or spreads[1 - i], i)
        for i, (values, ends) in enumerate(pairs)
    )
    if kind == "ratio":
        first, second = (_Draws(np.maximum(d.low, 0.0), d.high) for d in (first, second))
    low = _combined(first.low, second.high, kind)
    return _estimate(value, _Draws(low, _combined(first.high, second.low, kind)))


def _combined(of: Floats, against: Floats, kind: Kind) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(of - against if kind == "difference" else of / against)


# ---------------------------------------------------------------- the draws


def _draws(values: Floats, statistic: Statistic, ends: Ends, spread: float, stream: int) -> _Draws:
    """Draws of what may stand for a group; those of different streams are independent."""
    weights = _weights(values.size, stream)
    own, unseen = weights[:, :-1], weights[:, -1]
    if statistic == "median":
        rising = np.sort(values)
        low = -np.inf if math.isnan(ends.low) else min(ends.low, rising[0])
        early = _first_half(own, np.append(rising[::-1], low))
        return _Draws(early, _first_half(own, np.append(rising, np.inf)))
    beyond = BEYOND / (values.size - 1) * spread
    least, most = float(values.min()), float(values.max())
    low = least - beyond if math.isnan(ends.low) else min(ends.low, least)
    high = most + beyond if math.isnan(ends.high) else max(ends.high, most)
    seen = own @ values
    # Clipped, for sums are rounded: no success rate may be above 1.
    return _Draws(np.maximum(seen + unseen * low, low), np.minimum(seen + unseen * high, high))


@lru_cache(maxsize=2)
def _weights(n: int, stream: int) -> Floats:
    """Weights [B, n + 1] of n agents and the one that was not seen: rows are uniform on the
    simplex, always the same ones, so that the same agents have the same interval."""
    draws = max(LEAST_DRAWS, min(DRAWS, NUMBERS // (n + 1)))
    gaps = np.random.default_rng([n, stream]).standard_exponential((draws, n + 1))
    weights: Floats = gaps / gaps.sum(axis=1, keepdims=True)
    return weights


def _first_half(weights: Floats, ordered: Floats) -> Floats:
    """Weighted medians [B]: the first of `ordered` [N + 1] up to which half of the weight lies;
    `weights` [B, N] are of all but the last."""
    place = (np.cumsum(weights, axis=1) < 0.5).sum(axis=1)
    found: Floats = ordered[place]
    return found


def _estimate(value: float, drawn: _Draws) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = _quantile(drawn.low, tail, -np.inf), _quantile(drawn.high, 1 - tail, np.inf)
    return Estimate(value=value, low=low, high=high)


def _quantile(drawn: Floats, share: float, worst: float) -> float:
    """An order statistic, for infinite values cannot be interpolated; NaN counts as `worst`."""
    ordered = np.sort(np.where(np.isnan(drawn), worst, drawn))
    place = round(share * (ordered.size + 1)) - 1
    return float(ordered[min(max(place, 0), ordered.size - 1)])


# ---------------------------------------------------------------- growth


class Exponent(msgspec.Struct, frozen=True, kw_only=True):
    """The fitted exponent of a power law, with its draws [B] to compare it with another; without
    draws where it has no interval."""

    estimate: Estimate
    draws: _Draws | None = None


def exponent(
    sizes: Sequence[float],
    groups: Sequence[Floats],
    statistic: Statistic = "mean",
    ends: Sequence[Ends] | None = None,
) -> Exponent:
    """The slope of log(what stands for the agents of each size) over log(size), by least squares.

    `sizes` [K] are above zero and not all equal; `groups` are K arrays of agents [N],
    with their `ends` [K]. The slope is NaN, and the interval reaches everywhere, where a median is
    infinite or a figure is not above zero.
    """
    ends = ends or [OPEN] * len(groups)
    pairs = [_prepared(v, statistic, e) for v, e in zip(groups, ends, strict=True)]
    prepared = [values for values, _ in pairs]
    value = float(slope(sizes, np.array([_statistic(values, statistic) for values in prepared])))
    if any(np.isnan(values).any() for values in prepared):
        return Exponent(estimate=NOTHING)
    if why := _why_none(prepared, statistic, [own for _, own in pairs]):
        return Exponent(estimate=Estimate(value=value, why=why))
    widest = max(_spread(values) for values in prepared)
    drawn = [
        _draws(values, statistic, own, _spread(values) or widest, i)
        for i, (values, own) in enumerate(pairs)
    ]
    n = min(each.low.size for each in drawn)
    low, high = (
        np.stack([each[:n] for each in side], axis=-1) for side in zip(*drawn, strict=True)
    )
    # The slope rises with the figures of sizes above the middle, and falls with the others.
    rises = np.log(sizes) >= np.log(sizes).mean()
    steepest = slope(sizes, np.where(rises, high, low))
    draws = _Draws(slope(sizes, np.where(rises, low, high)), steepest)
    return Exponent(estimate=_estimate(value, draws), draws=draws)


def compare_exponents(of: Exponent, against: Exponent) -> Estimate:
    """The difference of two exponents of independent runs."""
    value = of.estimate.value - against.estimate.value
    if of.draws is None or against.draws is None:
        return Estimate(value=value, why=of.estimate.why or against.estimate.why)
    # The two come from different runs, but were drawn with the same weights: shuffled, they are
    # apart.
    n = min(of.draws.low.size, against.draws.low.size)
    order = np.random.default_rng(1).permutation(n)
    with np.errstate(invalid="ignore"):
        low = of.draws.low[:n] - against.draws.high[order]
        high = of.draws.high[:n] - against.draws.low[order]
    return _estimate(value, _Draws(low, high))


def slope(sizes: Sequence[float], points: Floats) -> Floats:
    """The slope over the last axis, [..., K] to [...]; NaN where a logarithm is not finite."""
    x = np.log(np.asarray(sizes, float))
    x = x - x.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.where((points > 0) & np.isfinite(points), np.log(points), np.nan)
        y = y - y.mean(axis=-1, keepdims=True)  # so that a constant has a slope of exactly 0
        return np.asarray((y * x).sum(axis=-1) / (x**2).sum())
