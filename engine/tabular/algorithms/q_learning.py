"""Q-learning (Watkins, 1989): off-policy TD control. Sutton & Barto, section 6.5, equation 6.8."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.algorithm import TemporalDifferenceSettings
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import choose, highest, step_size
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
from engine.tabular.kernels.q_table import Hyperparameters, QTableAlgorithm, QTables, explain_update
from engine.tabular.kernels.trace import WATCHED, Trace, note


class QLearningSettings(TemporalDifferenceSettings, frozen=True, kw_only=True, tag="q-learning"):
    """Q-learning: learns about the greedy policy while it explores."""


@kernel
def q_learning(
    env: StackedMDPs,
    agents: Agents,
    tables: QTables,
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
            alpha = step_size(hyperparameters.alpha, agents.steps[i], visits[s, a])

            future = 0.0 if flags & TERMINAL else highest(q[s2])
            target = r + gamma * future
            error = target - q[s, a]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], target, alpha, level, future, q[s], q[s2],
                )  # fmt: skip
            q[s, a] += alpha * error  # Q(S,A) ← Q(S,A) + α [R + γ max_a Q(S',a) − Q(S,A)]  (6.8)

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class QLearning(QTableAlgorithm):
    name = "q-learning"
    title = "Q-learning"
    idea = "Learns about the best moves whatever it does: its target takes the best next action."
    needs = "Only its own steps, from any policy that tries everything."
    chosen_when = "A first method is wanted, and mistakes while learning cost nothing."
    with_llms = (
        "Not as a table: hardly any text comes twice, and a reward at the end moves back by one "
        "token at each visit. With a network in place of the table it is DQN."
    )
    settings = QLearningSettings
    source = "Sutton & Barto, section 6.5, equation 6.8"
    policy_type = "off-policy"
    target_policy = "greedy on Q"
    formula = "Q(s,a) ← Q(s,a) + α [ r + γ max Q(s′,·) − Q(s,a) ]"
    kernel = staticmethod(q_learning)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        return explain_update(
            self.formula,
            step,
            follow="if it plays its best move from there, whatever it will really do: that is what "
            "makes Q-learning off-policy",
            actions=actions,
        )


ALGORITHM = QLearning()
