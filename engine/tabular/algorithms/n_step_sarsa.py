"""n-step SARSA: on-policy control between SARSA and Monte Carlo. Sutton & Barto, 7.2, (7.5).

Every step is learned from n steps later, when n real rewards have come in. n = 1 is SARSA; an n of
at least `max_steps` is every-visit Monte Carlo.

When an episode ends, the steps that still wait are learned from at once. After a termination
nothing follows; a truncation is no end, so their returns then end with the estimate of where the
time limit struck: Q of that place and of the move chosen there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from engine.tabular.kernels.behaviour import chance_of, choose, step_size
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
from engine.tabular.kernels.q_table import Hyperparameters, QTableAlgorithm
from engine.tabular.kernels.returns import check_kept_steps, compute_returns, explain_return
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_update


class NStepSarsaSettings(TemporalDifferenceSettings, frozen=True, kw_only=True, tag="n-step-sarsa"):
    """n-step SARSA: waits for n rewards before it believes its own estimate of the rest."""

    n: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="how many rewards each update waits for; 1 is SARSA, max_steps or more is "
            "Monte Carlo",
        ),
    ] = 4


class NStepTables(NamedTuple):
    """The learned numbers, and the last n steps (step t of the episode at t % n)."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: how often each pair was met
    learned: Array  # [N,O,A] int64: how often it was updated
    observations: Array  # [N,n] int64
    actions: Array  # [N,n] int64
    rewards: Array  # [N,n] float64
    returns: Array  # [N,n] float64


@kernel
def n_step_sarsa(
    env: StackedMDPs,
    agents: Agents,
    tables: NStepTables,
    hyperparameters: Hyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    n = tables.rewards.shape[1]
    for i in range(agents.state.size):
        q, visits, learned, random = (
            tables.q[i],
            tables.visits[i],
            tables.learned[i],
            agents.random[i],
        )
        observations, actions = tables.observations[i], tables.actions[i]
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

            a2, explores, level2, future, chance = -1, False, 0.0, 0.0, math.nan
            if not flags & TERMINAL:
                a2, explores, level2 = choose(
                    q[s2], visits[s2], hyperparameters.exploration, agents.steps[i] + 1, random
                )
                future = q[s2, a2]
                if i == WATCHED and left <= trace.ints.shape[0] + 1:  # the next step may be noted
                    chance = chance_of(q[s2], a2, hyperparameters.exploration, level2)
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, a2,
                    q[s, a], q[s, a], 0.0, level, 0.0, q[s], q[s2],
                )  # fmt: skip

            t = agents.time[i]
            observations[t % n], actions[t % n], tables.rewards[i, t % n] = s, a, r
            over = (flags & TERMINAL) != 0 or is_truncated(env, agents, i, flags)
            oldest = max(t - n + 1, 0)
            newest = t if over else t - n + 1  # steps oldest … newest can be learned from now
            if newest >= 0:
                compute_returns(tables.rewards[i], oldest, t, gamma, future, tables.returns[i])
            surprise = 0.0
            for tau in range(oldest, newest + 1):
                if agents.updates[i] >= limits.updates:
                    break
                s0, a0, target = observations[tau % n], actions[tau % n], tables.returns[i, tau % n]
                learned[s0, a0] += 1
                alpha = step_size(hyperparameters.alpha, agents.steps[i], learned[s0, a0])
                error = target - q[s0, a0]
                if i == WATCHED:
                    count = agents.steps[i] + 1 - (t - tau)
                    note_update(trace, count, q[s0, a0], target, alpha, future, math.nan)
                q[s0, a0] += alpha * error  # Q(Sτ,Aτ) ← Q(Sτ,Aτ) + α [G_τ:τ+n − Q(Sτ,Aτ)]  (7.5)
                surprise += abs(error)
                agents.updates[i] += 1

            finish_step(env, agents, i, landing, r, flags, explored, surprise, gamma)
            agents.action[i], agents.explored[i], agents.level[i] = a2, explores, level2
            agents.chance[i] = chance


class NStepSarsa(QTableAlgorithm):
    name = "n-step-sarsa"
    title = "n-step SARSA"
    settings = NStepSarsaSettings
    source = "Sutton & Barto, section 7.2, equations 7.4 and 7.5"
    policy_type = "on-policy"
    target_policy = "the behaviour policy itself"
    formula = "Q(s,a) ← Q(s,a) + α [ G − Q(s,a) ],   G = r₁ + γ r₂ + … + γⁿ⁻¹ rₙ + γⁿ Q(sₙ,aₙ)"
    idea = "Waits for n rewards before it trusts its own estimate of the rest."
    needs = "Only its own steps, and memory for n of them."
    chosen_when = "Rewards are rare, and whole episodes are too long to wait for."
    with_llms = (
        "Not as a table: hardly any text comes twice. PPO's advantages (GAE) mix n-step targets "
        "of all lengths."
    )
    kernel = staticmethod(n_step_sarsa)

    def check(self, preset: Preset) -> None:
        assert isinstance(preset.algorithm, NStepSarsaSettings)
        check_kept_steps(preset, preset.algorithm.n, "algorithm.n")

    def make_tables(self, settings: Any, size: Size) -> Any:
        ring = (size.agents, min(settings.n, size.longest))
        return NStepTables(
            q=np.full(size.table, float(settings.initial_value)),
            visits=np.zeros(size.table, np.int64),
            learned=np.zeros(size.table, np.int64),
            observations=np.zeros(ring, np.int64),
            actions=np.zeros(ring, np.int64),
            rewards=np.zeros(ring),
            returns=np.zeros(ring),
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        wait = "first n rewards must come in (or the episode must end)"
        return explain_return(self.formula, step, "Q(s,a)", wait, actions)


ALGORITHM = NStepSarsa()
