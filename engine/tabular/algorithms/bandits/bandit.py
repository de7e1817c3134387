"""A k-armed bandit by action values. Sutton & Barto, sections 2.2 to 2.7, equations 2.3 and 2.5.

Each arm has an estimate Q(a) of what it pays on average. With step size 1/n it is the mean of the
arm's rewards so far; a constant step size weighs recent rewards more, for arms that change, and
keeps an optimistic start in mind for a while (section 2.6). Which arm is pulled is exploration's
business: ε-greedy (section 2.2) or an upper confidence bound (section 2.7, equation 2.10).

It is Q-learning without a next state: nothing follows a pull, so its target is the reward alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from engine.config.algorithm import TUNABLE, TableStepSize, TemporalDifferenceSettings
from engine.config.preset import Preset
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.algorithms.bandits.pulls import check_one_move, pulled
from engine.tabular.kernels.behaviour import choose, step_size
from engine.tabular.kernels.environment import (
    Agents,
    Limits,
    StackedMDPs,
    begin_episode,
    finish_step,
    is_done,
    move,
)
from engine.tabular.kernels.q_table import Hyperparameters, QTableAlgorithm, QTables
from engine.tabular.kernels.trace import WATCHED, Trace, note


class BanditSettings(TemporalDifferenceSettings, frozen=True, kw_only=True, tag="bandit"):
    """k-armed bandit: estimates what each arm pays, and pulls what looks best or unknown."""

    learning_rate: Annotated[
        TableStepSize | Literal["1/n"],
        Meta(
            description='step size α; "1/n" (one over the pulls of the arm) averages all its '
            "rewards, a number forgets old ones",
            extra_json_schema=TUNABLE,
        ),
    ] = "1/n"


@kernel
def bandit(
    env: StackedMDPs,
    agents: Agents,
    tables: QTables,
    hyperparameters: Hyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` pulls of every agent."""
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
            visits[s, a] += 1
            alpha = step_size(hyperparameters.alpha, agents.steps[i], visits[s, a])

            error = r - q[s, a]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], r, alpha, level, 0.0, q[s], q[s],
                )  # fmt: skip
            q[s, a] += alpha * error  # Q(A) ← Q(A) + α [R − Q(A)], α = 1/N(A): the mean  (2.3, 2.5)

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, hyperparameters.gamma)


class Bandit(QTableAlgorithm):
    name = "bandit"
    title = "k-armed bandit"
    settings = BanditSettings
    source = "Sutton & Barto, sections 2.2 to 2.7, equations 2.3, 2.5 and 2.10"
    policy_type = "on-policy"
    target_policy = "the behaviour policy itself"
    update_name = "pull"
    formula = "Q(a) ← Q(a) + α [ r − Q(a) ]"
    idea = "One state, k arms: averages what each arm paid, and must pull an arm to learn of it."
    needs = "A single decision whose reward comes at once: nothing follows it."
    chosen_when = (
        "What is done now does not change what can be done next: A/B tests, offers, doses."
    )
    with_llms = (
        "Not for whole answers: each would be an arm, and nearly all are never pulled twice. Few "
        "choices (which model, which prompt) suit it."
    )
    kernel = staticmethod(bandit)

    def check(self, preset: Preset) -> None:
        check_one_move(preset)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        numbers = (
            f"δ = r − Q(a) = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}\n"
            f"Q(a) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
            f"= {step.after:.4g}"
        )
        chosen = "explored" if step.explored else "took the arm that looks best"
        words = f"The agent {chosen}: {pulled(step, actions)}"
        if step.error == 0:
            return Explanation(
                self.formula, numbers, f"{words} That is exactly what it expected of it."
            )
        way = "better" if step.error > 0 else "worse"
        moves = "rises" if step.error > 0 else "falls"
        words += (
            f" That is {abs(step.error):.4g} {way} than it expected: the arm's value {moves}. "
            "Nothing follows a pull, so the reward is the whole target."
        )
        return Explanation(self.formula, numbers, words)


ALGORITHM = Bandit()
