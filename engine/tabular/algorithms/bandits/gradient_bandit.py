"""The gradient bandit: a policy of preferences. Sutton & Barto, section 2.8, equation 2.12.

π is a softmax over one preference H(a) for each arm. After every pull all preferences move along an
estimate of the gradient of the expected reward: the arm that paid more than the baseline becomes
likelier, all others less likely. The baseline is the mean of the rewards before this pull (of the
first pull its own reward, as in the book), so that it does not depend on the arm pulled. Without a
baseline every reward is taken as it is.

It is REINFORCE with a baseline where an episode is one move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, MovingSettings
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.algorithms.bandits.pulls import check_one_move, pulled
from engine.tabular.kernels.behaviour import encode_schedule, scheduled
from engine.tabular.kernels.environment import (
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
    PolicyAlgorithm,
    StepSize,
    draw_action,
    entropy_of,
    moved_chance,
    probabilities,
    score,
    verdict,
)
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_policy, note_update


class GradientBanditSettings(MovingSettings, frozen=True, kw_only=True, tag="gradient-bandit"):
    """Gradient bandit: makes arms likelier that pay more than usual."""

    learning_rate: Annotated[
        StepSize,
        Meta(
            description="step size α of the preferences; a number or a schedule",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.1
    baseline: Annotated[
        bool,
        Meta(description="measure each reward against the mean of the rewards before it"),
    ] = True


class GradientBanditTables(NamedTuple):
    """The learned numbers."""

    theta: Array  # [N,O,A] float64: preferences H
    v: Array  # [N,O] float64: the mean of the rewards so far
    visits: Array  # [N,O,A] int64
    advantages: Array  # [N,O,A] float64: the newest advantage used for each arm
    figures: Array  # [N,F] float64: see GradientBandit.figure_names
    chances: Array  # [N,A] float64: π of the pull at hand
    gradient: Array  # [N,A] float64: ∇ ln π of the pull at hand
    pulls: Array  # [N,O] int64: rewards in the mean


class GradientBanditHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    baseline: bool


@kernel
def gradient_bandit(
    env: StackedMDPs,
    agents: Agents,
    tables: GradientBanditTables,
    hyperparameters: GradientBanditHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` pulls of every agent."""
    for i in range(agents.state.size):
        pi, gradient, random = tables.chances[i], tables.gradient[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            h, v = tables.theta[i, s], tables.v[i]
            probabilities(h, pi)
            a, explored = draw_action(pi, random)
            landing, r, flags = move(env, agents, i, a)
            tables.visits[i, s, a] += 1
            alpha = scheduled(hyperparameters.alpha, agents.steps[i])

            usual = 0.0
            if hyperparameters.baseline:
                usual = v[s] if tables.pulls[i, s] > 0 else r
            advantage = r - usual
            count = agents.steps[i] + 1
            watched = i == WATCHED and left <= trace.ints.shape[0]
            tables.pulls[i, s] += 1
            rate = 1.0 / tables.pulls[i, s] if hyperparameters.baseline else 0.0
            if watched:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    usual, r, rate, math.nan, 0.0, pi, pi,
                )  # fmt: skip
                note_update(trace, count, usual, r, rate, 0.0, advantage)
            score(pi, a, gradient)
            size = 0.0
            for b in range(pi.size):
                h[b] += alpha * advantage * gradient[b]  # H ← H + α (R − R̄) (1[b=A] − π)  (2.12)
                size += (advantage * gradient[b]) ** 2
            v[s] += (r - v[s]) / tables.pulls[i, s]
            if watched:
                note_policy(trace, count, h, alpha)

            tables.advantages[i, s, a] = advantage
            tables.figures[i, 0], tables.figures[i, 1] = entropy_of(pi), math.sqrt(size)
            agents.updates[i] += 1
            finish_step(
                env, agents, i, landing, r, flags, explored, math.nan, hyperparameters.gamma
            )


class GradientBandit(PolicyAlgorithm):
    name = "gradient-bandit"
    title = "Gradient bandit"
    settings = GradientBanditSettings
    source = "Sutton & Barto, section 2.8, equation 2.12"
    update_name = "pull"
    formula = "H(b) ← H(b) + α (r − r̄) ( 1[b = a] − π(b) )   for every arm b"
    idea = "Keeps no values: arms that pay more than usual become likelier."
    needs = (
        "A single decision whose reward comes at once; where rewards are far from 0, a baseline."
    )
    chosen_when = "Only which arm is better matters; it is the smallest policy gradient there is."
    with_llms = (
        "Suited: one prompt is such a bandit and each completion a pull. GRPO draws a group of "
        "pulls; the group's mean is r̄, and the difference is divided by the group's std."
    )
    figure_names = ("entropy", "policy_gradient_norm")
    kernel = staticmethod(gradient_bandit)

    def check(self, preset: Preset) -> None:
        check_one_move(preset)

    def make_tables(self, settings: Any, size: Size) -> Any:
        return GradientBanditTables(**self.learned(size), pulls=np.zeros(size.table[:2], np.int64))

    def make_hyperparameters(self, settings: Any) -> Any:
        return GradientBanditHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            baseline=settings.baseline,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        chance, advantage = step.probabilities[step.action], step.advantage_estimate
        numbers = (
            f"r − r̄ = {step.target:.4g} − {step.before:.4g} = {advantage:+.4g}\n"
            f"H(a) moves by α (r − r̄)(1 − π(a)) = {step.policy_step_size:.4g} × ({advantage:+.4g}) "
            f"× {1.0 - chance:.4g} = {step.policy_step_size * advantage * (1.0 - chance):+.4g}; "
            "every other H(b) by −α (r − r̄) π(b)\n"
            f"{moved_chance(step, actions)}"
        )
        words = f"π gave it a chance of {chance:.3g}, and the dice chose {pulled(step, actions)} "
        if not step.step_size:
            words += "There is no baseline: the reward itself is the advantage. "
        elif step.step_size == 1.0:
            words += "It is the first reward, so there is nothing yet to measure it against. "
        else:
            words += f"The mean of the rewards before it was {step.before:.4g}. "
        return Explanation(self.formula, numbers, words + verdict(step, actions))


ALGORITHM = GradientBandit()
