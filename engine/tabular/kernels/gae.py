"""Advantages: how much better a step, or an episode, went than was to be expected.

Generalized advantage estimation: Schulman et al. 2016, equation 16 (equation 11 in the PPO paper).
Group-relative advantages: Shao et al. 2024, section 4.1.2, with TRL's sample standard deviation and
1e-4, as for language models (`engine.llm.algorithms.advantages`). R = steps of a rollout, which may
hold several episodes and end in the middle of one; G = episodes of a group.
"""

from __future__ import annotations

import math

from engine.core.arrays import Array
from engine.core.compiling import kernel

GOES_ON, TERMINATED, TRUNCATED = 0, 1, 2
"""How a step left its episode."""
NEARLY_NOTHING = 1e-8  # added to the standard deviation of a rollout's advantages
LITTLE = 1e-4  # added to the standard deviation of a group's returns


@kernel
def estimate_advantages(
    rewards: Array,
    values: Array,
    next_values: Array,
    ends: Array,
    gamma: float,
    lambda_: float,
    estimates: Array,
    targets: Array,
) -> None:
    """GAE(λ) of a rollout [R], and the λ-returns that V is to be fitted to.

    `values` and `next_values` [R] are V(s) and V(s'), the latter 0 after a termination: nothing
    follows it. After a truncation V still looks ahead, but the next step belongs to another
    episode: its advantage is not carried over. `estimates` and `targets` [R] are filled.
    """
    following = 0.0
    for t in range(rewards.size - 1, -1, -1):
        delta = rewards[t] + gamma * next_values[t] - values[t]
        carried = following if ends[t] == GOES_ON else 0.0
        following = delta + gamma * lambda_ * carried  # Â_t = δ_t + γλ Â_{t+1}  (eq. 11)
        estimates[t] = following
        targets[t] = following + values[t]


@kernel
def standardise(numbers: Array, normalise: bool) -> float:
    """Mean 0 and standard deviation 1 for [R] numbers, if asked; returns what the latter was."""
    total = squares = 0.0
    for t in range(numbers.size):
        total += numbers[t]
    mean = total / numbers.size
    for t in range(numbers.size):
        squares += (numbers[t] - mean) ** 2
    spread = math.sqrt(squares / numbers.size)
    if normalise:
        for t in range(numbers.size):
            numbers[t] = (numbers[t] - mean) / (spread + NEARLY_NOTHING)
    return spread


@kernel
def group_advantages(returns: Array, normalise: bool, relative: Array) -> tuple[float, float]:
    """Â_i = (r_i − mean) / (std + 1e-4) of the returns [G], G ≥ 2; gives mean and std, which is
    that of a sample: √(Σ (r_i − mean)² / (G − 1)).

    Returns that are all equal have advantage exactly 0, whatever rounding makes of their mean.
    """
    size = returns.size
    low = high = returns[0]
    total = squares = 0.0
    for j in range(size):
        total += returns[j]
        low, high = min(low, returns[j]), max(high, returns[j])
    mean = returns[0] if low == high else total / size
    for j in range(size):
        squares += (returns[j] - mean) ** 2
    spread = math.sqrt(squares / (size - 1))
    for j in range(size):
        relative[j] = returns[j] - mean
        if normalise:
            relative[j] /= spread + LITTLE
    return mean, spread
