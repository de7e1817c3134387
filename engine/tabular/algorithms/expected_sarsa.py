"""Expected SARSA (van Seijen et al., 2009): on-policy TD control. Sutton & Barto, 6.6, (6.9).

Like SARSA, but the target takes the mean over the moves the policy might make next instead of the
one it happens to draw, so that the draw adds no variance. Where the policy is greedy (ε = 0), that
mean is the maximum, and expected SARSA is Q-learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.config.algorithm import TemporalDifferenceSettings
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import (
    EPSILON_GREEDY,
    SOFTMAX,
    choose,
    highest,
    scheduled,
    step_size,
)
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


class ExpectedSarsaSettings(
    TemporalDifferenceSettings, frozen=True, kw_only=True, tag="expected-sarsa"
):
    """Expected SARSA: learns about the policy it follows, averaging over what it may do next."""


@kernel
def expected_value(values: Array, visits: Array, rule: Array, step: int) -> float:
    """Σ_a π(a) values[a] over the [A] actions, π the behaviour policy at this step."""
    level = scheduled(rule, step)
    top = highest(values)
    total = weight = 0.0
    if rule[4] == EPSILON_GREEDY:
        for a in range(values.size):
            total += values[a]
        return (1.0 - level) * top + level * (total / values.size)
    if rule[4] == SOFTMAX:
        for a in range(values.size):
            chance = math.exp((values[a] - top) / level)
            total += chance * values[a]
            weight += chance
        return total / weight
    n = 0
    for a in range(values.size):  # UCB: any action never tried, else the one with the best bound
        n += visits[a]
        if visits[a] == 0:
            total += values[a]
            weight += 1.0
    if weight > 0.0:
        return total / weight
    bound, log_n = -math.inf, math.log(n)
    for a in range(values.size):  # exact ties share evenly, as they do when one is drawn
        hope = values[a] + level * math.sqrt(log_n / visits[a])
        if hope > bound:
            bound, total, weight = hope, 0.0, 0.0
        if hope == bound:
            total += values[a]
            weight += 1.0
    return total / weight


@kernel
def expected_sarsa(
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

            future = 0.0
            if not flags & TERMINAL:
                future = expected_value(
                    q[s2], visits[s2], hyperparameters.exploration, agents.steps[i] + 1
                )
            target = r + gamma * future
            error = target - q[s, a]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], target, alpha, level, future, q[s], q[s2],
                )  # fmt: skip
            q[s, a] += (
                alpha * error
            )  # Q(S,A) ← Q(S,A) + α [R + γ Σ_a π(a|S') Q(S',a) − Q(S,A)] (6.9)

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class ExpectedSarsa(QTableAlgorithm):
    name = "expected-sarsa"
    title = "Expected SARSA"
    settings = ExpectedSarsaSettings
    source = "Sutton & Barto, section 6.6, equation 6.9"
    policy_type = "on-policy"
    target_policy = "the behaviour policy itself"
    formula = "Q(s,a) ← Q(s,a) + α [ r + γ Σ π(a′|s′) Q(s′,a′) − Q(s,a) ]"
    idea = "Like SARSA, but averages over the moves it might make next instead of drawing one."
    needs = "Only its own steps."
    chosen_when = "SARSA's caution is wanted with less noise, or with a large step size."
    with_llms = (
        "Not as a table: hardly any text comes twice. And each target would add up the values of "
        "a whole vocabulary."
    )
    kernel = staticmethod(expected_sarsa)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        return explain_update(
            self.formula,
            step,
            follow="on average over the moves its policy may make there, exploring ones with the "
            "chance they have: the mean does not depend on which of them it will draw",
            actions=actions,
        )


ALGORITHM = ExpectedSarsa()
