"""The clipped surrogate objective that PPO and GRPO share, with what is added to it, and the
gradients by the logits.

Schulman et al. 2017, equation 7. For one step with advantage A and ρ = π(a|s) / π_old(a|s):
L = min(ρ A, clip(ρ, 1−ε, 1+ε) A), to be made large. Where the minimum is the clipped term, the
gradient is zero: the step has had its say. A = actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.events import Step
from engine.tabular.kernels.policy_table import moved_chance


@kernel
def clipped(ratio: float, advantage: float, clip: float) -> bool:
    """Whether the minimum is the clipped term, so that the step pushes no further."""
    return bool(
        (advantage > 0.0 and ratio > 1.0 + clip) or (advantage < 0.0 and ratio < 1.0 - clip)
    )


@kernel
def add_surrogate_gradient(
    chances: Array,
    action: int,
    ratio: float,
    advantage: float,
    clip: float,
    scale: float,
    out: Array,
) -> None:
    """Add scale · ∂(−L)/∂θ [A] of one step; `chances` [A] is π(·|s) now."""
    if clipped(ratio, advantage, clip):
        return
    push = -scale * advantage * ratio  # ∂ρ/∂θ_b = ρ (1[b=a] − π_b)
    for b in range(chances.size):
        out[b] += push * ((1.0 if b == action else 0.0) - chances[b])


@kernel
def add_entropy_gradient(chances: Array, entropy: float, scale: float, out: Array) -> None:
    """Add scale · ∂(−H)/∂θ [A] of one row: ∂H/∂θ_b = −π_b (ln π_b + H)."""
    for b in range(chances.size):
        if chances[b] > 0.0:
            out[b] += scale * chances[b] * (math.log(chances[b]) + entropy)


@kernel
def k3(log_ratio: float) -> float:
    """Schulman's estimate of a KL divergence: x − 1 − ln x, never negative; here ln x is given."""
    return math.exp(log_ratio) - 1.0 - log_ratio


K1, K2, K3, EXACT = range(4)
"""The estimators of KL(π‖π_ref), as `KlEstimator` orders them."""


@kernel
def kl_estimate(estimator: int, log_ratio: float) -> float:
    """An estimate of KL(π‖π_ref) from one action drawn from π, where `log_ratio` is d = ln
    π_ref(a|s) − ln π(a|s): k1 = −d, k2 = d²/2, k3 = eᵈ − 1 − d. Schulman 2020."""
    if estimator == K1:
        return -log_ratio
    if estimator == K2:
        return 0.5 * log_ratio * log_ratio
    return k3(log_ratio)


@kernel
def add_kl_gradient(
    estimator: int,
    theta: Array,
    reference: Array,
    chances: Array,
    action: int,
    scale: float,
    out: Array,
) -> None:
    """Add scale · ∂k/∂θ [A] of one step, where k is an estimate of KL(π‖π_ref), or itself.

    `theta` and `reference` [A] are logits, `chances` [A] is π(·|s) now. Over actions drawn from π
    the mean is 0 for k1, ∇KL(π‖π_ref) for k2 and exactly that for EXACT, but ∇KL(π_ref‖π) for k3.
    """
    if estimator == EXACT:
        divergence = 0.0
        for b in range(chances.size):
            divergence -= chances[b] * (log_chance(reference, b) - log_chance(theta, b))
        for b in range(chances.size):
            further = log_chance(theta, b) - log_chance(reference, b) - divergence
            out[b] += scale * chances[b] * further
        return
    away = log_chance(reference, action) - log_chance(theta, action)
    if estimator == K1:
        push = scale
    elif estimator == K2:
        push = -scale * away
    else:
        push = scale * (1.0 - math.exp(away))
    for b in range(chances.size):
        out[b] += push * ((1.0 if b == action else 0.0) - chances[b])


@kernel
def log_chance(logits: Array, action: int) -> float:
    """ln π(a|s) from logits [A], exact also where π(a|s) underflows."""
    top = logits[0]
    for b in range(1, logits.size):
        top = max(top, logits[b])
    total = 0.0
    for b in range(logits.size):
        total += math.exp(logits[b] - top)
    return float(logits[action] - top - math.log(total))


def moved_ratio(step: Step, actions: Sequence[str] = ACTION_NAMES) -> str:
    """The chance of the action taken before and after the update, and their ratio, in numbers."""
    chance, after = step.probabilities[step.action], step.probabilities_after[step.action]
    return f"{moved_chance(step, actions)},   ρ = {after:.4g} / {chance:.4g} = {after / chance:.4g}"


def ratio_story(step: Step, actions: Sequence[str] = ACTION_NAMES) -> str:
    """What ratio and clip did over the passes, in words."""
    ratio = step.probabilities_after[step.action] / step.probabilities[step.action]
    return (
        "On the first pass over these steps the policy that learns still is the policy that moved, "
        "so every ratio π/π_old is 1 and the clip fraction 0: that is no error. Each later pass "
        "starts from a policy that has moved away, and the clip ends a step's push once its ratio "
        f"has left 1 ± ε on the side its advantage asks for. After the last pass the ratio of "
        f"{actions[step.action]} here is {ratio:.3g}."
    )
