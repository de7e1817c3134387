"""How an agent chooses: schedules, exploration, and the same policies as probability tables.

What a kernel needs of a schedule or an exploration rule is encoded in a small float array, so that
tuning one while the run goes on is an assignment.
"""

from __future__ import annotations

import math

import numpy as np

from engine.config.algorithm import (
    EpsilonGreedy,
    Exploration,
    Schedule,
    Softmax,
    UpperConfidenceBound,
)
from engine.core.arrays import Array
from engine.core.compiling import inlined, kernel
from engine.exact.evaluate import greedy
from engine.tabular.kernels.rng import uniform

LINEAR, EXPONENTIAL, ONE_OVER_N = 0.0, 1.0, 2.0


EPSILON_GREEDY, SOFTMAX, UCB = 0.0, 1.0, 2.0


def encode_exploration(rule: Exploration) -> Array:
    """[shape, start, end, steps, kind] of an exploration rule."""
    if isinstance(rule, UpperConfidenceBound):
        return np.append(encode_schedule(rule.c), UCB)
    kind = SOFTMAX if isinstance(rule, Softmax) else EPSILON_GREEDY
    return np.append(encode_schedule(rule), kind)


def encode_schedule(value: float | Schedule | EpsilonGreedy | Softmax | str) -> Array:
    """[shape, start, end, steps] of a number, a schedule, an exploration rule or "1/n"."""
    if isinstance(value, str):
        return np.array([ONE_OVER_N, 1.0, 1.0, 1.0])
    if isinstance(value, int | float):
        return np.array([LINEAR, value, value, 1.0])
    end = value.start if value.end is None else value.end
    shape = EXPONENTIAL if value.shape == "exponential" else LINEAR
    return np.array([shape, value.start, end, float(value.steps)])


@kernel
def scheduled(schedule: Array, step: int) -> float:
    """The schedule's value at an environment step count."""
    if step >= schedule[3]:
        return float(schedule[2])
    part = step / schedule[3]
    if schedule[0] == EXPONENTIAL and schedule[1] > 0.0 and schedule[2] > 0.0:
        return float(schedule[1] * math.exp(part * math.log(schedule[2] / schedule[1])))
    return float(schedule[1] + (schedule[2] - schedule[1]) * part)


@kernel
def step_size(schedule: Array, step: int, visits: int) -> float:
    """α: the schedule's value, or one over the visits (this one counted)."""
    if schedule[0] == ONE_OVER_N:
        return 1.0 / visits
    return scheduled(schedule, step)


@kernel
def highest(values: Array) -> float:
    """The largest of [A] values."""
    top = values[0]
    for a in range(1, values.size):
        value = values[a]
        top = value if value > top else top
    return float(top)


@inlined
def greedy_action(values: Array, random: Array) -> int:
    """A best action; exact ties are broken at random."""
    best = 0
    top = values[0]
    for a in range(1, values.size):  # no branch in these loops: which way is a coin's toss
        value = values[a]
        better = value > top
        top = value if better else top
        best = a if better else best
    ties = 0
    for a in range(values.size):
        ties += values[a] == top
    if ties == 1:
        return best
    chosen = int(uniform(random) * ties)
    for a in range(values.size):
        if values[a] == top:
            if chosen == 0:
                return a
            chosen -= 1
    return best


@inlined
def epsilon_greedy(values: Array, epsilon: float, random: Array) -> tuple[int, bool]:
    """With probability ε any action at random (then explored is true), else a best one."""
    if epsilon > 0.0:
        u = uniform(random)
        if u < epsilon:
            return min(int(u / epsilon * values.size), values.size - 1), True
    return greedy_action(values, random), False


@kernel
def softmax(values: Array, temperature: float, random: Array) -> tuple[int, bool]:
    """An action drawn with π(a) ∝ exp(values[a] / τ); explored when it is not a best one."""
    top = highest(values)
    total = 0.0
    for a in range(values.size):
        total += math.exp((values[a] - top) / temperature)
    left = uniform(random) * total
    for a in range(values.size):
        left -= math.exp((values[a] - top) / temperature)
        if left < 0.0:
            return a, values[a] < top
    return values.size - 1, values[values.size - 1] < top


@kernel
def upper_confidence(values: Array, visits: Array, c: float, random: Array) -> tuple[int, bool]:
    """argmax values[a] + c √(ln n / n_a); actions never tried come first (S&B 2.10).

    Exact ties are broken at random.
    """
    n = 0
    untried = 0
    for a in range(values.size):
        n += visits[a]
        untried += visits[a] == 0
    top = highest(values)
    if untried > 0:
        chosen = int(uniform(random) * untried)
        for a in range(values.size):
            if visits[a] == 0:
                if chosen == 0:
                    return a, values[a] < top
                chosen -= 1
    best, ties = 0, 0
    bound, log_n = -math.inf, math.log(n)
    for a in range(values.size):
        hope = values[a] + c * math.sqrt(log_n / visits[a])
        if hope > bound:
            best, bound, ties = a, hope, 0
        ties += hope == bound
    if ties > 1:
        chosen = int(uniform(random) * ties)
        for a in range(best, values.size):
            if values[a] + c * math.sqrt(log_n / visits[a]) == bound:
                if chosen == 0:
                    return a, values[a] < top
                chosen -= 1
    return best, values[best] < top


@inlined
def choose(
    values: Array, visits: Array, rule: Array, step: int, random: Array
) -> tuple[int, bool, float]:
    """The behaviour policy's action, whether it explored, and ε, τ or c at this step."""
    level = scheduled(rule, step)
    if rule[4] == EPSILON_GREEDY:
        a, explored = epsilon_greedy(values, level, random)
    elif rule[4] == SOFTMAX:
        a, explored = softmax(values, level, random)
    else:
        a, explored = upper_confidence(values, visits, level, random)
    return a, explored, level


def softmax_policy(values: Array, temperature: float = 1.0) -> Array:
    """π(a|o) ∝ exp(values / τ) over the last axis of [..., A]."""
    weights = np.exp((values - values.max(-1, keepdims=True)) / temperature)
    policy: Array = weights / weights.sum(-1, keepdims=True)
    return policy


def upper_confidence_policy(values: Array, visits: Array, c: float) -> Array:
    """π(a|o) of UCB on [..., A]: certain, but for actions never tried and exact ties."""
    tried = np.maximum(visits, 1)
    bonus = c * np.sqrt(np.log(np.maximum(visits.sum(-1, keepdims=True), 1)) / tried)
    hope = np.where(visits == 0, np.inf, values + bonus)
    return greedy(hope)


def behaviour_policy(values: Array, visits: Array, rule: Array, step: int) -> Array:
    """π_behaviour [..., A] from action values and visits [..., A], as `choose` draws from it."""
    level = scheduled(rule, step)
    if rule[4] == EPSILON_GREEDY:
        return epsilon_greedy_policy(values, level)
    if rule[4] == SOFTMAX:
        return softmax_policy(values, level)
    return upper_confidence_policy(values, visits, level)


def behaviour_log_prob(values: Array, action: int, rule: Array, level: float) -> float:
    """log π(a) at the time of a step; NaN for UCB, whose choice also hangs on the visits then."""
    if rule[4] == UCB:
        return math.nan
    policy = (
        softmax_policy(values, level)
        if rule[4] == SOFTMAX
        else epsilon_greedy_policy(values, level)
    )
    chance = float(policy[action])
    return math.log(chance) if chance > 0 else -math.inf


@kernel
def chance_of(values: Array, action: int, rule: Array, level: float) -> float:
    """π(a) of an action of the [A] values when it is chosen, as `behaviour_log_prob` has it."""
    if rule[4] == UCB:
        return math.nan
    top, total, ties = highest(values), 0.0, 0
    for a in range(values.size):
        total += math.exp((values[a] - top) / level) if rule[4] == SOFTMAX else 0.0
        ties += values[a] == top
    if rule[4] == SOFTMAX:
        return math.exp((values[action] - top) / level) / total
    share = 1.0 / ties if values[action] == top else 0.0
    return level / values.size + (1.0 - level) * share


LEVEL_NAMES = {EPSILON_GREEDY: "epsilon", SOFTMAX: "temperature", UCB: "ucb_c"}
"""The name of each exploration rule's number among the metrics."""


def epsilon_greedy_policy(values: Array, epsilon: float) -> Array:
    """π(a|o) of ε-greedy on action values [..., A]; exact ties share the greedy part."""
    policy: Array = epsilon / values.shape[-1] + (1.0 - epsilon) * greedy(values)
    return policy
