"""True online TD(λ): what a given policy is worth, by the online λ-return. Sutton & Barto, 12.5,
(12.11); van Seijen and Sutton 2014, van Seijen et al. 2016.

At every step the online λ-return algorithm goes back to the start of the episode and learns all of
it anew, with returns that reach up to now (section 12.4). That costs ever more with every step;
true online TD(λ) gives exactly its weights at every step for a fixed cost. Two things differ from
TD(λ): the trace, which is a dutch one, and a correction by how much the estimate of S has moved
since it was the next state. With λ = 0 and features of one cell each it is TD(0).

N agents, O observations, A actions, F features, M of them not 0 at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation, pay_of
from engine.learning.events import Step
from engine.tabular.algorithms.approximation.linear_prediction import (
    LinearPrediction,
    LinearPredictionSettings,
)
from engine.tabular.algorithms.approximation.vectors import add, square, value_of
from engine.tabular.kernels.behaviour import encode_schedule, scheduled
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
from engine.tabular.kernels.features import LARGEST
from engine.tabular.kernels.policy_table import drawn_action
from engine.tabular.kernels.trace import WATCHED, Trace, note


class TrueOnlineTdSettings(
    LinearPredictionSettings, frozen=True, kw_only=True, tag="true-online-td"
):
    """True online TD(λ): learns what a given policy is worth, exactly as the λ-return says."""

    trace_decay: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="λ: how much of the credit for what happens now goes one step further "
            "back; 0 learns from single steps, 1 credits all of the episode",
        ),
    ] = 0.8


class TrueOnlineTables(NamedTuple):
    """The learned weights, the traces, and what is observed. All agents share `places`, `worth`."""

    w: Array  # [N,F] float64
    visits: Array  # [N,O,A] int64: how often each action was taken
    policy: Array  # [N,O,A] float64: the given one
    places: Array  # [1,O,M] int32
    worth: Array  # [1,O,M] float64
    z: Array  # [N,F] float64: the dutch traces
    old: Array  # [N] float64: v̂ of this state when it was the next one


class TrueOnlineHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    decay: float


@kernel
def true_online_td(
    env: StackedMDPs,
    agents: Agents,
    tables: TrueOnlineTables,
    hyperparameters: TrueOnlineHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    places, worth = tables.places[0], tables.worth[0]
    for i in range(agents.state.size):
        w, z, policy = tables.w[i], tables.z[i], tables.policy[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a = drawn_action(policy[s], agents.random[i])
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            alpha = scheduled(hyperparameters.alpha, agents.steps[i])

            on, x = places[s], worth[s]
            v = value_of(on, x, w)
            future = 0.0 if flags & TERMINAL else value_of(places[s2], worth[s2], w)
            target = r + gamma * future
            error = target - v
            factor = gamma * hyperparameters.decay if agents.time[i] > 0 else 0.0
            fresh = 1.0 - alpha * factor * value_of(on, x, z)
            for f in range(z.size):
                z[f] *= factor
            add(on, x, z, fresh)  # z ← γλ z + (1 − αγλ zᵀx) x  (12.11)
            old = tables.old[i] if agents.time[i] > 0 else v  # nothing before it in this episode
            if i == WATCHED and left <= trace.ints.shape[0]:
                own = value_of(on, x, z)  # V(S) moves by α zᵀx (target + correction − V)
                correction = (v - old) * (1.0 - square(x) / own) if own != 0.0 else 0.0
                note(
                    trace, env, agents, i, a, False, r, landing, flags, -1, v,
                    target + correction, alpha * own, math.nan, future, policy[s], policy[s2],
                )  # fmt: skip
            if -LARGEST < error < LARGEST:
                for f in range(z.size):  # w ← w + α (δ + V − V_old) z − α (V − V_old) x
                    w[f] += alpha * (error + v - old) * z[f]
                add(on, x, w, -alpha * (v - old))
            tables.old[i] = future
            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, False, error, gamma)


class TrueOnlineTd(LinearPrediction):
    name = "true-online-td"
    title = "True online TD(λ)"
    settings = TrueOnlineTdSettings
    source = "Sutton & Barto, section 12.5, equation 12.11; van Seijen et al. 2016"
    policy_type = "on-policy"
    behaviour_policy = "the given policy"
    target_policy = "the given policy, which it judges and never changes"
    formula = "w ← w + α (δ + V − V_old) z − α (V − V_old) x,   z ← γλ z + (1 − αγλ zᵀx) x"
    idea = "Traces that give exactly, at every step, what the online λ-return would have taught."
    needs = "A policy to judge, and features of which v̂ is a linear function."
    chosen_when = "Traces are wanted with large step sizes, where plain TD(λ) becomes unstable."
    kernel = staticmethod(true_online_td)

    def make_tables(self, settings: Any, size: Size) -> TrueOnlineTables:
        x, fields = self.learned(settings, size)
        return TrueOnlineTables(
            **fields,
            z=np.zeros((size.agents, x.first.size)),
            old=np.zeros(size.agents),
        )

    def make_hyperparameters(self, settings: Any) -> TrueOnlineHyperparameters:
        return TrueOnlineHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            decay=settings.trace_decay,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        ahead = 0.0 if step.terminated else step.gamma * step.bootstrap
        told = "" if step.terminated else f" + {step.gamma:g} × {step.bootstrap:.4g}"
        correction = step.target - step.paid - ahead
        numbers = (
            f"target = {step.paid:.4g}{told} {correction:+.4g} (correction) = {step.target:.4g}\n"
            f"δ = target − V(s) = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}\n"
            f"V(s) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
            f"= {step.after:.4g}\n"
            "(the step size is α zᵀx; all other features with a trace move too)"
        )
        words = f"The given policy drew {actions[step.action]}. It was paid {pay_of(step)}"
        words += ", and the episode ended." if step.terminated else "."
        if step.truncated:
            words += " The time limit cut the episode here; that is not an end."
        words += (
            " The surprise is due to all states met before it in the episode, each by its trace. "
            "The correction sets off what the last update did to the estimate of this state, so "
            "that nothing is counted twice."
        )
        return Explanation(self.formula, numbers, words)


ALGORITHM = TrueOnlineTd()
