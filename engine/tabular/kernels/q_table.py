"""The base of the methods that learn a table of action values.

N agents, O observations, A actions. The kernel of each method stands in its own file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.config.algorithm import TemporalDifferenceSettings
from engine.core.arrays import Array
from engine.env.maze import ACTION_NAMES
from engine.exact.evaluate import greedy
from engine.learning.algorithm import Explanation, pay_of
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import (
    LEVEL_NAMES,
    ONE_OVER_N,
    behaviour_log_prob,
    behaviour_policy,
    encode_exploration,
    encode_schedule,
    scheduled,
)
from engine.tabular.kernels.experience import MovingAlgorithm, Size


class QTables(NamedTuple):
    """The learned values, and how often each was updated."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: how often each pair was updated


class Hyperparameters(NamedTuple):
    """The settings a temporal-difference kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration


class QTableAlgorithm(MovingAlgorithm):
    """Control on a table of action values."""

    family = "value"
    behaviour_policy = "explores on Q (ε-greedy, softmax or UCB)"

    def make_tables(self, settings: TemporalDifferenceSettings, size: Size) -> Any:
        return QTables(
            q=np.full(size.table, float(settings.initial_value)),
            visits=np.zeros(size.table, np.int64),
        )

    def make_hyperparameters(self, settings: TemporalDifferenceSettings) -> Any:
        return Hyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
        )

    def values(self, tables: Any) -> Array:
        """The action values [N,O,A] that the agent acts on."""
        q: Array = tables.q
        return q

    def action_values(self, tables: Any) -> Array | None:
        return self.values(tables)

    def behaviour(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        return behaviour_policy(
            self.values(tables), tables.visits, hyperparameters.exploration, step
        )

    def target(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        if self.policy_type == "off-policy":
            return self.greedy(tables)
        return self.behaviour(tables, hyperparameters, step)

    def greedy(self, tables: Any) -> Array:
        return greedy(self.values(tables))

    def state_values(self, tables: Any, target: Array) -> Array:
        total: Array = (target * self.values(tables)).sum(-1)
        return total

    def log_prob(self, step: Step, hyperparameters: Any) -> float:
        values = np.array(step.values)
        return behaviour_log_prob(
            values, step.action, hyperparameters.exploration, step.exploration
        )

    def hyperparameter_metrics(self, hyperparameters: Any, step: int) -> dict[str, float]:
        rule = LEVEL_NAMES[float(hyperparameters.exploration[4])]
        metrics = {rule: scheduled(hyperparameters.exploration, step)}
        if hyperparameters.alpha[0] != ONE_OVER_N:
            metrics["learning_rate"] = scheduled(hyperparameters.alpha, step)
        return metrics


def explain_update(
    formula: str, step: Step, follow: str, actions: Sequence[str] = ACTION_NAMES
) -> Explanation:
    """A one-step TD update with its numbers and in words; `follow` says what the bootstrap means.

    Every number is shown to four significant digits; the arithmetic was done on the full ones.
    """
    if step.terminated:
        target = f"target = r = {step.target:.4g}   (the episode ended: nothing follows)"
    else:
        target = (
            f"target = {step.paid:.4g} + {step.gamma:g} × {step.bootstrap:.4g} = {step.target:.4g}"
        )
    numbers = (
        f"{target}\n"
        f"δ = target − Q(s,a) = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}\n"
        f"Q(s,a) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
        f"= {step.after:.4g}"
    )
    return Explanation(formula=formula, numbers=numbers, words=_in_words(step, follow, actions))


def _in_words(step: Step, follow: str, actions: Sequence[str]) -> str:
    chosen = "explored" if step.explored else "took the action that looks best"
    words = f"The agent {chosen}: {actions[step.action]}. It was paid {pay_of(step)}"
    if step.terminated:
        words += ", and the episode ended."
    else:
        words += f" and believes it can still earn {step.bootstrap:.4g} {follow}."
    if step.truncated:
        words += (
            " The time limit cut the episode here, but the ice does not end at a time limit: the "
            "target still looks ahead."
        )
    if step.error > 0:
        return f"{words} That is {step.error:.4g} better than expected: this move's value rises."
    if step.error < 0:
        return f"{words} That is {-step.error:.4g} worse than expected: this move's value falls."
    return f"{words} That is exactly what it expected: nothing is learned from this step."
