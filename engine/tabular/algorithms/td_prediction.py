"""TD(0), n-step TD and TD(λ): what a given policy is worth. Sutton & Barto, section 6.1 (6.2), 7.1
(7.2) and 12.2 (12.5 to 12.7).

Nothing is improved here: the agent follows the policy it is given and learns V, the return that
follows each state. n = 1 is TD(0); a larger n waits for n rewards before it relies on its own guess
at the rest; an n of at least `max_steps` is every-visit Monte Carlo prediction. When the time limit
truncates an episode, the waiting returns end with the estimate of where it struck; when the episode
terminates, nothing follows.

With `trace_decay` = λ it is TD(λ): every one-step TD error moves all states met before it in the
episode, each by its accumulating trace, which is about what a mixture of all n-step returns with
weights (1 − λ) λⁿ⁻¹ would move it (section 12.1). λ = 0 is TD(0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, MovingSettings, TableStepSize
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.core.errors import UserError
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation, pay_of
from engine.learning.events import Step
from engine.tabular.given_policy import GivenPolicy, check_prediction
from engine.tabular.kernels.behaviour import ONE_OVER_N, encode_schedule, scheduled, step_size
from engine.tabular.kernels.eligibility import fade, mark
from engine.tabular.kernels.environment import (
    TERMINAL,
    Agents,
    Limits,
    StackedMDPs,
    begin_episode,
    finish_step,
    is_done,
    is_truncated,
    move,
)
from engine.tabular.kernels.experience import MovingAlgorithm, Size
from engine.tabular.kernels.policy_table import drawn_action
from engine.tabular.kernels.returns import check_kept_steps, compute_returns, explain_waiting
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_update


class TD0Settings(MovingSettings, frozen=True, kw_only=True, tag="td-0"):
    """TD(0): learns what a given policy is worth, without improving it."""

    policy: Annotated[
        GivenPolicy,
        Meta(
            description="the policy that is followed and judged: random, optimal (of the first "
            "map), or the chance of each action, such as {left = 0.5, right = 0.5}"
        ),
    ] = "random"
    n: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="how many rewards each update waits for; 1 is TD(0), max_steps or more is "
            "Monte Carlo",
        ),
    ] = 1
    trace_decay: Annotated[
        Annotated[float, Meta(ge=0.0, le=1.0)] | None,
        Meta(
            description="λ of TD(λ): how much of the credit for what happens now goes one step "
            "further back, by accumulating traces; needs n = 1; left out, there are no traces"
        ),
    ] = None
    learning_rate: Annotated[
        TableStepSize | Literal["1/n"],
        Meta(
            description="step size α: how far each update moves towards its target; a number, a "
            'schedule, or "1/n" (one over the updates of the state)',
            extra_json_schema=TUNABLE,
        ),
    ] = 0.1
    initial_value: Annotated[float, Meta(description="V at the start")] = 0.0


class ValueTables(NamedTuple):
    """The learned numbers, the last n steps (step t of the episode at t % n), and the traces."""

    values: Array  # [N,O] float64
    learned: Array  # [N,O] int64: how often each value was updated
    visits: Array  # [N,O,A] int64: how often each action was taken
    policy: Array  # [N,O,A] float64: the given one
    observations: Array  # [N,n] int64
    rewards: Array  # [N,n] float64
    returns: Array  # [N,n] float64
    traces: Array  # [N,O,1] float64: those of TD(λ); as if there were one action
    listed: Array  # [N,O] int64: the observations with a trace, in the first ones
    n_listed: Array  # [N] int64


class ValueHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    decay: float  # λ; below 0 without traces


@kernel
def td_0(
    env: StackedMDPs,
    agents: Agents,
    tables: ValueTables,
    hyperparameters: ValueHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    n = tables.rewards.shape[1]
    for i in range(agents.state.size):
        v, learned, policy = tables.values[i], tables.learned[i], tables.policy[i]
        observations, random = tables.observations[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a = drawn_action(policy[s], random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, False, r, landing, flags, -1,
                    v[s], v[s], 0.0, math.nan, 0.0, policy[s], policy[s2],
                )  # fmt: skip

            t = agents.time[i]
            observations[t % n], tables.rewards[i, t % n] = s, r
            future = 0.0 if flags & TERMINAL else v[s2]
            over = (flags & TERMINAL) != 0 or is_truncated(env, agents, i, flags)
            oldest = max(t - n + 1, 0)
            newest = t if over else t - n + 1  # steps oldest … newest can be learned from now
            if newest >= 0 and hyperparameters.decay < 0.0:
                compute_returns(tables.rewards[i], oldest, t, gamma, future, tables.returns[i])
            surprise = 0.0
            if hyperparameters.decay >= 0.0:
                newest = -1  # nothing waits: every error is passed back at once
                e, listed = tables.traces[i], tables.listed[i]
                factor = gamma * hyperparameters.decay if t > 0 else 0.0
                count = fade(e, listed, tables.n_listed[i], factor)  # z ← γλ z, 0 in a new episode
                count = mark(e, listed, count, s, 0, False)  # z(S) ← z(S) + 1  (12.5)
                tables.n_listed[i] = count
                learned[s] += 1
                target = r + gamma * future
                error = target - v[s]  # (12.6)
                if i == WATCHED:
                    alpha = step_size(hyperparameters.alpha, agents.steps[i], learned[s]) * e[s, 0]
                    note_update(trace, agents.steps[i] + 1, v[s], target, alpha, future, math.nan)
                for j in range(count):
                    s0 = listed[j]
                    alpha = step_size(hyperparameters.alpha, agents.steps[i], learned[s0])
                    v[s0] += (alpha * e[s0, 0]) * error  # V ← V + α δ z, for every state  (12.7)
                surprise = abs(error)
                agents.updates[i] += 1
            for tau in range(oldest, newest + 1):
                if agents.updates[i] >= limits.updates:
                    break
                s0, target = observations[tau % n], tables.returns[i, tau % n]
                learned[s0] += 1
                alpha = step_size(hyperparameters.alpha, agents.steps[i], learned[s0])
                error = target - v[s0]
                if i == WATCHED:
                    count = agents.steps[i] + 1 - (t - tau)
                    note_update(trace, count, v[s0], target, alpha, future, math.nan)
                v[s0] += alpha * error  # V(Sτ) ← V(Sτ) + α [G_τ:τ+n − V(Sτ)]  (7.2; n = 1: 6.2)
                surprise += abs(error)
                agents.updates[i] += 1

            finish_step(env, agents, i, landing, r, flags, False, surprise, gamma)


class TD0(MovingAlgorithm):
    name = "td-0"
    title = "TD(0) prediction"
    settings = TD0Settings
    source = (
        "Sutton & Barto, section 6.1, equation 6.2; n-step: section 7.1, equation 7.2; "
        "TD(λ): section 12.2, equations 12.5 to 12.7"
    )
    family = "prediction"
    policy_type = "on-policy"
    behaviour_policy = "the given policy"
    target_policy = "the given policy, which it judges and never changes"
    formula = "V(s) ← V(s) + α [ r + γ V(s′) − V(s) ]   (n > 1: n rewards, then γⁿ V)"
    idea = "Judges a policy instead of improving it: each guess learns from the next one."
    needs = "A policy to judge."
    chosen_when = "It shall be known what a policy is worth; it is the critic inside other methods."
    with_llms = (
        "Not alone, since it improves nothing, and not as a table. PPO's value head is its idea "
        "with a network, and mostly with λ near 1."
    )
    kernel = staticmethod(td_0)

    def check(self, preset: Preset) -> None:
        assert isinstance(preset.algorithm, TD0Settings)
        if preset.algorithm.trace_decay is not None and preset.algorithm.n > 1:
            raise UserError(
                f"algorithm.trace_decay: found {preset.algorithm.trace_decay:g} beside n = "
                f"{preset.algorithm.n}; TD(λ) learns from single steps: leave one of them out."
            )
        check_kept_steps(preset, preset.algorithm.n, "algorithm.n")
        check_prediction(preset)

    def make_tables(self, settings: Any, size: Size) -> Any:
        ring = (size.agents, min(settings.n, size.longest))
        return ValueTables(
            values=np.full(size.table[:2], float(settings.initial_value)),
            learned=np.zeros(size.table[:2], np.int64),
            visits=np.zeros(size.table, np.int64),
            policy=np.zeros(size.table),  # filled in by the learner, which knows the maze
            observations=np.zeros(ring, np.int64),
            rewards=np.zeros(ring),
            returns=np.zeros(ring),
            traces=np.zeros((*size.table[:2], 1)),
            listed=np.zeros(size.table[:2], np.int64),
            n_listed=np.zeros(size.agents, np.int64),
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return ValueHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            decay=-1.0 if settings.trace_decay is None else settings.trace_decay,
        )

    def behaviour(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        policy: Array = tables.policy
        return policy

    def target(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        return self.behaviour(tables, hyperparameters, step)

    def greedy(self, tables: Any) -> Array:
        """The given policy: V alone, without a model, does not say which action looks best."""
        policy: Array = tables.policy
        return policy

    def state_values(self, tables: Any, target: Array) -> Array:
        values: Array = tables.values
        return values

    def learned_parameters(self, tables: Any) -> list[Array]:
        return [tables.values]

    def hyperparameter_metrics(self, hyperparameters: Any, step: int) -> dict[str, float]:
        if hyperparameters.alpha[0] == ONE_OVER_N:
            return {}
        return {"learning_rate": scheduled(hyperparameters.alpha, step)}

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        words = f"The given policy drew {actions[step.action]}. It was paid {pay_of(step)}"
        words += ", and the episode ended." if step.terminated else "."
        if step.truncated:
            words += " The time limit cut the episode here; that is not an end."
        wait = "first n rewards must come in (or the episode must end)"
        return explain_waiting(self.formula, step, "V(s)", wait, words)


ALGORITHM = TD0()
