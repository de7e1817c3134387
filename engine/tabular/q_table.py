"""What the methods that learn a table of action values have in common.

N agents, O observations, A actions. The kernel of each method stands in its own file.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.events import Step
from engine.learner import Learner
from engine.maze import ACTION_NAMES
from engine.presets import Preset
from engine.settings import TemporalDifferenceSettings
from engine.tabular.algorithm import Algorithm, Explanation
from engine.tabular.behaviour import (
    ONE_OVER_N,
    epsilon_greedy_policy,
    schedule_knob,
    scheduled,
)

Array = np.ndarray[Any, np.dtype[Any]]


class QTables(NamedTuple):
    """What is learned."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: how often each pair was updated


class Knobs(NamedTuple):
    """The settings a temporal-difference kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.schedule_knob
    epsilon: Array  # [4]


class QTableAlgorithm(Algorithm):
    """Control with an ε-greedy behaviour policy on a Q table."""

    family = "value"
    behaviour_policy = "ε-greedy on Q"

    def make_learner(self, preset: Preset) -> Learner:
        from engine.tabular.learner import TabularLearner

        return TabularLearner(preset, self)

    def make_tables(
        self, settings: TemporalDifferenceSettings, agents: int, observations: int, actions: int
    ) -> QTables:
        """Tables before the first step."""
        shape = (agents, observations, actions)
        return QTables(
            q=np.full(shape, float(settings.initial_value)), visits=np.zeros(shape, np.int64)
        )

    def make_knobs(self, settings: TemporalDifferenceSettings) -> Knobs:
        """The settings as a kernel reads them."""
        return Knobs(
            gamma=settings.gamma,
            alpha=schedule_knob(settings.learning_rate),
            epsilon=schedule_knob(settings.exploration),
        )

    def action_values(self, tables: QTables) -> Array:
        """Q [N,O,A]."""
        return tables.q

    def layers(self, tables: QTables, agent: int) -> dict[str, Array]:
        """Further tables [O] or [O,A] worth seeing on the grid."""
        return {}

    def exploration(self, knobs: Knobs, step: int) -> float:
        """ε at a step count."""
        return float(scheduled(knobs.epsilon, step))

    def behaviour(self, values: Array, epsilon: float) -> Array:
        """π_behaviour(a|o) [..., A] from action values [..., A]."""
        return epsilon_greedy_policy(values, epsilon)

    def target(self, values: Array, epsilon: float) -> Array:
        """π_target(a|o) [..., A]: greedy when off-policy, the behaviour policy when on-policy."""
        return epsilon_greedy_policy(values, 0.0 if self.policy_type == "off-policy" else epsilon)

    def knob_metrics(self, knobs: Knobs, step: int) -> dict[str, float]:
        """The scheduled settings' values at a step count, for the curves."""
        metrics = {"epsilon": self.exploration(knobs, step)}
        if knobs.alpha[0] != ONE_OVER_N:
            metrics["learning_rate"] = float(scheduled(knobs.alpha, step))
        return metrics


def explain_update(formula: str, step: Step, follow: str) -> Explanation:
    """A one-step TD update with its numbers and in words; `follow` says what the bootstrap means.

    Every number is shown to four significant digits; the arithmetic was done on the full ones.
    """
    if step.terminated:
        target = f"target = r = {step.target:.4g}   (the episode ended: nothing follows)"
    else:
        target = (
            f"target = {step.reward:.4g} + {step.gamma:g} × {step.bootstrap:.4g} "
            f"= {step.target:.4g}"
        )
    numbers = (
        f"{target}\n"
        f"δ = target − Q(s,a) = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}\n"
        f"Q(s,a) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
        f"= {step.after:.4g}"
    )
    return Explanation(formula=formula, numbers=numbers, words=_in_words(step, follow))


def _in_words(step: Step, follow: str) -> str:
    chosen = "explored" if step.explored else "took the action that looks best"
    words = f"The agent {chosen}: {ACTION_NAMES[step.action]}. It was paid {step.reward:.4g}"
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
