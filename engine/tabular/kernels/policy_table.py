"""The base of the methods that learn the policy itself: a softmax over a table of logits.

π(a|o) = exp θ(o,a) / Σ_b exp θ(o,b): Sutton & Barto, equation 13.2, with one feature per pair.
N agents, O observations, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, MovingSettings, Schedule, TableStepSize
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.exact.evaluate import greedy
from engine.learning.algorithm import pay_of
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import encode_schedule, scheduled, softmax_policy
from engine.tabular.kernels.experience import MovingAlgorithm, Size
from engine.tabular.kernels.rng import uniform

StepSize = Annotated[float, Meta(gt=0.0)] | Schedule
"""Of logits, which have no target to overshoot, and of Adam, which makes its own steps of it."""

AVERAGE = 0.05
"""How fast the V that is only shown follows: an average over about the last 20 visits."""


class PolicySettings(MovingSettings, frozen=True, kw_only=True):
    """The settings of methods that learn a policy by plain gradient steps."""

    learning_rate: Annotated[
        StepSize,
        Meta(
            description="step size of the logits θ; a number or a schedule",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.1
    value_learning_rate: Annotated[
        TableStepSize,
        Meta(
            description="step size of the state values V, where the method learns any; a number "
            "or a schedule",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.1


class PolicyHyperparameters(NamedTuple):
    """The settings a kernel that follows the gradient step by step reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    alpha_v: Array  # [4]


@kernel
def probabilities(logits: Array, chances: Array) -> None:
    """π [A] from logits [A]."""
    top = logits[0]
    for a in range(1, logits.size):
        top = max(top, logits[a])
    total = 0.0
    for a in range(logits.size):
        chances[a] = math.exp(logits[a] - top)
        total += chances[a]
    for a in range(logits.size):
        chances[a] /= total


@kernel
def draw_action(chances: Array, random: Array) -> tuple[int, bool]:
    """An action drawn from π [A]; explored when it is not a likeliest one."""
    likeliest = 0
    for a in range(1, chances.size):
        if chances[a] > chances[likeliest]:
            likeliest = a
    left = uniform(random)
    for a in range(chances.size):
        left -= chances[a]
        if left < 0.0:
            return a, chances[a] < chances[likeliest]
    return likeliest, False  # rounding left a sliver that belongs to nobody


@kernel
def drawn_action(chances: Array, random: Array) -> int:
    """An action drawn from π(·|o) [A]; never one without a chance."""
    left = uniform(random)
    last = 0
    for a in range(chances.size):
        if chances[a] > 0.0:
            left -= chances[a]
            last = a
            if left < 0.0:
                break
    return last


@kernel
def score(chances: Array, action: int, gradient: Array) -> None:
    """∇ ln π(a|s) [A] by the logits of that row: 1[b=a] − π(b|s). S&B 13.9."""
    for b in range(chances.size):
        gradient[b] = (1.0 if b == action else 0.0) - chances[b]


@kernel
def entropy_of(chances: Array) -> float:
    """H(π) = −Σ π ln π of one row [A], in nats."""
    total = 0.0
    for a in range(chances.size):
        if chances[a] > 0.0:
            total -= chances[a] * math.log(chances[a])
    return total


class PolicyAlgorithm(MovingAlgorithm):
    """Control by a table of logits. `figure_names` are the columns of `tables.figures` [N,F].

    Its tables hold at least `theta` [N,O,A] logits, `v` [N,O], `visits` [N,O,A], `advantages`
    [N,O,A] (the newest advantage each pair was updated with, NaN before) and `figures`.
    """

    family = "policy"
    policy_type = "on-policy"
    behaviour_policy = "draws every move from π itself"
    target_policy = "the behaviour policy itself: π with its dice"
    figure_names: tuple[str, ...]

    def learned(self, size: Size) -> dict[str, Array]:
        """The tables all of these methods have, before the first step: π is uniform."""
        return {
            "theta": np.zeros(size.table),
            "v": np.zeros(size.table[:2]),
            "visits": np.zeros(size.table, np.int64),
            "advantages": np.full(size.table, np.nan),
            "figures": np.full((size.agents, len(self.figure_names)), np.nan),
            "chances": np.zeros((size.agents, size.actions)),
            "gradient": np.zeros((size.agents, size.actions)),
        }

    def make_hyperparameters(self, settings: Any) -> Any:
        return PolicyHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            alpha_v=encode_schedule(settings.value_learning_rate),
        )

    def behaviour(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        return softmax_policy(tables.theta)

    def target(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        return softmax_policy(tables.theta)

    def greedy(self, tables: Any) -> Array:
        return greedy(tables.theta)

    def state_values(self, tables: Any, target: Array) -> Array:
        v: Array = tables.v
        return v

    def learned_parameters(self, tables: Any) -> list[Array]:
        return [tables.theta, tables.v]

    def layers(self, tables: Any, agent: int) -> dict[str, Array]:
        return {"advantage": tables.advantages[agent].astype(np.float32)}

    def hyperparameter_metrics(self, hyperparameters: Any, step: int) -> dict[str, float]:
        return {"learning_rate": scheduled(hyperparameters.alpha, step)}

    def metrics(self, tables: Any) -> dict[str, Array]:
        return {name: tables.figures[:, j] for j, name in enumerate(self.figure_names)}


def happened(step: Step, actions: Sequence[str] = ACTION_NAMES) -> str:
    """The move and what it was paid, in words."""
    name = actions[step.action]
    chance = step.probabilities[step.action]
    words = f"π gave {name} a chance of {chance:.3g}, the dice chose it, and it was paid "
    words += pay_of(step)
    if step.terminated:
        return f"{words}; the episode ended there."
    if step.truncated:
        return f"{words}; then the time limit cut the episode."
    return f"{words}."


def not_yet(step: Step, when: str) -> str:
    """The explanation of a step before its update."""
    chances = ", ".join(f"{chance:.3g}" for chance in step.probabilities)
    return f"π(·|s) = {chances}\nnothing is learned from this step before {when}"


def moved_chance(step: Step, actions: Sequence[str] = ACTION_NAMES) -> str:
    """The chance of the action taken before and after the update, in numbers."""
    before, after = step.probabilities[step.action], step.probabilities_after[step.action]
    return f"π({actions[step.action]}|s): {before:.4g} → {after:.4g}"


def verdict(step: Step, actions: Sequence[str] = ACTION_NAMES) -> str:
    """The effect of the advantage on the policy, in words."""
    name = actions[step.action]
    advantage = step.advantage_estimate
    before, after = step.probabilities[step.action], step.probabilities_after[step.action]
    now = f"from {before:.3g} to {after:.3g}"
    still = f"{before:.3g}" == f"{after:.3g}"
    if advantage == 0.0:
        words = f"The advantage is exactly 0, so this step pushes {name} neither way"
        return f"{words}." if still else f"{words}; what moved it {now} came from elsewhere."
    wish = "likelier" if advantage > 0.0 else "less likely"
    words = f"The advantage {advantage:+.4g} asks for {name} to become {wish}"
    if still:
        return f"{words}, but there was hardly anything to move: its chance stays {before:.3g}."
    if (after > before) == (advantage > 0.0):
        return f"{words}: its chance went {now}."
    return f"{words}; still its chance went {now}: other steps in this cell weighed more."
