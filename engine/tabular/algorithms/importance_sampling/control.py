"""Off-policy Monte Carlo control: the greedy policy, from episodes of a soft one. Sutton & Barto,
section 5.7 (the box on page 111).

The agent explores by b (ε-greedy or softmax on Q) and learns what the greedy policy π is worth.
When an episode is over its steps are gone through backwards with the importance ratio W of what
came after them: 1 at the end, then times π(a|s) / b(a|s), with the b of the time when a was chosen.
As soon as b did what π would not, W is 0, and with weighted importance sampling nothing before that
is learned: the method learns from the tails of its episodes, and slowly where b explores much.

Exact ties share π evenly, as everywhere here; the book has them broken by an order. What a time
limit cuts off is estimated by the greedy value of the state where it struck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import (
    TUNABLE,
    EpsilonGreedy,
    Exploration,
    MovingSettings,
    UpperConfidenceBound,
)
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.core.errors import UserError
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
from engine.tabular.kernels.behaviour import (
    LEVEL_NAMES,
    chance_of,
    choose,
    encode_exploration,
    highest,
    scheduled,
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
from engine.tabular.kernels.returns import check_kept_steps, compute_returns
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_ratio, note_update


class OffPolicyMonteCarloSettings(
    MovingSettings, frozen=True, kw_only=True, tag="off-policy-monte-carlo"
):
    """Off-policy Monte Carlo: learns about the greedy policy from whole episodes that explore."""

    weighting: Weighting = "weighted"
    exploration: Annotated[
        Exploration,
        Meta(description="the behaviour policy b", extra_json_schema=TUNABLE),
    ] = EpsilonGreedy(start=0.1)
    initial_value: Annotated[float, Meta(description="Q at the start")] = 0.0


class OffPolicyControlTables(NamedTuple):
    """The learned numbers, and the episode so far (step t in column t; T the longest episode)."""

    q: Array  # [N,O,A] float64
    visits: Array  # [N,O,A] int64: how often each pair was met
    total: Array  # [N,O,A] float64: Σ W of the returns so far, or their number
    observations: Array  # [N,T] int32
    actions: Array  # [N,T] int32
    chances: Array  # [N,T] float64: b(a|s) when a was chosen
    returns: Array  # [N,T] float64: rewards, turned into returns when the episode is over


class OffPolicyControlHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    exploration: Array  # [5], see behaviour.encode_exploration
    weighted: bool
    greedy: Array  # [5]: the rule of π itself, ε-greedy with ε = 0


@kernel
def learn_from_tail(
    tables: OffPolicyControlTables,
    hyperparameters: OffPolicyControlHyperparameters,
    agents: Agents,
    trace: Trace,
    i: int,
    t: int,
    future: float,
    limits: Limits,
) -> float:
    """The box's inner loop over an episode whose last step was t; returns the sum of |errors|."""
    q, total, returns = tables.q[i], tables.total[i], tables.returns[i]
    compute_returns(returns, 0, t, hyperparameters.gamma, future, returns)
    w, surprise = 1.0, 0.0
    for tau in range(t, -1, -1):
        if (w == 0.0 and hyperparameters.weighted) or agents.updates[i] >= limits.updates:
            break
        s, a, g = tables.observations[i, tau], tables.actions[i, tau], returns[tau]
        target, weight = (g, w) if hyperparameters.weighted else (w * g, 1.0)
        total[s, a] += weight  # C(S,A) ← C(S,A) + W
        alpha = weight / total[s, a]
        error = target - q[s, a]
        if i == WATCHED:
            count = agents.steps[i] + 1 - (t - tau)
            note_update(trace, count, q[s, a], target, alpha, future, math.nan)
            note_ratio(trace, count, w)
        q[s, a] += alpha * error  # Q(S,A) ← Q(S,A) + (W/C(S,A)) [G − Q(S,A)]  (section 5.7)
        surprise += abs(error)
        agents.updates[i] += 1
        w *= chance_of(q[s], a, hyperparameters.greedy, 0.0) / tables.chances[i, tau]
    return surprise


@kernel
def off_policy_monte_carlo(
    env: StackedMDPs,
    agents: Agents,
    tables: OffPolicyControlTables,
    hyperparameters: OffPolicyControlHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    rule = hyperparameters.exploration
    for i in range(agents.state.size):
        q, visits, random = tables.q[i], tables.visits[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a, explored, level = choose(q[s], visits[s], rule, agents.steps[i], random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            visits[s, a] += 1
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], q[s, a], 0.0, level, 0.0, q[s], q[s2],
                )  # fmt: skip

            t = agents.time[i]
            tables.observations[i, t], tables.actions[i, t], tables.returns[i, t] = s, a, r
            tables.chances[i, t] = chance_of(q[s], a, rule, level)
            surprise = 0.0
            if flags & TERMINAL or is_truncated(env, agents, i, flags):
                future = 0.0 if flags & TERMINAL else highest(q[s2])
                surprise = learn_from_tail(
                    tables, hyperparameters, agents, trace, i, t, future, limits
                )
            finish_step(
                env, agents, i, landing, r, flags, explored, surprise, hyperparameters.gamma
            )


class OffPolicyMonteCarlo(QTableAlgorithm):
    name = "off-policy-monte-carlo"
    title = "Off-policy Monte Carlo control"
    settings = OffPolicyMonteCarloSettings
    source = "Sutton & Barto, section 5.7"
    policy_type = "off-policy"
    behaviour_policy = "explores on Q (ε-greedy or softmax)"
    target_policy = "greedy on Q"
    update_name = "update towards a return"
    formula = "Q(s,a) ← Q(s,a) + (W / ΣW) [ G − Q(s,a) ],   W = Π π/b over the steps after it"
    idea = (
        "Averages whole returns of exploring episodes, weighed so that they speak of greedy ones."
    )
    needs = "Episodes that end greedily: before the last exploring move nothing is learned."
    chosen_when = "The best policy is wanted from another's episodes, without resting on estimates."
    with_llms = (
        "Not suited: W is a product over all tokens that follow, so hardly any text has a weight, "
        "and few have a huge one. PPO and GRPO stay near the policy that wrote the text instead."
    )
    kernel = staticmethod(off_policy_monte_carlo)

    def check(self, preset: Preset) -> None:
        assert isinstance(preset.algorithm, OffPolicyMonteCarloSettings)
        if isinstance(preset.algorithm.exploration, UpperConfidenceBound):
            raise UserError(
                "algorithm.exploration: UCB gives actions no probabilities, and an importance "
                "ratio divides by them; expected kind = 'epsilon-greedy' or 'softmax'."
            )
        longest = max(maze.max_steps for _, maze in build_mazes(preset.maze))
        check_kept_steps(preset, longest, "maze.max_steps")

    def make_tables(self, settings: Any, size: Size) -> Any:
        episode = (size.agents, size.longest)
        return OffPolicyControlTables(
            q=np.full(size.table, float(settings.initial_value)),
            visits=np.zeros(size.table, np.int64),
            total=np.zeros(size.table),
            observations=np.zeros(episode, np.int32),
            actions=np.zeros(episode, np.int32),
            chances=np.zeros(episode),
            returns=np.zeros(episode),
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return OffPolicyControlHyperparameters(
            gamma=settings.gamma,
            exploration=encode_exploration(settings.exploration),
            weighted=settings.weighting == "weighted",
            greedy=encode_exploration(EpsilonGreedy(start=0.0)),
        )

    def hyperparameter_metrics(self, hyperparameters: Any, step: int) -> dict[str, float]:
        rule = hyperparameters.exploration
        return {LEVEL_NAMES[float(rule[4])]: scheduled(rule, step)}

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        chosen = "explored" if step.explored else "took the action that looks best"
        words = f"The agent {chosen}: {actions[step.action]}. It was paid {pay_of(step)}"
        words += ", and the episode ended." if step.terminated else "."
        if math.isnan(step.importance_ratio):
            numbers = f"Q(s,a) = {step.before:.4g}   (no update)"
            words += (
                f" Nothing is learned from it: {NO_RATIO}, and what came after it must be what "
            )
            return Explanation(self.formula, numbers, words + "the greedy policy would have done.")
        numbers = (
            f"{ratio_numbers(step)}\n"
            f"target = {step.target:.4g}   (weighted: G; ordinary: W G)\n"
            f"Q(s,a) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
            f"= {step.after:.4g}"
        )
        words += f"{ratio_words(step, 'after it')} So its value moves from {step.before:.4g} to "
        words += f"{step.after:.4g}."
        if step.bootstrap:
            words += f" (The time limit cut the return; {step.bootstrap:.4g} of it is an estimate.)"
        return Explanation(self.formula, numbers, words)


ALGORITHM = OffPolicyMonteCarlo()
