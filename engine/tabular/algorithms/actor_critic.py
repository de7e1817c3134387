"""One-step actor-critic, episodic: Sutton & Barto, section 13.5, the box with that name.

The actor is π, the critic V. The critic's TD error δ stands in for the advantage, so the policy
learns from every single step. As in the box both are plain gradient steps, and the actor's is
discounted by γ^t (I in the box): a step counts by how much it can still move the return from the
start. After a time limit the critic still looks ahead; after an end it does not.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.tabular.kernels.behaviour import scheduled
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
from engine.tabular.kernels.one_step_actor_critic import OneStepActorCritic, OneStepSettings
from engine.tabular.kernels.policy_table import (
    PolicyHyperparameters,
    draw_action,
    entropy_of,
    probabilities,
    score,
)
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_policy, note_update


class ActorCriticSettings(OneStepSettings, frozen=True, kw_only=True, tag="actor-critic"):
    """Actor-critic: a policy that learns from the surprise of its own critic."""


class ActorCriticTables(NamedTuple):
    """The learned numbers."""

    theta: Array  # [N,O,A] float64: logits of π, the actor
    v: Array  # [N,O] float64: the critic
    visits: Array  # [N,O,A] int64
    advantages: Array  # [N,O,A] float64: δ of the newest update of each pair
    figures: Array  # [N,F] float64: see ActorCritic.figure_names
    chances: Array  # [N,A] float64: π(·|s) of the step at hand
    gradient: Array  # [N,A] float64: ∇ ln π of the step at hand
    sums: Array  # [N,3] float64: entropy, δ² and |step of θ| summed over the episode so far


@kernel
def actor_critic(
    env: StackedMDPs,
    agents: Agents,
    tables: ActorCriticTables,
    hyperparameters: PolicyHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    for i in range(agents.state.size):
        theta, v, random = tables.theta[i], tables.v[i], agents.random[i]
        pi, gradient, sums = tables.chances[i], tables.gradient[i], tables.sums[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            probabilities(theta[s], pi)
            a, explored = draw_action(pi, random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            alpha = scheduled(hyperparameters.alpha, agents.steps[i])
            alpha_v = scheduled(hyperparameters.alpha_v, agents.steps[i])

            future = 0.0 if flags & TERMINAL else v[s2]
            target = r + gamma * future
            error = target - v[s]
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    v[s], target, alpha_v, math.nan, future, pi, pi,
                )  # fmt: skip
                note_update(trace, agents.steps[i] + 1, v[s], target, alpha_v, future, error)
            v[s] += alpha_v * error  # w ← w + α_w δ ∇v(S,w)
            score(pi, a, gradient)
            discount = agents.discount[i]  # I = γ^t
            size = 0.0
            for b in range(pi.size):
                theta[s, b] += alpha * discount * error * gradient[b]  # θ ← θ + α I δ ∇ln π(A|S,θ)
                size += (discount * error * gradient[b]) ** 2
            if i == WATCHED:
                note_policy(trace, agents.steps[i] + 1, theta[s], alpha)
            tables.advantages[i, s, a] = error

            agents.updates[i] += 1
            sums[0] += entropy_of(pi)
            sums[1] += error * error
            sums[2] += math.sqrt(size)
            steps = agents.time[i] + 1
            if finish_step(env, agents, i, landing, r, flags, explored, error, gamma):
                for j in range(sums.size):
                    tables.figures[i, j] = sums[j] / steps
                    sums[j] = 0.0


class ActorCritic(OneStepActorCritic):
    name = "actor-critic"
    title = "Actor-critic"
    settings = ActorCriticSettings
    source = "Sutton & Barto, section 13.5, one-step actor-critic"
    idea = "A critic learns V, and its surprise tells the policy after every step what to change."
    needs = "Only its own steps."
    chosen_when = "Learning shall not wait for the end of an episode."
    with_llms = (
        "In PPO's form, with the critic as value head. One TD error alone would lean on that head "
        "from the start, when it knows nothing."
    )
    formula = "δ = r + γ V(s′) − V(s);   θ ← θ + α γᵗ δ ∇ln π(a|s);   V(s) ← V(s) + α_V δ"
    kernel = staticmethod(actor_critic)

    def make_tables(self, settings: Any, size: Size) -> Any:
        return ActorCriticTables(**self.learned(size), sums=np.zeros((size.agents, 3)))


ALGORITHM = ActorCritic()
