"""Semi-gradient TD(0) with linear features, on- and off-policy. Sutton & Barto, 9.3, 11.1, (11.2).

The given policy π is judged from moves that another one, b, may have made: each update is weighed
by the importance ratio ρ = π(a|s)/b(a|s), so that on average it is the one π would have made. What
ρ does not mend is *where* learning happens: states come up as often as b meets them. With function
approximation and bootstrapping that is the deadly triad (section 11.3), and in Baird's
counterexample (section 11.2) the weights grow without bound, however small the step size.

Two ways out are settings here. With `behaviour` the same as `policy` that policy is followed
itself; on-policy the method is safe with a small step size (section 9.4). And with `target_every`
above 1 the targets are taken from weights that stand still meanwhile (Mnih et al. 2015): each
stretch then solves an ordinary regression, and cannot chase itself. That helps where the features
can express what the regression is asked for, as Baird's can; it is no guarantee: in the book's
example of w and 2w (example 11.1) even exact regressions diverge.

N agents, O observations, A actions, F features, M of them not 0 at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.preset import Preset
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
from engine.tabular.given_policy import GivenPolicy, check_coverage
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


class LinearTdSettings(LinearPredictionSettings, frozen=True, kw_only=True, tag="linear-td"):
    """Semi-gradient TD(0): learns what a policy is worth as a sum of weights of features."""

    behaviour: Annotated[
        GivenPolicy,
        Meta(
            description="the behaviour policy b, which is followed, written like policy; where it "
            "is another than the one that is judged, learning is off-policy"
        ),
    ] = "random"
    target_every: Annotated[
        int,
        Meta(
            ge=1,
            description="a target network: targets use a copy of the weights, made anew after so "
            "many updates; 1 is none",
        ),
    ] = 1


class LinearTdTables(NamedTuple):
    """The learned weights, and what is observed. All agents share `places` and `worth`."""

    w: Array  # [N,F] float64
    visits: Array  # [N,O,A] int64: how often each action was taken
    policy: Array  # [N,O,A] float64: π, which is judged
    places: Array  # [1,O,M] int32
    worth: Array  # [1,O,M] float64
    behaviour: Array  # [N,O,A] float64: b, which is followed; filled in by the learner
    still: Array  # [N,F] float64: w⁻, the copy that targets are taken from


class LinearTdHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    target_every: int


@kernel
def linear_td(
    env: StackedMDPs,
    agents: Agents,
    tables: LinearTdTables,
    hyperparameters: LinearTdHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    places, worth = tables.places[0], tables.worth[0]
    for i in range(agents.state.size):
        w, still = tables.w[i], tables.still[i]
        pi, b = tables.policy[i], tables.behaviour[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a = drawn_action(b[s], agents.random[i])
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            alpha = scheduled(hyperparameters.alpha, agents.steps[i])

            on, x = places[s], worth[s]
            before = value_of(on, x, w)
            future = 0.0
            if not flags & TERMINAL:
                ahead = w if hyperparameters.target_every == 1 else still
                future = value_of(places[s2], worth[s2], ahead)
            target = r + gamma * future
            error = target - before
            rho = pi[s, a] / b[s, a]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, False, r, landing, flags, -1, before,
                    target, alpha * rho * square(x), math.nan, future, b[s], b[s2],
                )  # fmt: skip
            if -LARGEST < error < LARGEST:
                add(on, x, w, alpha * rho * error)  # w ← w + α ρ [R + γ v̂(S',w⁻) − v̂(S,w)] x
            agents.updates[i] += 1
            every = hyperparameters.target_every
            if every > 1 and agents.updates[i] % every == 0:
                for f in range(w.size):
                    still[f] = w[f]
            finish_step(env, agents, i, landing, r, flags, False, error, gamma)


class LinearTd(LinearPrediction):
    name = "linear-td"
    title = "Linear TD(0)"
    settings = LinearTdSettings
    source = (
        "Sutton & Barto, sections 9.3 and 11.1, equation 11.2; target network: Mnih et al. 2015"
    )
    policy_type = "off-policy"
    behaviour_policy = "the given behaviour policy b"
    target_policy = "the given policy, which it judges and never changes"
    formula = "w ← w + α ρ [ r + γ v̂(s′,w⁻) − v̂(s,w) ] x(s),   ρ = π(a|s) / b(a|s)"
    idea = "Judges a policy by features, from moves that another policy may have made."
    needs = (
        "A policy to judge, and one to follow that dares all it does. Off-policy it can diverge."
    )
    chosen_when = "It shall be seen how function approximation, bootstrapping and off-policy clash."
    kernel = staticmethod(linear_td)

    def check(self, preset: Preset) -> None:
        super().check(preset)
        check_coverage(preset)

    def make_tables(self, settings: Any, size: Size) -> LinearTdTables:
        x, fields = self.learned(settings, size)
        return LinearTdTables(
            **fields,
            behaviour=np.zeros(size.table),
            still=np.repeat(x.first[None], size.agents, axis=0),
        )

    def make_hyperparameters(self, settings: Any) -> LinearTdHyperparameters:
        return LinearTdHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            target_every=settings.target_every,
        )

    def behaviour(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        behaviour: Array = tables.behaviour
        return behaviour

    def divergence_remedy(self, settings: Any) -> str:
        if settings.behaviour != settings.policy and settings.target_every == 1:
            return (
                "Set algorithm.target_every to 1000 or so (a target network), or "
                "algorithm.behaviour to algorithm.policy (on-policy)."
            )
        return super().divergence_remedy(settings)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        ahead = f" + {step.gamma:g} × {step.bootstrap:.4g}" if not step.terminated else ""
        numbers = (
            f"target = {step.paid:.4g}{ahead} = {step.target:.4g}\n"
            f"δ = target − V(s) = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}\n"
            f"V(s) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
            f"= {step.after:.4g}\n(the step size is α ρ ‖x(s)‖²)"
        )
        words = f"The policy that is followed drew {actions[step.action]}. "
        words += f"It was paid {pay_of(step)}"
        words += ", and the episode ended." if step.terminated else "."
        if step.truncated:
            words += " The time limit cut the episode here; that is not an end."
        if step.step_size == 0.0:
            words += " Nothing is learned: the policy that is judged would never do that (ρ = 0)."
        else:
            words += (
                " The error is weighed by ρ, how much likelier this action is under the policy "
                "that is judged, and shared out among the features of this state. V moves in "
                "every other place too that has one of them, the next state perhaps among them."
            )
        return Explanation(self.formula, numbers, words)


ALGORITHM = LinearTd()
