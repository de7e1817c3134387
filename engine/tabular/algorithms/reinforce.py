"""REINFORCE (Williams, 1992): Monte Carlo policy gradient. Sutton & Barto, sections 13.3 and 13.4.

An episode is played to its end with one π; then every step of it pushes the logits by what
followed, in the order it happened, as in the book's boxes. γ^t stands in front of each push, as in
the boxes: a step t moves the return from the start only by γ^t. (Most deep-learning code drops
that factor.) With `baseline`, what followed is measured against a learned V(s), which leaves the
gradient's expectation as it is and takes away most of its noise.

A time limit is not an end: with a baseline the return of a cut episode goes on with V of the state
it was cut in; without one nobody knows what would have followed, and only what was paid counts.
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
from engine.env.build_maze import build_mazes
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
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
from engine.tabular.kernels.policy_table import (
    AVERAGE,
    PolicyAlgorithm,
    PolicySettings,
    draw_action,
    entropy_of,
    happened,
    moved_chance,
    not_yet,
    probabilities,
    score,
    verdict,
)
from engine.tabular.kernels.returns import check_kept_steps, compute_returns
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_policy, note_update


class ReinforceSettings(PolicySettings, frozen=True, kw_only=True, tag="reinforce"):
    """REINFORCE: plays an episode, then makes likelier what was followed by a good return."""

    baseline: Annotated[
        bool,
        Meta(
            description="subtract a learned V(s) from each return: same direction on average, "
            "far less noise"
        ),
    ] = False


class ReinforceTables(NamedTuple):
    """The learned numbers, and the episode so far; T steps at most."""

    theta: Array  # [N,O,A] float64: logits of π
    v: Array  # [N,O] float64: the baseline; without one an average of returns, only to be shown
    visits: Array  # [N,O,A] int64
    advantages: Array  # [N,O,A] float64: the newest advantage used for each pair
    figures: Array  # [N,F] float64: see Reinforce.figure_names
    chances: Array  # [N,A] float64: π(·|s) of the step at hand
    gradient: Array  # [N,A] float64: ∇ ln π of the step at hand
    states: Array  # [N,T] int32: observations of the episode so far
    actions: Array  # [N,T] int32
    returns: Array  # [N,T] float64: rewards, in the end returns-to-go


class ReinforceHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    alpha_v: Array  # [4]
    baseline: bool


@kernel
def learn_from_episode(
    tables: ReinforceTables,
    hyperparameters: ReinforceHyperparameters,
    trace: Trace,
    i: int,
    length: int,
    steps: int,
    tail: float,
) -> None:
    """The book's inner loop over an episode that ended at step count `steps`.

    `tail` is what is believed to follow the last step: 0 unless the time limit cut it.
    """
    gamma = hyperparameters.gamma
    theta, v, pi, gradient = tables.theta[i], tables.v[i], tables.chances[i], tables.gradient[i]
    returns = tables.returns[i]
    compute_returns(returns, 0, length - 1, gamma, tail, returns)
    alpha, alpha_v = (
        scheduled(hyperparameters.alpha, steps),
        scheduled(hyperparameters.alpha_v, steps),
    )
    entropy = norm = total = squares = 0.0
    discount = 1.0
    for t in range(length):
        s, a, g = tables.states[i, t], tables.actions[i, t], returns[t]
        n = 0
        for b in range(pi.size):
            n += tables.visits[i, s, b]
        expected = v[s] if hyperparameters.baseline else 0.0
        rate = alpha_v if hyperparameters.baseline else 0.0
        advantage = g - expected
        if i == WATCHED:
            bootstrap = tail if t == length - 1 else 0.0
            note_update(trace, steps - length + t + 1, expected, g, rate, bootstrap, advantage)
        v[s] += (alpha_v if hyperparameters.baseline else max(1.0 / n, AVERAGE)) * (g - v[s])
        probabilities(theta[s], pi)
        score(pi, a, gradient)
        size = 0.0
        for b in range(pi.size):
            theta[s, b] += alpha * discount * advantage * gradient[b]  # θ ← θ + α γ^t (G−v) ∇ln π
            size += (discount * advantage * gradient[b]) ** 2
        tables.advantages[i, s, a] = advantage
        discount *= gamma
        entropy += entropy_of(pi)
        norm += math.sqrt(size)
        total += advantage
        squares += advantage * advantage
    if i == WATCHED:
        for t in range(length):
            note_policy(trace, steps - length + t + 1, theta[tables.states[i, t]], alpha)
    mean = total / length
    tables.figures[i, 0] = entropy / length
    tables.figures[i, 1] = norm / length
    tables.figures[i, 2] = math.sqrt(max(squares / length - mean * mean, 0.0))
    tables.figures[i, 3] = squares / length if hyperparameters.baseline else math.nan


@kernel
def reinforce(
    env: StackedMDPs,
    agents: Agents,
    tables: ReinforceTables,
    hyperparameters: ReinforceHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` steps of every agent."""
    for i in range(agents.state.size):
        pi, random = tables.chances[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            t = agents.time[i]
            s = env.observation[agents.state[i]]
            probabilities(tables.theta[i, s], pi)
            a, explored = draw_action(pi, random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            tables.states[i, t], tables.actions[i, t], tables.returns[i, t] = s, a, r
            if i == WATCHED and left <= trace.ints.shape[0]:
                expected = tables.v[i, s] if hyperparameters.baseline else 0.0
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    expected, expected, 0.0, math.nan, 0.0, pi, pi,
                )  # fmt: skip
            if finish_step(
                env, agents, i, landing, r, flags, explored, math.nan, hyperparameters.gamma
            ):
                tail = 0.0 if flags & TERMINAL or not hyperparameters.baseline else tables.v[i, s2]
                learn_from_episode(tables, hyperparameters, trace, i, t + 1, agents.steps[i], tail)
                agents.updates[i] += 1


class Reinforce(PolicyAlgorithm):
    name = "reinforce"
    title = "REINFORCE"
    settings = ReinforceSettings
    source = "Sutton & Barto, sections 13.3 and 13.4, equations 13.8 and 13.11"
    update_name = "episode learned from"
    idea = "Plays an episode, then makes likelier what was followed by a good return."
    needs = "Episodes that end, and many of them: returns are noisy."
    chosen_when = "The simplest policy gradient is wanted, or only whole episodes can be judged."
    with_llms = (
        "Suited: it needs samples, their returns and ∇ln π, which a network has for any text. "
        "Nothing must come twice."
    )
    formula = "θ ← θ + α γᵗ (Gₜ − b(s)) ∇ln π(a|s),   b(s) = V(s) with a baseline, else 0"
    figure_names = ("entropy", "policy_gradient_norm", "advantage_std", "value_loss")
    kernel = staticmethod(reinforce)

    def check(self, preset: Preset) -> None:
        longest = max(maze.max_steps for _, maze in build_mazes(preset.maze))
        check_kept_steps(preset, longest, "maze.max_steps")

    def make_tables(self, settings: Any, size: Size) -> Any:
        steps = (size.agents, size.longest)
        return ReinforceTables(
            **self.learned(size),
            states=np.zeros(steps, np.int32),
            actions=np.zeros(steps, np.int32),
            returns=np.zeros(steps),
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return ReinforceHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            alpha_v=encode_schedule(settings.value_learning_rate),
            baseline=settings.baseline,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        if not step.probabilities_after:
            return Explanation(
                formula=self.formula,
                numbers=not_yet(step, "the episode is over"),
                words=f"{happened(step, actions)} REINFORCE waits for the end of the episode, "
                "because only then it knows the return.",
            )
        g, advantage = step.target, step.advantage_estimate
        chance = step.probabilities[step.action]
        following = (g - step.paid) / step.gamma if step.gamma else 0.0
        numbers = (
            f"G = {step.paid:.4g} + {step.gamma:g} × {following:.4g} = {g:.4g}\n"
            f"advantage = G − b(s) = {g:.4g} − {step.before:.4g} = {advantage:+.4g}\n"
            f"θ(s,a) moves by α γᵗ × advantage × (1 − π) = {step.policy_step_size:.4g} × "
            f"{step.gamma:g}^{step.t} × ({advantage:+.4g}) × (1 − π), π near {chance:.4g}\n"
            f"{moved_chance(step, actions)}"
        )
        if step.step_size:
            numbers += (
                f"\nV(s) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
                f"= {step.after:.4g}"
            )
        against = (
            f"measured against the {step.before:.4g} that is usual from here"
            if step.step_size
            else "taken as it is, for there is no baseline"
        )
        if step.bootstrap:
            against += f" (V says that {step.bootstrap:.4g} would have followed the time limit)"
        words = (
            f"{happened(step, actions)} From this step on the episode returned {g:.4g}, {against}. "
            f"{verdict(step, actions)}"
        )
        return Explanation(formula=self.formula, numbers=numbers, words=words)


ALGORITHM = Reinforce()
