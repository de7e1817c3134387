"""Monte Carlo control: on-policy, first-visit or every-visit. Sutton & Barto, sections 5.4, 5.6.

Nothing is learned before the episode is over; then every pair of it (the first time it came up, or
every time) moves towards the return that followed. With step size 1/n the value is the average of
all returns seen.

A truncated episode has no complete return. To use what was paid until the time limit as if it were
complete would take the limit for an end; to throw such episodes away would keep only those that
happened to end soon, and a policy that walks in circles would never hear of it. So here the return
goes on behind the limit with the agent's own estimate of where it was stopped (Q of that place and
of the move it chose there, as n-step SARSA with an endless n has it). That is consistent: where the
estimate is right, so is the return on average. It is the only place where this method bootstraps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, TableStepSize, TemporalDifferenceSettings
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.build_maze import build_mazes
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import choose, encode_exploration, encode_schedule, step_size
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
from engine.tabular.kernels.returns import check_kept_steps, compute_returns, explain_return
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_update


class MonteCarloSettings(TemporalDifferenceSettings, frozen=True, kw_only=True, tag="monte-carlo"):
    """Monte Carlo: plays whole episodes and averages the returns that followed each move."""

    learning_rate: Annotated[
        TableStepSize | Literal["1/n"],
        Meta(
            description='step size α; "1/n" (one over the returns seen) averages all returns, a '
            "number forgets old ones, from when the policy was worse",
            extra_json_schema=TUNABLE,
        ),
    ] = "1/n"
    visit: Annotated[
        Literal["first", "every"],
        Meta(
            description="whether a pair that comes up several times in an episode is learned about "
            "from its first time only, or every time"
        ),
    ] = "first"


class MonteCarloTables(NamedTuple):
    """The learned numbers, and the episode so far (step t in column t; T the longest episode)."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: how often each pair was met
    learned: Array  # [N,O,A] int64: how many returns it has learned from
    met_in: Array  # [N,O,A] int64: the newest episode it came up in, counted from 1
    observations: Array  # [N,T] int32
    actions: Array  # [N,T] int32
    counts: Array  # [N,T] bool: whether the step is to be learned from
    returns: Array  # [N,T] float64: rewards, turned into returns when the episode is over


class MonteCarloHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    every: bool


@kernel
def monte_carlo(
    env: StackedMDPs,
    agents: Agents,
    tables: MonteCarloTables,
    hyperparameters: MonteCarloHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = hyperparameters.gamma
    for i in range(agents.state.size):
        q, visits, learned, random = (
            tables.q[i],
            tables.visits[i],
            tables.learned[i],
            agents.random[i],
        )
        observations, actions, returns = (
            tables.observations[i],
            tables.actions[i],
            tables.returns[i],
        )
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

            t = agents.time[i]
            observations[t], actions[t], returns[t] = s, a, r
            tables.counts[i, t] = (
                hyperparameters.every or tables.met_in[i, s, a] != agents.episode[i] + 1
            )
            tables.met_in[i, s, a] = agents.episode[i] + 1
            over, future, surprise = (flags & TERMINAL) != 0, 0.0, 0.0
            if is_truncated(env, agents, i, flags):
                a2, _, _ = choose(
                    q[s2], visits[s2], hyperparameters.exploration, agents.steps[i] + 1, random
                )
                over, future = True, q[s2, a2]
            if over:
                compute_returns(returns, 0, t, gamma, future, returns)
            for tau in range(t + 1 if over else 0):
                if not tables.counts[i, tau] or agents.updates[i] >= limits.updates:
                    continue
                s0, a0, target = observations[tau], actions[tau], returns[tau]
                learned[s0, a0] += 1
                alpha = step_size(hyperparameters.alpha, agents.steps[i], learned[s0, a0])
                error = target - q[s0, a0]
                if i == WATCHED:
                    count = agents.steps[i] + 1 - (t - tau)
                    note_update(trace, count, q[s0, a0], target, alpha, future, math.nan)
                q[s0, a0] += (
                    alpha * error
                )  # Q(S,A) ← average(Returns(S,A)), i.e. += α [G − Q]  (5.4)
                surprise += abs(error)
                agents.updates[i] += 1

            finish_step(env, agents, i, landing, r, flags, explored, surprise, gamma)


class MonteCarlo(QTableAlgorithm):
    name = "monte-carlo"
    title = "Monte Carlo control"
    settings = MonteCarloSettings
    source = "Sutton & Barto, section 5.4 (on-policy control), section 5.6 (increments)"
    policy_type = "on-policy"
    target_policy = "the behaviour policy itself"
    update_name = "update towards a return"
    formula = "Q(s,a) ← Q(s,a) + α [ G − Q(s,a) ],   G = r₁ + γ r₂ + γ² r₃ + … to the end"
    idea = "Plays an episode to its end and averages the returns that followed each move."
    needs = "Episodes that end, and many of them: returns are noisy."
    chosen_when = "Estimates shall not rest on other estimates, or what is seen hides the state."
    with_llms = (
        "Not as a table: hardly any text comes twice. Its target is kept: REINFORCE, RLOO and "
        "GRPO too learn from the return that really followed."
    )
    kernel = staticmethod(monte_carlo)

    def check(self, preset: Preset) -> None:
        longest = max(maze.max_steps for _, maze in build_mazes(preset.maze))
        check_kept_steps(preset, longest, "maze.max_steps")

    def make_tables(self, settings: TemporalDifferenceSettings, size: Size) -> Any:
        episode = (size.agents, size.longest)
        return MonteCarloTables(
            q=np.full(size.table, float(settings.initial_value)),
            visits=np.zeros(size.table, np.int64),
            learned=np.zeros(size.table, np.int64),
            met_in=np.zeros(size.table, np.int64),
            observations=np.zeros(episode, np.int32),
            actions=np.zeros(episode, np.int32),
            counts=np.zeros(episode, np.bool_),
            returns=np.zeros(episode),
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return MonteCarloHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
            every=settings.visit == "every",
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        wait = (
            "the episode must be over first, and with visit = 'first' a pair that came up before "
            "in the episode is not counted again"
        )
        return explain_return(self.formula, step, "Q(s,a)", wait, actions)


ALGORITHM = MonteCarlo()
