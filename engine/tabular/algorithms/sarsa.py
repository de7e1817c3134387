"""SARSA (Rummery and Niranjan, 1994): on-policy TD control. Sutton & Barto, section 6.4, (6.7)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.config.algorithm import TemporalDifferenceSettings
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import chance_of, choose, step_size
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


class SarsaSettings(TemporalDifferenceSettings, frozen=True, kw_only=True, tag="sarsa"):
    """SARSA: learns about the policy it follows, exploring moves included."""


@kernel
def sarsa(
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
            if agents.action[i] < 0:
                agents.action[i], agents.explored[i], agents.level[i] = choose(
                    q[s], visits[s], hyperparameters.exploration, agents.steps[i], random
                )
                if i == WATCHED:
                    agents.chance[i] = chance_of(
                        q[s], agents.action[i], hyperparameters.exploration, agents.level[i]
                    )
            a, explored, level = agents.action[i], agents.explored[i], agents.level[i]
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            visits[s, a] += 1
            alpha = step_size(hyperparameters.alpha, agents.steps[i], visits[s, a])

            a2, explores, level2, future, chance = -1, False, 0.0, 0.0, math.nan
            if not flags & TERMINAL:
                a2, explores, level2 = choose(
                    q[s2], visits[s2], hyperparameters.exploration, agents.steps[i] + 1, random
                )
                future = q[s2, a2]
                if i == WATCHED and left <= trace.ints.shape[0] + 1:  # the next step may be noted
                    chance = chance_of(q[s2], a2, hyperparameters.exploration, level2)
            target = r + gamma * future
            error = target - q[s, a]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, a2,
                    q[s, a], target, alpha, level, future, q[s], q[s2],
                )  # fmt: skip
            q[s, a] += alpha * error  # Q(S,A) ← Q(S,A) + α [R + γ Q(S',A') − Q(S,A)]  (6.7)

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)
            agents.action[i], agents.explored[i], agents.level[i] = a2, explores, level2
            agents.chance[i] = chance


class Sarsa(QTableAlgorithm):
    name = "sarsa"
    title = "SARSA"
    idea = "Learns what its own policy is worth: its target takes the move it really makes next."
    needs = "Only its own steps."
    chosen_when = "Mistakes cost while learning: it keeps away from cliffs it could fall off."
    with_llms = (
        "Not as a table: hardly any text comes twice. Learning about the policy that writes is "
        "kept: PPO's value head does so, with one value for a text in place of one for each next "
        "token."
    )
    settings = SarsaSettings
    source = "Sutton & Barto, section 6.4, equation 6.7"
    policy_type = "on-policy"
    target_policy = "the behaviour policy itself"
    formula = "Q(s,a) ← Q(s,a) + α [ r + γ Q(s′,a′) − Q(s,a) ]"
    kernel = staticmethod(sarsa)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        next_move = actions[step.next_action] if step.next_action >= 0 else "its next move"
        return explain_update(
            self.formula,
            step,
            follow=f"with the move it has already chosen to make there ({next_move}), exploring "
            "moves included: that is what makes SARSA on-policy",
            actions=actions,
        )


ALGORITHM = Sarsa()
