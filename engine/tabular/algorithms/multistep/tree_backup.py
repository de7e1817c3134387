"""n-step tree backup: off-policy learning over n steps without importance sampling. Sutton & Barto,
7.5, (7.15), (7.16); Precup, Sutton and Singh 2000.

A return follows the actions that were taken. Where one of them is unlikely under the target policy,
tree backup does not weigh the rest of the return up by a ratio: it lets it count only as much as
that action is likely, and takes the estimates of the actions *not* taken for the others. So no
behaviour policy has to be known, and no ratio can explode; but with a greedy target policy nothing
behind an exploring action counts, and the return is short again.

n = 1 is expected SARSA where the target policy is the behaviour policy, and Q-learning where it is
greedy. When an episode ends, the steps that still wait are learned from at once; after a truncation
their returns end with what the target policy expects of the place where the time limit struck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import EpsilonGreedy, TemporalDifferenceSettings
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import (
    EPSILON_GREEDY,
    SOFTMAX,
    behaviour_policy,
    choose,
    encode_exploration,
    encode_schedule,
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
    is_truncated,
    move,
)
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.q_table import QTableAlgorithm
from engine.tabular.kernels.returns import check_kept_steps, explain_return
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_update


class TreeBackupSettings(TemporalDifferenceSettings, frozen=True, kw_only=True, tag="tree-backup"):
    """Tree backup: n rewards, weighed by the chance that the target policy would act the same."""

    n: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="how many rewards each update waits for; 1 is Q-learning (or expected "
            "SARSA, by target_policy)",
        ),
    ] = 4
    target_policy: Annotated[
        Literal["greedy", "behaviour"],
        Meta(
            description="the policy that is learned about: 'greedy' on Q (off-policy), or the "
            "'behaviour' policy itself, exploring moves included (on-policy)"
        ),
    ] = "greedy"


class TreeBackupTables(NamedTuple):
    """The learned numbers, and the last n steps (step t of the episode at t % n)."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: how often each pair was met
    learned: Array  # [N,O,A] int64: how often it was updated
    observations: Array  # [N,n] int64
    actions: Array  # [N,n] int64
    rewards: Array  # [N,n] float64
    chances: Array  # [N,A] float64: π(·|s) of the place at hand


class TreeBackupHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    target: Array  # [5]: the target policy, encoded the same way


@kernel
def target_chances(values: Array, visits: Array, rule: Array, step: int, chances: Array) -> None:
    """π(·|s) of a rule written to `chances` [A]: exact ties share evenly, as when one is drawn."""
    level = scheduled(rule, step)
    top = highest(values)
    total = 0.0
    if rule[4] == SOFTMAX:
        for a in range(values.size):
            chances[a] = math.exp((values[a] - top) / level)
            total += chances[a]
    elif rule[4] == EPSILON_GREEDY:
        for a in range(values.size):
            chances[a] = 1.0 if values[a] == top else 0.0
            total += chances[a]
    else:
        n = 0
        for a in range(values.size):
            n += visits[a]
            chances[a] = 1.0 if visits[a] == 0 else 0.0
            total += chances[a]
        if total == 0.0:  # UCB with every action tried: those with the highest bound
            bound, log_n = -math.inf, math.log(n)
            for a in range(values.size):
                bound = max(bound, values[a] + level * math.sqrt(log_n / visits[a]))
            for a in range(values.size):
                hope = values[a] + level * math.sqrt(log_n / visits[a])
                chances[a] = 1.0 if hope == bound else 0.0
                total += chances[a]
    for a in range(values.size):
        chances[a] /= total
        if rule[4] == EPSILON_GREEDY:
            chances[a] = level / values.size + (1.0 - level) * chances[a]


@kernel
def mean_under(chances: Array, values: Array) -> float:
    """Σ_a π(a) values[a] over the [A] actions."""
    total = 0.0
    for a in range(values.size):
        total += chances[a] * values[a]
    return total


@kernel
def tree_backup(
    env: StackedMDPs,
    agents: Agents,
    tables: TreeBackupTables,
    hyperparameters: TreeBackupHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    n = tables.rewards.shape[1]
    for i in range(agents.state.size):
        q, visits, random = tables.q[i], tables.visits[i], agents.random[i]
        learned, pi = tables.learned[i], tables.chances[i]
        observations, actions = tables.observations[i], tables.actions[i]
        rewards = tables.rewards[i]
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
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], q[s, a], 0.0, level, 0.0, q[s], q[s2],
                )  # fmt: skip

            t, clock = agents.time[i], agents.steps[i] + 1
            observations[t % n], actions[t % n], rewards[t % n] = s, a, r
            over = (flags & TERMINAL) != 0 or is_truncated(env, agents, i, flags)
            oldest = max(t - n + 1, 0)
            newest = t if over else t - n + 1  # steps oldest … newest can be learned from now
            surprise = 0.0
            for tau in range(oldest, newest + 1):
                if agents.updates[i] >= limits.updates:
                    break
                future = 0.0
                if not flags & TERMINAL:
                    target_chances(q[s2], visits[s2], hyperparameters.target, clock, pi)
                    future = mean_under(pi, q[s2])
                g = r + gamma * future  # G ← R + γ Σ_a π(a|S') Q(S',a)  (7.15)
                for k in range(t, tau, -1):
                    sk, ak = observations[k % n], actions[k % n]
                    target_chances(q[sk], visits[sk], hyperparameters.target, clock, pi)
                    untaken = mean_under(pi, q[sk]) - pi[ak] * q[sk, ak]
                    # G ← R_k + γ Σ_{a≠A_k} π(a|S_k) Q(S_k,a) + γ π(A_k|S_k) G  (7.16)
                    g = rewards[(k - 1) % n] + gamma * untaken + gamma * pi[ak] * g
                s0, a0 = observations[tau % n], actions[tau % n]
                learned[s0, a0] += 1
                alpha = step_size(hyperparameters.alpha, agents.steps[i], learned[s0, a0])
                error = g - q[s0, a0]
                if i == WATCHED:
                    note_update(trace, clock - (t - tau), q[s0, a0], g, alpha, future, math.nan)
                q[s0, a0] += alpha * error  # Q(Sτ,Aτ) ← Q(Sτ,Aτ) + α [G − Q(Sτ,Aτ)]
                surprise += abs(error)
                agents.updates[i] += 1

            finish_step(env, agents, i, landing, r, flags, explored, surprise, gamma)


class TreeBackup(QTableAlgorithm):
    name = "tree-backup"
    title = "n-step tree backup"
    settings = TreeBackupSettings
    source = "Sutton & Barto, section 7.5, equations 7.15 and 7.16"
    policy_type = "off-policy"
    target_policy = "greedy on Q (or the behaviour policy, by target_policy)"
    formula = (
        "Q(s,a) ← Q(s,a) + α [ G − Q(s,a) ],   "
        "G = r + γ Σ π(b|s′) Q(s′,b) over b ≠ a′ + γ π(a′|s′) G′"
    )
    idea = (
        "Looks n steps ahead off-policy: what was not done counts by its estimate, with no ratio."
    )
    needs = "Only its own steps, and memory for n of them. Its behaviour policy may be unknown."
    chosen_when = (
        "Several steps shall be looked at off-policy, and importance ratios vary too much."
    )
    with_llms = (
        "Not suited: at every step it sums over the values of all actions, for text those of a "
        "whole vocabulary; and of a deterministic target policy little of the return is left."
    )
    kernel = staticmethod(tree_backup)

    def check(self, preset: Preset) -> None:
        assert isinstance(preset.algorithm, TreeBackupSettings)
        check_kept_steps(preset, preset.algorithm.n, "algorithm.n")

    def make_tables(self, settings: Any, size: Size) -> Any:
        ring = (size.agents, min(settings.n, size.longest))
        return TreeBackupTables(
            q=np.full(size.table, float(settings.initial_value)),
            visits=np.zeros(size.table, np.int64),
            learned=np.zeros(size.table, np.int64),
            observations=np.zeros(ring, np.int64),
            actions=np.zeros(ring, np.int64),
            rewards=np.zeros(ring),
            chances=np.zeros((size.agents, size.actions)),
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        exploration = encode_exploration(settings.exploration)
        greedy = encode_exploration(EpsilonGreedy(start=0.0))
        return TreeBackupHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=exploration,
            target=greedy if settings.target_policy == "greedy" else exploration,
        )

    def target(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        return behaviour_policy(tables.q, tables.visits, hyperparameters.target, step)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        wait = "first n rewards must come in (or the episode must end)"
        told = explain_return(self.formula, step, "Q(s,a)", wait, actions)
        if step.step_size == 0.0:
            return told
        words = (
            f"{told.words} Each later move counts only by the chance that the target policy gives "
            "it; for the moves not made, their estimates stand in."
        )
        return Explanation(told.formula, told.numbers, words)


ALGORITHM = TreeBackup()
