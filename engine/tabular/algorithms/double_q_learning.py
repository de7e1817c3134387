"""Double Q-learning (van Hasselt, 2010): off-policy TD control. Sutton & Barto, 6.7, (6.10).

The largest of several noisy estimates is on average too large: the maximization bias. Here two
tables learn from different steps (a coin decides which); the one that learns picks the best next
move, the other, which had no part in that choice, says what it is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.config.algorithm import TemporalDifferenceSettings
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import choose, greedy_action, step_size
from engine.tabular.kernels.environment import (
    TERMINAL,
    Agents,
    Limits,
    StackedMDPs,
    begin_episode,
    finish_step,
    is_done,
    move,
)
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.q_table import Hyperparameters, QTableAlgorithm, explain_update
from engine.tabular.kernels.rng import uniform
from engine.tabular.kernels.trace import WATCHED, Trace, note


class DoubleQLearningSettings(
    TemporalDifferenceSettings, frozen=True, kw_only=True, tag="double-q-learning"
):
    """Double Q-learning: two tables check each other, so that luck is not mistaken for value."""


class DoubleTables(NamedTuple):
    """The learned numbers."""

    q: Array  # [N,O,A] float64: the mean of the two tables, which the agent acts on
    pair: Array  # [N,2,O,A] float64: Q1 and Q2
    visits: Array  # [N,O,A] int64: how often each pair of observation and action was met
    learned: Array  # [N,2,O,A] int64: how often each table learned about it


@kernel
def double_q_learning(
    env: StackedMDPs,
    agents: Agents,
    tables: DoubleTables,
    hyperparameters: Hyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    for i in range(agents.state.size):
        q, visits, random = tables.q[i], tables.visits[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a, explored, level = choose(
                q[s], visits[s], hyperparameters.exploration, agents.steps[i], random
            )
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            visits[s, a] += 1

            coin = 0 if uniform(random) < 0.5 else 1
            q1, q2, learned = (
                tables.pair[i, coin],
                tables.pair[i, 1 - coin],
                tables.learned[i, coin],
            )
            learned[s, a] += 1
            alpha = step_size(hyperparameters.alpha, agents.steps[i], learned[s, a])
            best, future = -1, 0.0
            if not flags & TERMINAL:
                best = greedy_action(q1[s2], random)
                future = q2[s2, best]
            target = r + gamma * future
            error = target - q1[s, a]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, best,
                    q1[s, a], target, alpha, level, future, q[s], q[s2],
                )  # fmt: skip
            q1[s, a] += alpha * error  # Q1 ← Q1 + α [R + γ Q2(S', argmax_a Q1(S',a)) − Q1]  (6.10)
            q[s, a] = 0.5 * (q1[s, a] + q2[s, a])

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class DoubleQLearning(QTableAlgorithm):
    name = "double-q-learning"
    title = "Double Q-learning"
    settings = DoubleQLearningSettings
    source = "Sutton & Barto, section 6.7, equation 6.10"
    policy_type = "off-policy"
    behaviour_policy = "explores on (Q1 + Q2) / 2 (ε-greedy, softmax or UCB)"
    target_policy = "greedy on (Q1 + Q2) / 2"
    formula = "Q1(s,a) ← Q1(s,a) + α [ r + γ Q2(s′, argmax Q1(s′,·)) − Q1(s,a) ]   (or 1 ⇄ 2)"
    idea = "Two tables check each other, so that a lucky draw is not mistaken for value."
    needs = "Only its own steps, from any policy that tries everything."
    chosen_when = "Rewards are noisy and there are many actions to choose the largest from."
    with_llms = (
        "Not as tables: hardly any text comes twice. Of all methods a maximum over 50,000 tokens "
        "would need its remedy most; with networks it is double DQN."
    )
    kernel = staticmethod(double_q_learning)

    def make_tables(self, settings: TemporalDifferenceSettings, size: Size) -> Any:
        both = (size.agents, 2, size.observations, size.actions)
        return DoubleTables(
            q=np.full(size.table, float(settings.initial_value)),
            pair=np.full(both, float(settings.initial_value)),
            visits=np.zeros(size.table, np.int64),
            learned=np.zeros(both, np.int64),
        )

    def layers(self, tables: Any, agent: int) -> dict[str, Array]:
        q1, q2 = tables.pair[agent]
        return {"first table Q1": q1.copy(), "second table Q2": q2.copy()}

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        picked = actions[step.next_action] if step.next_action >= 0 else "none"
        told = explain_update(
            self.formula,
            step,
            follow=f"with the move that the learning table likes best there ({picked}), as the "
            "other table values it: a table that overrates a move by luck is not asked how good "
            "that move is",
            actions=actions,
        )
        coin = "A coin chose which of the two tables learns from this step; Q(s,a) is its entry."
        return Explanation(told.formula, told.numbers, f"{told.words} {coin}")


ALGORITHM = DoubleQLearning()
