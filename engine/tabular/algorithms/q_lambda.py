"""Watkins's Q(λ) (1989): off-policy TD control with traces. Sutton & Barto, section 12.10.

The algorithm itself is in the book's first edition, figure 7.14. Its returns are those of greedy
moves, so a move that is not greedy breaks the chain: what follows it says nothing about the pairs
before it, and their traces are cut. λ = 0 is Q-learning.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import choose, highest, step_size
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


class QLambdaSettings(TraceSettings, frozen=True, kw_only=True, tag="q-lambda"):
    """Watkins's Q(λ): Q-learning whose surprises also teach the greedy moves that led to them."""


@kernel
def q_lambda(
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
            a, explored, level = choose(
                q[s], visits[s], hyperparameters.exploration, agents.steps[i], random
            )
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            visits[s, a] += 1

            goes_on = agents.time[i] > 0 and q[s, a] == highest(q[s])
            factor = gamma * hyperparameters.decay if goes_on else 0.0
            count = fade(
                e, listed, tables.n_listed[i], factor
            )  # e ← γλ e; cut by a move not greedy
            count = mark(
                e, listed, count, s, a, hyperparameters.replacing
            )  # e(S,A) ← 1 or e(S,A) + 1
            tables.n_listed[i] = count

            future = 0.0 if flags & TERMINAL else highest(q[s2])
            target = r + gamma * future
            error = target - q[s, a]
            if i == WATCHED and left <= trace.ints.shape[0]:
                alpha = step_size(hyperparameters.alpha, agents.steps[i], visits[s, a])
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], target, alpha * e[s, a], level, future, q[s], q[s2],
                )  # fmt: skip
            for j in range(count):
                s0, a0 = listed[j] // q.shape[1], listed[j] % q.shape[1]
                alpha = step_size(hyperparameters.alpha, agents.steps[i], visits[s0, a0])
                q[s0, a0] += (alpha * e[s0, a0]) * error  # Q ← Q + α δ e  (1st edition, fig. 7.14)

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class QLambda(TraceAlgorithm):
    name = "q-lambda"
    title = "Watkins's Q(λ)"
    settings = QLambdaSettings
    source = "Sutton & Barto, section 12.10; first edition, figure 7.14"
    policy_type = "off-policy"
    target_policy = "greedy on Q"
    formula = "Q ← Q + α δ e,   δ = r + γ max Q(s′,·) − Q(s,a),   e ← γλ e (0 after exploring)"
    idea = "Passes each surprise back along the greedy moves that led to it."
    needs = "Only its own steps, most of them greedy: exploring cuts the traces."
    chosen_when = "Rewards are rare, and the greedy policy is what matters."
    with_llms = (
        "Not as a table: hardly any text comes twice. And each token that is not the greedy one "
        "cuts the traces; sampled answers have many."
    )
    kernel = staticmethod(q_lambda)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        greedy = step.values[step.action] == max(step.values)
        return explain_traced(
            self.formula,
            step,
            follow="if it plays its best move from there, whatever it will really do",
            more="The greedy moves right before it share in that, by their traces (layer traces)."
            if greedy
            else "This move was not a best one, so the traces of all moves before it were cut: "
            "what it leads to says nothing about playing greedily from them.",
            actions=actions,
        )


ALGORITHM = QLambda()
