"""Off-policy Monte Carlo prediction: what π is worth, from episodes of b. Sutton & Barto, sections
5.5 and 5.6.

The agent moves by the behaviour policy b and is asked about the target policy π. A return it saw
from time t on is weighed by the importance ratio, how much likelier π was to do what b did:
ρ = Π π(A_k|S_k) / b(A_k|S_k) over k = t … T−1 (5.3). Ordinary importance sampling divides the sum
of ρ G by the number of returns (5.5): with first visits it is right on average, but its variance
may be unbounded. Weighted importance sampling divides by the sum of the ρ (5.6): biased, less and
less, and its estimates never leave the range of the returns. Both are kept as averages (5.8).

A truncated episode has no complete return: it goes on behind the limit with V of the state where it
was stopped, which is about π and needs no ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import MovingSettings
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.build_maze import build_mazes
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation, pay_of
from engine.learning.events import Step
from engine.tabular.algorithms.importance_sampling.weights import (
    NO_RATIO,
    Weighting,
    ratio_numbers,
    ratio_words,
)
from engine.tabular.given_policy import GivenPolicy, check_coverage, check_prediction
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
from engine.tabular.kernels.policy_table import draw_action
from engine.tabular.kernels.returns import check_kept_steps, compute_returns
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_ratio, note_update


class OffPolicyPredictionSettings(
    MovingSettings, frozen=True, kw_only=True, tag="off-policy-prediction"
):
    """Off-policy prediction: learns what one policy is worth while it follows another."""

    policy: Annotated[
        GivenPolicy,
        Meta(
            description="the target policy π, which is judged: random, optimal (of the first map), "
            "or the chance of each action, such as {left = 0.5, right = 0.5}"
        ),
    ] = "optimal"
    behaviour: Annotated[
        GivenPolicy,
        Meta(
            description="the behaviour policy b, which is followed; it must sometimes take every "
            "action that π takes"
        ),
    ] = "random"
    weighting: Weighting = "weighted"
    visit: Annotated[
        Literal["first", "every"],
        Meta(
            description="whether a state that comes up several times in an episode is learned "
            "about from its first time only, or every time"
        ),
    ] = "first"
    initial_value: Annotated[float, Meta(description="V at the start")] = 0.0


class OffPolicyTables(NamedTuple):
    """The learned numbers, and the episode so far (step t in column t; T the longest episode)."""

    values: Array  # [N,O] float64
    total: Array  # [N,O] float64: Σ ρ of the returns so far, or their number
    visits: Array  # [N,O,A] int64: how often each action was taken
    policy: Array  # [N,O,A] float64: π
    behaviour: Array  # [N,O,A] float64: b
    met_in: Array  # [N,O] int64: the newest episode a state came up in, counted from 1
    observations: Array  # [N,T] int32
    counts: Array  # [N,T] bool: whether the step is to be learned from
    ratios: Array  # [N,T] float64: π(a|s) / b(a|s)
    returns: Array  # [N,T] float64: rewards, turned into returns when the episode is over


class OffPolicyHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    weighted: bool
    every: bool


@kernel
def learn_from_episode(
    tables: OffPolicyTables,
    hyperparameters: OffPolicyHyperparameters,
    agents: Agents,
    trace: Trace,
    i: int,
    t: int,
    future: float,
    limits: Limits,
) -> float:
    """The averages after an episode whose last step was t; returns the sum of all |errors|.

    `future` is what is believed to follow that step: 0 unless the time limit cut it.
    """
    v, total, returns = tables.values[i], tables.total[i], tables.returns[i]
    compute_returns(returns, 0, t, hyperparameters.gamma, future, returns)
    rho, surprise = 1.0, 0.0
    for tau in range(t, -1, -1):
        rho *= tables.ratios[i, tau]  # ρ_t:T−1 = Π π(A|S) / b(A|S)  (5.3)
        s = tables.observations[i, tau]
        if not tables.counts[i, tau] or agents.updates[i] >= limits.updates:
            continue
        g = returns[tau]
        target, weight = (g, rho) if hyperparameters.weighted else (rho * g, 1.0)
        total[s] += weight
        alpha = weight / total[s] if weight > 0.0 else 0.0
        error = target - v[s]
        if i == WATCHED:
            count = agents.steps[i] + 1 - (t - tau)
            note_update(trace, count, v[s], target, alpha, future, math.nan)
            note_ratio(trace, count, rho)
        v[s] += alpha * error  # V ← V + (ρ/C) [G − V], C = Σ ρ (5.8); or += (1/n) [ρ G − V]
        if alpha > 0.0:
            surprise += abs(error)
            agents.updates[i] += 1
    return surprise


@kernel
def off_policy_prediction(
    env: StackedMDPs,
    agents: Agents,
    tables: OffPolicyTables,
    hyperparameters: OffPolicyHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    for i in range(agents.state.size):
        v, b, random = tables.values[i], tables.behaviour[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a, _ = draw_action(b[s], random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, False, r, landing, flags, -1,
                    v[s], v[s], 0.0, math.nan, 0.0, b[s], b[s2],
                )  # fmt: skip

            t = agents.time[i]
            tables.observations[i, t], tables.returns[i, t] = s, r
            tables.ratios[i, t] = tables.policy[i, s, a] / b[s, a]
            seen = tables.met_in[i, s] == agents.episode[i] + 1
            tables.counts[i, t] = hyperparameters.every or not seen
            tables.met_in[i, s] = agents.episode[i] + 1
            surprise = 0.0
            if flags & TERMINAL or is_truncated(env, agents, i, flags):
                future = 0.0 if flags & TERMINAL else v[s2]
                surprise = learn_from_episode(
                    tables, hyperparameters, agents, trace, i, t, future, limits
                )
            finish_step(env, agents, i, landing, r, flags, False, surprise, hyperparameters.gamma)


class OffPolicyPrediction(MovingAlgorithm):
    name = "off-policy-prediction"
    title = "Off-policy Monte Carlo prediction"
    settings = OffPolicyPredictionSettings
    source = "Sutton & Barto, sections 5.5 and 5.6, equations 5.3, 5.5, 5.6 and 5.8"
    family = "prediction"
    policy_type = "off-policy"
    behaviour_policy = "the given behaviour policy b"
    target_policy = "the given policy π, which it judges and never follows"
    update_name = "update towards a return"
    formula = (
        "weighted: V(s) ← V(s) + (ρ / Σρ) [ G − V(s) ];   "
        "ordinary: V(s) ← V(s) + (1/n) [ ρ G − V(s) ]"
    )
    idea = "Judges one policy by the episodes of another: likelier ones count more."
    needs = (
        "A behaviour policy that sometimes does all that the target policy does; short episodes."
    )
    chosen_when = "Data of another policy is there, and the one to be judged cannot be tried."
    with_llms = (
        "Not over whole texts: ρ is a product with a factor for each token, and its variance grows "
        "with length. PPO keeps the ratio of single tokens and clips it."
    )
    kernel = staticmethod(off_policy_prediction)

    def check(self, preset: Preset) -> None:
        longest = max(maze.max_steps for _, maze in build_mazes(preset.maze))
        check_kept_steps(preset, longest, "maze.max_steps")
        check_prediction(preset)
        check_coverage(preset)

    def make_tables(self, settings: Any, size: Size) -> Any:
        episode, rows = (size.agents, size.longest), size.table[:2]
        return OffPolicyTables(
            values=np.full(rows, float(settings.initial_value)),
            total=np.zeros(rows),
            visits=np.zeros(size.table, np.int64),
            policy=np.zeros(size.table),  # both are filled in by the learner, which knows the maze
            behaviour=np.full(size.table, 1.0 / size.actions),
            met_in=np.zeros(rows, np.int64),
            observations=np.zeros(episode, np.int32),
            counts=np.zeros(episode, np.bool_),
            ratios=np.zeros(episode),
            returns=np.zeros(episode),
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return OffPolicyHyperparameters(
            gamma=settings.gamma,
            weighted=settings.weighting == "weighted",
            every=settings.visit == "every",
        )

    def behaviour(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        policy: Array = tables.behaviour
        return policy

    def target(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        return self.greedy(tables)

    def greedy(self, tables: Any) -> Array:
        """The given policy: V alone, without a model, does not say which action looks best."""
        policy: Array = tables.policy
        return policy

    def state_values(self, tables: Any, target: Array) -> Array:
        values: Array = tables.values
        return values

    def learned_parameters(self, tables: Any) -> list[Array]:
        return [tables.values]

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        words = f"The behaviour policy drew {actions[step.action]}. It was paid {pay_of(step)}"
        words += ", and the episode ended." if step.terminated else "."
        if math.isnan(step.importance_ratio):
            numbers = f"V(s) = {step.before:.4g}   (no update yet)"
            words += f" Nothing is learned from it now: {NO_RATIO}, and with visit = 'first' a "
            return Explanation(self.formula, numbers, words + "state counts once an episode.")
        numbers = (
            f"{ratio_numbers(step)}\n"
            f"target = {step.target:.4g}   (weighted: G; ordinary: ρ G)\n"
            f"V(s) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
            f"= {step.after:.4g}"
        )
        words += ratio_words(step, "from there on")
        if not step.step_size:
            words += " A return that weighs nothing changes no weighted average."
        else:
            words += f" So V of this state moves from {step.before:.4g} to {step.after:.4g}."
        if step.bootstrap:
            words += f" (The time limit cut the return; {step.bootstrap:.4g} of it is an estimate.)"
        return Explanation(self.formula, numbers, words)


ALGORITHM = OffPolicyPrediction()
