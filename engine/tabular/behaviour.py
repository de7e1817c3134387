"""How an agent chooses: schedules, exploration, and the same policies as probability tables.

What a kernel needs of a schedule or an exploration rule is a small float array (a "knob"), so
that tuning one while the run goes on is an assignment.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.evaluate import greedy
from engine.settings import EpsilonGreedy, Schedule
from engine.tabular.compiling import kernel
from engine.tabular.rng import uniform

Array = np.ndarray[Any, np.dtype[Any]]

LINEAR, EXPONENTIAL, ONE_OVER_N = 0.0, 1.0, 2.0


def schedule_knob(value: float | Schedule | EpsilonGreedy | str) -> Array:
    """[shape, start, end, steps] of a number, a schedule, an exploration rule or "1/n"."""
    if isinstance(value, str):
        return np.array([ONE_OVER_N, 1.0, 1.0, 1.0])
    if isinstance(value, int | float):
        return np.array([LINEAR, value, value, 1.0])
    end = value.start if value.end is None else value.end
    shape = EXPONENTIAL if value.shape == "exponential" else LINEAR
    return np.array([shape, value.start, end, float(value.steps)])


@kernel
def scheduled(knob: Array, step: int) -> float:
    """The schedule's value at an environment step count."""
    if step >= knob[3]:
        return float(knob[2])
    part = step / knob[3]
    if knob[0] == EXPONENTIAL and knob[1] > 0.0 and knob[2] > 0.0:
        return float(knob[1] * math.exp(part * math.log(knob[2] / knob[1])))
    return float(knob[1] + (knob[2] - knob[1]) * part)


@kernel
def step_size(knob: Array, step: int, visits: int) -> float:
    """α: the schedule's value, or one over the visits (this one counted)."""
    if knob[0] == ONE_OVER_N:
        return 1.0 / visits
    return scheduled(knob, step)


@kernel
def highest(values: Array) -> float:
    """The largest of [A] values."""
    top = values[0]
    for a in range(1, values.size):
        top = max(top, values[a])
    return float(top)


@kernel
def greedy_action(values: Array, random: Array) -> int:
    """A best action; exact ties are broken at random."""
    best = 0
    ties = 1
    for a in range(1, values.size):
        if values[a] > values[best]:
            best = a
            ties = 1
        elif values[a] == values[best]:
            ties += 1
    if ties == 1:
        return best
    chosen = int(uniform(random) * ties)
    top = values[best]
    for a in range(values.size):
        if values[a] == top:
            if chosen == 0:
                return a
            chosen -= 1
    return best


@kernel
def epsilon_greedy(values: Array, epsilon: float, random: Array) -> tuple[int, bool]:
    """With probability ε any action at random (then explored is true), else a best one."""
    if epsilon > 0.0:
        u = uniform(random)
        if u < epsilon:
            return min(int(u / epsilon * values.size), values.size - 1), True
    return greedy_action(values, random), False


def epsilon_greedy_policy(values: Array, epsilon: float) -> Array:
    """π(a|o) of ε-greedy on action values [..., A]; exact ties share the greedy part."""
    policy: Array = epsilon / values.shape[-1] + (1.0 - epsilon) * greedy(values)
    return policy
