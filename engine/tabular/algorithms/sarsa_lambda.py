"""SARSA(λ): on-policy TD control with eligibility traces. Sutton & Barto, 12.7, (12.5-12.7).

The book's method with one feature for each pair, which is a table: w is Q, z the traces e, and
∇q is 1 for the pair just met and 0 for all others. λ = 0 is SARSA; λ = 1 is, where no pair comes
up twice in an episode, Monte Carlo with the same step size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import chance_of, choose, step_size
from engine.tabular.kernels.eligibility import (
    TraceAlgorithm,
    TraceHyperparameters,
    TraceSettings,
    TraceTables,
    explain_traced,
    fade,
    mark,
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
from engine.tabular.kernels.trace import WATCHED, Trace, note


class SarsaLambdaSettings(TraceSettings, frozen=True, kw_only=True, tag="sarsa-lambda"):
    """SARSA(λ): SARSA whose every surprise also teaches the steps that led to it."""


@kernel
def sarsa_lambda(
    env: StackedMDPs,
    agents: Agents,
    tables: TraceTables,
    hyperparameters: TraceHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    for i in range(agents.state.size):
        q, visits, random = tables.q[i], tables.visits[i], agents.random[i]
        e, listed = tables.traces[i], tables.listed[i]
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

            factor = gamma * hyperparameters.decay if agents.time[i] > 0 else 0.0
            count = fade(e, listed, tables.n_listed[i], factor)  # e ← γλ e, and 0 in a new episode
            count = mark(
                e, listed, count, s, a, hyperparameters.replacing
            )  # e(S,A) ← 1 or e(S,A) + 1
            tables.n_listed[i] = count

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
                alpha = step_size(hyperparameters.alpha, agents.steps[i], visits[s, a])
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, a2,
                    q[s, a], target, alpha * e[s, a], level, future, q[s], q[s2],
                )  # fmt: skip
            for j in range(count):
                s0, a0 = listed[j] // q.shape[1], listed[j] % q.shape[1]
                alpha = step_size(hyperparameters.alpha, agents.steps[i], visits[s0, a0])
                q[s0, a0] += (alpha * e[s0, a0]) * error  # Q ← Q + α δ e, for every pair  (12.7)

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)
            agents.action[i], agents.explored[i], agents.level[i] = a2, explores, level2
            agents.chance[i] = chance


class SarsaLambda(TraceAlgorithm):
    name = "sarsa-lambda"
    title = "SARSA(λ)"
    settings = SarsaLambdaSettings
    source = "Sutton & Barto, section 12.7, equations 12.5 to 12.7"
    policy_type = "on-policy"
    target_policy = "the behaviour policy itself"
    formula = "Q ← Q + α δ e,   δ = r + γ Q(s′,a′) − Q(s,a),   e ← γλ e, then e(s,a) ← 1"
    idea = "Every surprise also teaches the steps that led to it, the latest ones most."
    needs = "Only its own steps, and a trace for each pair."
    chosen_when = "Rewards are rare or late, and learning shall happen at every step."
    with_llms = (
        "Not as a table: hardly any text comes twice. Its λ is kept in PPO's advantages (GAE), "
        "worked out when the answer is complete and without traces."
    )
    kernel = staticmethod(sarsa_lambda)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        next_move = actions[step.next_action] if step.next_action >= 0 else "its next move"
        return explain_traced(
            self.formula,
            step,
            follow=f"with the move it has already chosen to make there ({next_move}), exploring "
            "moves included",
            more="The moves made before in this episode share in it, the latest ones most: each "
            "changes by its trace (layer traces).",
            actions=actions,
        )


ALGORITHM = SarsaLambda()
