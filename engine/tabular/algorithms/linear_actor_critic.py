"""One-step actor-critic with linear features, and an anchor against forgetting if asked for.

Sutton & Barto, section 13.5, the box "One-step Actor-Critic (episodic)", with the policy π a
softmax of preferences h(s,a,θ) = θₐᵀx(s) (equations 13.2 and 13.3) and the critic v̂(s,w) = wᵀx(s).
Actor and critic share their features; with features that share nothing this is the actor-critic of
tables.

The anchor: when the map changes, the policy held until then is kept, and from then on every step
also pulls π towards it, by the gradient of weight · KL(π_anchor(·|o) ‖ π(·|o)) at an observation o
drawn from those met before the change. That is the policy cloning of CLEAR (Rolnick et al. 2019),
which takes this divergence on remembered observations. The idea of an anchor is that of elastic
weight consolidation (Kirkpatrick et al. 2017): a spring on each weight, as stiff as its Fisher
information, which is this divergence to second order with the Fisher matrix's diagonal alone. A
policy this small can do without the approximation.

N agents, O observations, F features, M of them on at a time, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.exact.evaluate import greedy
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels import features as described
from engine.tabular.kernels.behaviour import encode_schedule, scheduled, softmax_policy
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
from engine.tabular.kernels.features import (
    LARGEST,
    FeatureKind,
    TileSize,
    Tilings,
    linear_table,
    linear_value,
    linear_values,
)
from engine.tabular.kernels.one_step_actor_critic import OneStepActorCritic, OneStepSettings
from engine.tabular.kernels.policy_table import draw_action, entropy_of, probabilities, score
from engine.tabular.kernels.rng import uniform
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_policy, note_update

NEVER = -1


class Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stay near the policy held when the map last changed."""

    weight: Annotated[
        float,
        Meta(ge=0.0, description="what a nat of divergence from the old policy weighs"),
    ] = 0.1


class LinearActorCriticSettings(
    OneStepSettings, frozen=True, kw_only=True, tag="linear-actor-critic"
):
    """Actor-critic whose preferences and values are sums of the weights of a few features."""

    features: FeatureKind = "tiles"
    tile_size: TileSize = 2
    tilings: Tilings = 4
    anchor: Annotated[
        Anchor | None,
        Meta(
            description="after the map has changed, stay near the policy held until then (KL to "
            "the old policy, on what was met before)",
            extra_json_schema=TUNABLE,
        ),
    ] = None


class LinearTables(NamedTuple):
    """The learned weights, and what is remembered. All agents share `active`."""

    theta: Array  # [N,F,A] float64: weights of the preferences, the actor
    w: Array  # [N,F] float64: weights of the critic
    visits: Array  # [N,O,A] int64
    advantages: Array  # [N,O,A] float64: δ of the newest update of each pair
    figures: Array  # [N,4] float64: see LinearActorCritic.figure_names
    chances: Array  # [N,A] float64: π(·|s) of the step at hand
    gradient: Array  # [N,A] float64: ∇ ln π by the preferences, of the step at hand
    preferences: Array  # [N,A] float64: h(s,·) of the step at hand
    sums: Array  # [N,4] float64: entropy, δ², |gradient| and KL summed over the episode so far
    active: Array  # [1,O,M] int32: the features that are on in each observation
    anchor: Array  # [N,F,A] float64: θ as it was when the map last changed
    anchored: Array  # [N] int64: how many of the observations met were met before that
    met: Array  # [N,O] int32: the observations met, in that order
    n_met: Array  # [N] int64
    since: Array  # [N] int64: the step count from which the newest map met holds; -1 before any


class LinearHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    alpha_v: Array  # [4]
    anchor: float  # weight of the KL to the old policy; 0 is none


@kernel
def actor_step(on: Array, theta: Array, gradient: Array, size: float) -> float:
    """θ ← θ + size · x(s) ∇h, `gradient` [A] being that by the preferences; gives its length.

    Each of the M features that are on is worth 1/√M, so that ‖x‖ = 1.
    """
    scale = 1.0 / math.sqrt(on.size)
    squares = 0.0
    for b in range(gradient.size):
        squares += gradient[b] * gradient[b]
        for m in range(on.size):
            theta[on[m], b] += size * gradient[b] * scale
    return math.sqrt(squares)


@kernel
def critic_step(on: Array, w: Array, change: float) -> None:
    """Move v̂(s) by `change`: w ← w + change · ∇v̂(s,w)."""
    share = change / math.sqrt(on.size)
    for m in range(on.size):
        w[on[m]] += share


@kernel
def divergence(old: Array, now: Array, gradient: Array) -> float:
    """KL(old ‖ now) of two policies [A] in nats; `gradient` [A] gets −∇ by the logits of `now`."""
    total = 0.0
    for b in range(old.size):
        gradient[b] = old[b] - now[b]
        if old[b] > 0.0:
            total += old[b] * math.log(old[b] / now[b])
    return total


@kernel
def begin_on(env: StackedMDPs, agents: Agents, tables: LinearTables, i: int) -> None:
    """A new episode; if it is the first on a newer map, the policy as it is becomes the anchor."""
    begin_episode(env, agents, i)
    since = env.from_step[agents.world[i]]
    if since > tables.since[i]:
        if tables.since[i] != NEVER:
            tables.anchored[i] = tables.n_met[i]
            for f in range(tables.theta.shape[1]):
                for b in range(tables.theta.shape[2]):
                    tables.anchor[i, f, b] = tables.theta[i, f, b]
        tables.since[i] = since


@kernel
def stay_near(tables: LinearTables, i: int, size: float, random: Array) -> float:
    """Pull π towards the anchor at an observation met before the change; gives their KL there.

    Uses the agent's scratch rows `chances`, `gradient` and `preferences`.
    """
    on = tables.active[0, tables.met[i, int(uniform(random) * tables.anchored[i])]]
    old, now, h = tables.gradient[i], tables.chances[i], tables.preferences[i]
    linear_values(on, tables.theta[i], h)
    probabilities(h, now)
    linear_values(on, tables.anchor[i], h)
    probabilities(h, old)
    far = divergence(old, now, h)
    actor_step(on, tables.theta[i], h, size)  # θ ← θ − α β ∇KL(π_anchor(·|o) ‖ π(·|o))
    return far


@kernel
def linear_actor_critic(
    env: StackedMDPs,
    agents: Agents,
    tables: LinearTables,
    hyperparameters: LinearHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    active = tables.active[0]
    for i in range(agents.state.size):
        theta, w, random = tables.theta[i], tables.w[i], agents.random[i]
        pi, gradient, sums = tables.chances[i], tables.gradient[i], tables.sums[i]
        h = tables.preferences[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_on(env, agents, tables, i)
            s = env.observation[agents.state[i]]
            linear_values(active[s], theta, h)
            probabilities(h, pi)
            a, explored = draw_action(pi, random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tried = 0
            for b in range(pi.size):
                tried += tables.visits[i, s, b]
            if tried == 0:
                tables.met[i, tables.n_met[i]] = s
                tables.n_met[i] += 1
            tables.visits[i, s, a] += 1
            alpha = scheduled(hyperparameters.alpha, agents.steps[i])
            alpha_v = scheduled(hyperparameters.alpha_v, agents.steps[i])

            before = linear_value(active[s], w)
            future = 0.0 if flags & TERMINAL else linear_value(active[s2], w)
            target = r + gamma * future
            error = target - before
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    before, target, alpha_v, math.nan, future, pi, pi,
                )  # fmt: skip
                note_update(trace, agents.steps[i] + 1, before, target, alpha_v, future, error)
            sums[0] += entropy_of(pi)
            sums[1] += error * error
            if -LARGEST < error < LARGEST:
                critic_step(active[s], w, alpha_v * error)  # w ← w + α_w δ ∇v̂(S,w)
                score(pi, a, gradient)
                discount = agents.discount[i]  # I = γ^t
                length = actor_step(  # θ ← θ + α I δ ∇ln π(A|S,θ)
                    active[s], theta, gradient, alpha * discount * error
                )
                sums[2] += abs(discount * error) * length
            if hyperparameters.anchor > 0.0 and tables.anchored[i] > 0:
                sums[3] += stay_near(tables, i, alpha * hyperparameters.anchor, random)
            if i == WATCHED:
                linear_values(active[s], theta, h)
                note_policy(trace, agents.steps[i] + 1, h, alpha)
            tables.advantages[i, s, a] = error

            agents.updates[i] += 1
            steps = agents.time[i] + 1
            if finish_step(env, agents, i, landing, r, flags, explored, error, gamma):
                for j in range(sums.size):
                    tables.figures[i, j] = sums[j] / steps
                    sums[j] = 0.0
                if hyperparameters.anchor == 0.0 or tables.anchored[i] == 0:
                    tables.figures[i, 3] = math.nan


class LinearActorCritic(OneStepActorCritic):
    name = "linear-actor-critic"
    title = "Linear actor-critic"
    settings = LinearActorCriticSettings
    source = "Sutton & Barto, section 13.5, one-step actor-critic; anchor: Rolnick et al. 2019"
    idea = "Policy and critic are sums of weights of features that many cells share."
    needs = "Features in which a good policy can be said; what they share can also be forgotten."
    chosen_when = "Maps change and one policy shall serve all of them, old ones too (the anchor)."
    with_llms = (
        "Not as it stands: weights on given features cannot read. The last layer of a language "
        "model is such a softmax, on features that the layers below have learned; and the anchor "
        "is kin to the KL to a reference policy."
    )
    formula = (
        "δ = r + γ v̂(s′) − v̂(s);   θ ← θ + α γᵗ δ ∇ln π(a|s,θ) − α β ∇KL(π_anchor ‖ π);   "
        "w ← w + α_V δ x(s)"
    )
    figure_names: tuple[str, ...] = (*OneStepActorCritic.figure_names, "anchor_kl")
    kernel = staticmethod(linear_actor_critic)

    def check(self, preset: Preset) -> None:
        described.check(preset)

    def check_edit(self, settings: Any) -> None:
        described.check_edit(settings)

    def make_tables(self, settings: Any, size: Size) -> LinearTables:
        features = described.describe(settings, size.mazes, size.observations)
        n, weights = size.agents, (size.agents, features.n_features, size.actions)
        return LinearTables(
            theta=np.zeros(weights),
            w=np.zeros(weights[:2]),
            visits=np.zeros(size.table, np.int64),
            advantages=np.full(size.table, np.nan),
            figures=np.full((n, len(self.figure_names)), np.nan),
            chances=np.zeros((n, size.actions)),
            gradient=np.zeros((n, size.actions)),
            preferences=np.zeros((n, size.actions)),
            sums=np.zeros((n, len(self.figure_names))),
            active=features.active[None].copy(),
            anchor=np.zeros(weights),
            anchored=np.zeros(n, np.int64),
            met=np.zeros(size.table[:2], np.int32),
            n_met=np.zeros(n, np.int64),
            since=np.full(n, NEVER, np.int64),
        )

    def make_hyperparameters(self, settings: Any) -> LinearHyperparameters:
        return LinearHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            alpha_v=encode_schedule(settings.value_learning_rate),
            anchor=float(settings.anchor.weight) if settings.anchor else 0.0,
        )

    def behaviour(self, tables: LinearTables, hyperparameters: Any, step: int) -> Array:
        return softmax_policy(linear_table(tables.active[0], tables.theta))

    def target(self, tables: LinearTables, hyperparameters: Any, step: int) -> Array:
        return self.behaviour(tables, hyperparameters, step)

    def greedy(self, tables: LinearTables) -> Array:
        return greedy(linear_table(tables.active[0], tables.theta))

    def learned_parameters(self, tables: LinearTables) -> list[Array]:
        return [tables.theta, tables.w]

    def state_values(self, tables: LinearTables, target: Array) -> Array:
        return linear_table(tables.active[0], tables.w)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        told = super().explain(step, actions)
        words = (
            f"{told.words} V(s) and θ(s,a) are sums of the weights of the features that are on "
            "here; what changes them changes every other place too where one of these is on."
        )
        return replace(told, words=words)


ALGORITHM = LinearActorCritic()
