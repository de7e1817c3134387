"""A tiny reward model fitted to preferences: Bradley-Terry by Newton's method, in milliseconds.

Bradley and Terry 1952: the first of two completions is preferred with probability
σ(r(first) − r(second)). With r linear in some features that is logistic regression on their
differences, as in Christiano et al. 2017 (section 2.2.3) and Ouyang et al. 2022 (section 3.5,
equation 1), whose r is a whole network. A Gaussian prior on the weights (L2) makes it well-posed
with more features than preferences.

There are D ≈ 600 features and N ≈ 10 preferences, and the best weights are a combination of the N
differences. So each Newton step solves N equations, not D (the same algebra as Laplace's method
for Gaussian processes, Rasmussen and Williams 2006, algorithm 3.1).

Shapes: `N` preferences, `D` features, `B` completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engine.core.arrays import Array, Floats

STEPS = 100
"""Most Newton steps; five to ten are usual."""
TOLERANCE = 1e-10
"""Largest entry of the weights' gradient below which nothing is left to gain."""
LEAST_SPREAD = 1e-6
"""A feature that hardly ever differs is not blown up."""


def sigmoid(x: ArrayLike) -> Floats:
    """1 / (1 + e^−x) without overflow, any shape."""
    e = np.exp(-np.abs(np.asarray(x, dtype=np.float64)))
    result: Floats = np.where(np.asarray(x) >= 0, 1.0 / (1.0 + e), e / (1.0 + e))
    return result


def loss(weights: Floats, differences: Floats, targets: Floats) -> float:
    """−log posterior: Σ_n CE(target_n, σ(w·x_n)) + ½ |w|². Ouyang et al. 2022, equation 1.

    `differences` [N, D] first less second, `targets` [N] the chance that the first is preferred: 1,
    0, ½ for a tie (Christiano et al. 2017, section 2.2.3), or anything between.
    """
    gap = differences @ weights
    return float((np.logaddexp(0.0, gap) - targets * gap).sum() + 0.5 * weights @ weights)


def gradient(weights: Floats, differences: Floats, targets: Floats) -> Floats:
    """[D] of `loss`: Σ_n (σ(w·x_n) − target_n) x_n + w."""
    result: Floats = differences.T @ (sigmoid(differences @ weights) - targets) + weights
    return result


def fit(differences: ArrayLike, targets: ArrayLike) -> Floats:
    """The weights [D] that minimise `loss`, under a prior of mean 0 and variance 1 each.

    The loss is strictly convex, so there is one minimum; steps that overshoot are halved.
    """
    x, y = (np.asarray(a, dtype=np.float64) for a in (differences, targets))
    if not len(y):
        return np.zeros(x.shape[1])
    kernel = x @ x.T  # [N, N]
    dual = np.zeros(len(y))  # w = xᵀ dual
    best = _dual_loss(dual, kernel, y)
    for _ in range(STEPS):
        gap = kernel @ dual
        p = sigmoid(gap)
        if np.abs(kernel @ (p - y + dual)).max(initial=0.0) < TOLERANCE:
            break
        root = np.sqrt(p * (1.0 - p))  # [N] the square root of the Hessian of the first part
        wanted = root**2 * gap + (y - p)
        system = np.eye(len(y)) + root[:, None] * kernel * root
        step = wanted - root * np.linalg.solve(system, root * (kernel @ wanted)) - dual
        for _ in range(50):
            tried = _dual_loss(dual + step, kernel, y)
            if tried <= best:
                break
            step = step / 2
        else:
            break
        dual, best = dual + step, tried
    weights: Floats = x.T @ dual
    return weights


def _dual_loss(dual: Floats, kernel: Floats, y: Floats) -> float:
    gap = kernel @ dual
    return float((np.logaddexp(0.0, gap) - y * gap).sum() + 0.5 * dual @ gap)


@dataclass(frozen=True, eq=False)
class Scale:
    """How features become numbers of one size, by completions of the untouched model.

    Centred, so that the untouched model's reward is 0 on average; divided by their spread; and
    weighed by how much of a reward they may be expected to make up.
    """

    centre: Array  # [D]
    spread: Array  # [D]
    expected: Array  # [D] prior standard deviation of each weight; 0 for what never differs

    @classmethod
    def of(cls, features: Array, named: int, prior: float) -> Scale:
        """From features [B, D] of completions of the untouched model.

        The first `named` features are the readable ones. These together and all others together
        have a prior of the same size, so that hundreds of hidden numbers do not drown what can be
        read.
        """
        spread = features.std(axis=0)
        groups = np.where(np.arange(len(spread)) < named, named, len(spread) - named)
        expected = np.where(spread > LEAST_SPREAD, prior / np.sqrt(groups), 0.0)
        return cls(features.mean(axis=0), np.maximum(spread, LEAST_SPREAD), expected)

    def __call__(self, features: Array) -> Floats:
        """[..., D] scaled."""
        scaled: Floats = (features - self.centre) / self.spread * self.expected
        return scaled


@dataclass(frozen=True, eq=False)
class RewardModel:
    """r(completion) = weights · scaled features, in units of which 1 is a preference of 73 %."""

    scale: Scale
    weights: Array  # [D]

    def score(self, features: Array) -> Floats:
        """[B] rewards of features [B, D]; 0 is the untouched model's average."""
        scores: Floats = self.scale(features) @ self.weights
        return scores

    def chance(self, pair: Array) -> float:
        """How sure it is that the first of a `pair` [2, D] is preferred: 0 to 1."""
        first, second = self.score(pair)
        return float(sigmoid(first - second))

    def readable(self, names: Sequence[str]) -> dict[str, float]:
        """What a typical difference (one standard deviation of the untouched model) more of each
        of the first features adds to the reward."""
        worth = self.weights * self.scale.expected
        return {name: float(value) for name, value in zip(names, worth, strict=False)}
