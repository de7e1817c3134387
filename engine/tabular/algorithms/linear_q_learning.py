"""Q-learning with linear function approximation, and experience replay if asked for.

The semi-gradient control step of Sutton & Barto (section 10.1, equation 10.1) with Q-learning's
target, which looks at the best next action: only the estimate is differentiated, the target counts
as given. With features that share nothing this is Q-learning (equation 6.8).

It brings together what Sutton & Barto call the deadly triad (section 11.3): function approximation,
bootstrapping and off-policy training. Where any two of them are present, but not all three,
instability can be avoided; with all three the weights can grow without bound, however small the
step size.

Replay keeps the last moves and learns from a few of them, drawn at random, after every real one
(Lin 1992; Mnih et al. 2015, algorithm 1, without its target network). Each is an update like any
other: `agents.updates` counts it, and so do budgets of updates.

N agents, O observations, F features, M of them on at a time, A actions, R moves remembered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TemporalDifferenceSettings
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels import features as described
from engine.tabular.kernels.behaviour import (
    choose,
    encode_exploration,
    encode_schedule,
    highest,
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
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.features import (
    LARGEST,
    FeatureKind,
    TileSize,
    Tilings,
    even_weight,
    linear_table,
    linear_values,
)
from engine.tabular.kernels.q_table import QTableAlgorithm, explain_update
from engine.tabular.kernels.replay_memory import Replay, check_memory, keep
from engine.tabular.kernels.rng import uniform
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_planned


class LinearQLearningSettings(
    TemporalDifferenceSettings, frozen=True, kw_only=True, tag="linear-q-learning"
):
    """Q-learning whose values are sums of the weights of a few features."""

    features: FeatureKind = "tiles"
    tile_size: TileSize = 2
    tilings: Tilings = 4
    replay: Annotated[
        Replay | None,
        Meta(description="remember the last moves and learn from them again (experience replay)"),
    ] = None


class LinearQTables(NamedTuple):
    """The learned weights, and what is remembered. All agents share `active`."""

    w: Array  # [N,F,A] float64: the weights
    visits: Array  # [N,O,A] int64: how often each pair was updated by a real move
    active: Array  # [1,O,M] int32: the features that are on in each observation
    here: Array  # [N,A] float64: q̂(s,·) of the update at hand
    there: Array  # [N,A] float64: q̂(s′,·)
    kept: Array  # [N] int64: moves remembered so far; the newest R of them are still there
    moves: Array  # [N,R,4] int32: s, a, s′, whether the episode ended there
    rewards: Array  # [N,R] float64
    replayed: Array  # [N] int64: updates from memory


class LinearQHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    batch: int


@kernel
def pull(on: Array, weights: Array, action: int, change: float) -> None:
    """Move q̂(s,a) by `change`: w ← w + change · ∇q̂(s,a,w), whose gradient is x(s).

    Each of the M features that are on is worth 1/√M, so that ‖x‖ = 1.
    """
    share = change / math.sqrt(on.size)
    for m in range(on.size):
        weights[on[m], action] += share


@kernel
def replay(
    tables: LinearQTables, i: int, gamma: float, alpha: Array, step: int, random: Array
) -> None:
    """Learn once from a move drawn at random from those remembered."""
    w, here, there = tables.w[i], tables.here[i], tables.there[i]
    k = int(uniform(random) * min(tables.kept[i], tables.rewards.shape[1]))
    s, a, s2, ends = tables.moves[i, k]
    linear_values(tables.active[0, s], w, here)
    linear_values(tables.active[0, s2], w, there)
    future = 0.0 if ends else highest(there)
    error = tables.rewards[i, k] + gamma * future - here[a]
    if -LARGEST < error < LARGEST:
        pull(tables.active[0, s], w, a, step_size(alpha, step, tables.visits[i, s, a]) * error)
    tables.replayed[i] += 1


@kernel
def linear_q_learning(
    env: StackedMDPs,
    agents: Agents,
    tables: LinearQTables,
    hyperparameters: LinearQHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` real steps of every agent, each followed by its replay."""
    gamma = hyperparameters.gamma
    active = tables.active[0]
    for i in range(agents.state.size):
        w, visits, random = tables.w[i], tables.visits[i], agents.random[i]
        here, there = tables.here[i], tables.there[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            clock = agents.steps[i]
            s = env.observation[agents.state[i]]
            linear_values(active[s], w, here)
            a, explored, level = choose(here, visits[s], hyperparameters.exploration, clock, random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            linear_values(active[s2], w, there)
            visits[s, a] += 1
            alpha = step_size(hyperparameters.alpha, clock, visits[s, a])

            future = 0.0 if flags & TERMINAL else highest(there)
            target = r + gamma * future
            error = target - here[a]
            shown = i == WATCHED and left <= trace.ints.shape[0]
            if shown:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    here[a], target, alpha, level, future, here, there,
                )  # fmt: skip
            if -LARGEST < error < LARGEST:
                pull(active[s], w, a, alpha * error)  # w ← w + α [R + γ max q̂(S',·,w) − q̂] ∇q̂
            agents.updates[i] += 1

            if hyperparameters.batch > 0:
                keep(tables, i, s, a, r, s2, (flags & TERMINAL) != 0)
                n = 0
                while n < hyperparameters.batch and agents.updates[i] < limits.updates:
                    replay(tables, i, gamma, hyperparameters.alpha, clock, random)
                    agents.updates[i] += 1
                    n += 1
                if shown:
                    note_planned(trace, clock + 1, n)
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class LinearQLearning(QTableAlgorithm):
    name = "linear-q-learning"
    title = "Linear Q-learning"
    settings = LinearQLearningSettings
    source = "Sutton & Barto, sections 10.1 and 11.3, equation 10.1 with the target of 6.8"
    policy_type = "off-policy"
    target_policy = "greedy on q̂"
    behaviour_policy = "explores on q̂ (ε-greedy, softmax or UCB)"
    formula = "w ← w + α [ r + γ max q̂(s′,·,w) − q̂(s,a,w) ] ∇q̂(s,a,w),   q̂(s,a,w) = wₐᵀx(s)"
    idea = "Values are sums of weights of features: what is learned in one cell counts in others."
    needs = "Features in which the values are near a sum. Deadly triad: its weights can diverge."
    chosen_when = "There are too many observations to visit each of them often."
    with_llms = (
        "Not suited: somebody would have to name the features of a good text, and finding them is "
        "what the network is for. Its target also takes a maximum over the whole vocabulary."
    )
    kernel = staticmethod(linear_q_learning)

    def check(self, preset: Preset) -> None:
        settings: Any = preset.algorithm
        described.check(preset)
        if settings.replay is not None:
            check_memory(settings.replay, preset)

    def check_edit(self, settings: Any) -> None:
        described.check_edit(settings)

    def make_tables(self, settings: Any, size: Size) -> LinearQTables:
        features = described.describe(settings, size.mazes, size.observations)
        n, remembered = size.agents, settings.replay.size if settings.replay else 0
        first = even_weight(float(settings.initial_value), features)
        return LinearQTables(
            w=np.full((n, features.n_features, size.actions), first),
            visits=np.zeros(size.table, np.int64),
            active=features.active[None].copy(),
            here=np.zeros((n, size.actions)),
            there=np.zeros((n, size.actions)),
            kept=np.zeros(n, np.int64),
            moves=np.zeros((n, remembered, 4), np.int32),
            rewards=np.zeros((n, remembered)),
            replayed=np.zeros(n, np.int64),
        )

    def make_hyperparameters(self, settings: Any) -> LinearQHyperparameters:
        return LinearQHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
            batch=settings.replay.batch if settings.replay else 0,
        )

    def values(self, tables: LinearQTables) -> Array:
        return linear_table(tables.active[0], tables.w)

    def learned_parameters(self, tables: LinearQTables) -> list[Array]:
        return [tables.w]

    def metrics(self, tables: LinearQTables) -> dict[str, Array]:
        figures = {"largest_weight": np.abs(tables.w).max(axis=(1, 2))}
        if tables.rewards.shape[1]:
            figures["replayed_updates"] = tables.replayed.astype(float)
        return figures

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        told = explain_update(
            self.formula,
            step,
            follow="if it plays its best move from there, as far as its features can tell",
            actions=actions,
        )
        words = (
            f"{told.words} Q(s,a) is no entry of a table: it is the sum of the weights of the "
            "features that are on here. Each of them takes its share of the change, so Q moves in "
            "every other place too where one of them is on."
        )
        if step.planned:
            count = "One remembered move was" if step.planned == 1 else f"{step.planned} moves were"
            words += f" {count} then replayed: drawn from memory, and learned from once more."
        return replace(told, words=words)


ALGORITHM = LinearQLearning()
