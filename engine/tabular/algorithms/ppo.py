"""Proximal policy optimization on tables. Schulman et al. 2017, algorithm 1 and equations 7, 9, 11.

The agent plays `rollout_steps` steps with one policy, estimates every step's advantage with
GAE(λ) (Schulman et al. 2016), then goes over the same steps `epochs` times, each time in
`minibatches` parts, with Adam. A rollout may hold several episodes and end in the middle of one.

Here θ and V are two tables and share nothing, so the paper's weight c₁ of the value loss would
only scale V's own step, which Adam undoes: V has a step size of its own instead.
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
from engine.tabular.kernels.adam import adam_step, square_of
from engine.tabular.kernels.behaviour import encode_schedule, scheduled
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
from engine.tabular.kernels.gae import (
    GOES_ON,
    TERMINATED,
    TRUNCATED,
    estimate_advantages,
    standardise,
)
from engine.tabular.kernels.policy_table import (
    PolicyAlgorithm,
    StepSize,
    draw_action,
    entropy_of,
    happened,
    not_yet,
    probabilities,
    verdict,
)
from engine.tabular.kernels.returns import check_kept_steps
from engine.tabular.kernels.rng import uniform
from engine.tabular.kernels.surrogate import (
    add_entropy_gradient,
    add_surrogate_gradient,
    k3,
    log_chance,
    moved_ratio,
    ratio_story,
)
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_policy, note_update

ENTROPY, CLIPPED, KL, NORM, VALUE_LOSS, SPREAD = range(6)


class PPOSettings(MovingSettings, frozen=True, kw_only=True, tag="ppo"):
    """PPO: several careful passes over each batch of steps, none of them too far."""

    learning_rate: Annotated[
        StepSize,
        Meta(description="Adam's step size for the logits θ", extra_json_schema=TUNABLE),
    ] = 0.02
    value_learning_rate: Annotated[
        StepSize, Meta(description="Adam's step size for V", extra_json_schema=TUNABLE)
    ] = 0.02
    rollout_steps: Annotated[
        int, Meta(ge=2, le=65_536, description="steps played between two improvements")
    ] = 256
    epochs: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="passes over the same steps",
            extra_json_schema=TUNABLE,
        ),
    ] = 4
    minibatches: Annotated[
        int,
        Meta(ge=1, description="parts each pass is cut into; each part is one optimizer step"),
    ] = 4
    clip: Annotated[
        float,
        Meta(
            gt=0.0,
            description="ε: how far a ratio π/π_old may leave 1 before its step stops pushing",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.2
    gae_lambda: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="λ of the advantage estimate: 0 trusts V after one step, 1 waits for all "
            "that really follows",
        ),
    ] = 0.95
    entropy_coefficient: Annotated[
        float,
        Meta(
            ge=0.0,
            description="c₂: weight of the bonus for a policy that keeps its options open",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.02
    normalise_advantages: Annotated[
        bool,
        Meta(description="shift and scale the advantages of each rollout to mean 0 and spread 1"),
    ] = True


class PPOTables(NamedTuple):
    """The learned numbers, Adam's moments, and the rollout so far (R steps)."""

    theta: Array  # [N,O,A] float64: logits of π
    v: Array  # [N,O] float64
    visits: Array  # [N,O,A] int64
    advantages: Array  # [N,O,A] float64: the newest advantage used for each pair
    figures: Array  # [N,F] float64: see PPO.figure_names
    chances: Array  # [N,A] float64: π(·|s) of the step at hand
    gradient: Array  # [N,A] float64
    collected: Array  # [N] int64: steps in the rollout so far
    states: Array  # [N,R] int32: observations
    actions: Array  # [N,R] int32
    rewards: Array  # [N,R] float64
    next_states: Array  # [N,R] int32, -1 where nothing follows
    ends: Array  # [N,R] int8: GOES_ON, TERMINATED or TRUNCATED
    log_probs: Array  # [N,R] float64: ln π_old(a|s)
    order: Array  # [N,R] int32: the rollout in the order of a pass
    values: Array  # [N,R] float64: V(s) when the rollout was complete
    next_values: Array  # [N,R] float64: V(s') then, 0 where nothing follows
    estimates: Array  # [N,R] float64: advantages
    targets: Array  # [N,R] float64: what V is fitted to, λ-returns
    theta_gradient: Array  # [N,O,A] float64
    theta_m: Array  # [N,O,A] float64: Adam's moments
    theta_v: Array  # [N,O,A] float64
    v_gradient: Array  # [N,O] float64
    v_m: Array  # [N,O] float64
    v_v: Array  # [N,O] float64


class PPOHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    alpha_v: Array  # [4]
    epochs: int
    minibatches: int
    clip: float
    lambda_: float
    entropy: float
    normalise: bool


@kernel
def shuffle(order: Array, random: Array) -> None:
    """0 … R−1 in random order (Fisher and Yates)."""
    for j in range(order.size):
        order[j] = j
    for j in range(order.size - 1, 0, -1):
        k = int(uniform(random) * (j + 1))
        order[j], order[k] = order[k], order[j]


@kernel
def ppo_gradient(
    tables: PPOTables, hyperparameters: PPOHyperparameters, i: int, first: int, last: int
) -> None:
    """∇ of the loss over the minibatch order[first:last], into theta_gradient and v_gradient.

    Loss = mean of −L_clip − c₂ H(π(·|s)) by θ, and mean of (V(s) − V_target)² by V.
    """
    theta, gradient = tables.theta[i], tables.theta_gradient[i]
    v, v_gradient = tables.v[i], tables.v_gradient[i]
    pi, figures = tables.chances[i], tables.figures[i]
    for o in range(theta.shape[0]):
        v_gradient[o] = 0.0
        for a in range(theta.shape[1]):
            gradient[o, a] = 0.0
    share = 1.0 / (last - first)
    for j in range(first, last):
        t = tables.order[i, j]
        s, a, advantage = tables.states[i, t], tables.actions[i, t], tables.estimates[i, t]
        probabilities(theta[s], pi)
        log_ratio = log_chance(theta[s], a) - tables.log_probs[i, t]
        ratio = math.exp(log_ratio)  # ρ = π(a|s) / π_old(a|s)
        entropy = entropy_of(pi)
        add_surrogate_gradient(pi, a, ratio, advantage, hyperparameters.clip, share, gradient[s])
        add_entropy_gradient(pi, entropy, hyperparameters.entropy * share, gradient[s])
        error = v[s] - tables.targets[i, t]
        v_gradient[s] += share * 2.0 * error
        figures[ENTROPY] += entropy
        figures[CLIPPED] += 1.0 if abs(ratio - 1.0) > hyperparameters.clip else 0.0
        figures[KL] += k3(log_ratio)
        figures[VALUE_LOSS] += error * error


@kernel
def improve(
    tables: PPOTables, hyperparameters: PPOHyperparameters, agents: Agents, i: int, limits: Limits
) -> None:
    """All passes over one rollout. The figures are means over all of it."""
    figures, steps = tables.figures[i], tables.rewards.shape[1]
    theta, gradient = tables.theta[i], tables.theta_gradient[i]
    m, v = tables.theta_m[i], tables.theta_v[i]
    for j in range(SPREAD):
        figures[j] = 0.0
    alpha = scheduled(hyperparameters.alpha, agents.steps[i])
    alpha_v = scheduled(hyperparameters.alpha_v, agents.steps[i])
    parts = min(hyperparameters.minibatches, steps)
    batches = seen = 0
    for _ in range(hyperparameters.epochs):
        shuffle(tables.order[i], agents.random[i])
        for part in range(parts):
            if agents.updates[i] >= limits.updates:
                break
            first, last = steps * part // parts, steps * (part + 1) // parts
            ppo_gradient(tables, hyperparameters, i, first, last)
            count = agents.updates[i] + 1
            size = 0.0
            for o in range(gradient.shape[0]):
                adam_step(theta[o], gradient[o], m[o], v[o], count, alpha)
                size += square_of(gradient[o])
            figures[NORM] += math.sqrt(size)
            adam_step(
                tables.v[i], tables.v_gradient[i], tables.v_m[i], tables.v_v[i], count, alpha_v
            )
            agents.updates[i] += 1
            batches += 1
            seen += last - first
    for j in range(SPREAD):
        figures[j] /= batches if j == NORM else seen


@kernel
def compute_advantages(tables: PPOTables, hyperparameters: PPOHyperparameters, i: int) -> None:
    """The advantages of a complete rollout, from V as it is now."""
    for t in range(tables.rewards.shape[1]):
        s2 = tables.next_states[i, t]
        tables.values[i, t] = tables.v[i, tables.states[i, t]]
        tables.next_values[i, t] = tables.v[i, s2] if s2 >= 0 else 0.0
    estimate_advantages(
        tables.rewards[i], tables.values[i], tables.next_values[i], tables.ends[i],
        hyperparameters.gamma, hyperparameters.lambda_, tables.estimates[i], tables.targets[i],
    )  # fmt: skip
    tables.figures[i, SPREAD] = standardise(tables.estimates[i], hyperparameters.normalise)


@kernel
def note_rollout(tables: PPOTables, steps: int, trace: Trace, i: int) -> None:
    """Note what the passes did to each step of the rollout that ended at step count `steps`."""
    size = tables.rewards.shape[1]
    for t in range(size):
        s, a, advantage = tables.states[i, t], tables.actions[i, t], tables.estimates[i, t]
        tables.advantages[i, s, a] = advantage
        if i == WATCHED:
            step = steps - size + t + 1
            before, target = tables.values[i, t], tables.targets[i, t]
            rate = (tables.v[i, s] - before) / (target - before) if target != before else 0.0
            note_update(trace, step, before, target, rate, tables.next_values[i, t], advantage)
            note_policy(trace, step, tables.theta[i, s], math.nan)


@kernel
def ppo(
    env: StackedMDPs,
    agents: Agents,
    tables: PPOTables,
    hyperparameters: PPOHyperparameters,
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
            s = env.observation[agents.state[i]]
            probabilities(tables.theta[i, s], pi)
            a, explored = draw_action(pi, random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            if i == WATCHED and left <= trace.ints.shape[0]:
                expected = tables.v[i, s]
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    expected, expected, 0.0, math.nan, 0.0, pi, pi,
                )  # fmt: skip
            k = tables.collected[i]
            tables.states[i, k], tables.actions[i, k], tables.rewards[i, k] = s, a, r
            tables.next_states[i, k] = -1 if flags & TERMINAL else s2
            tables.log_probs[i, k] = log_chance(tables.theta[i, s], a)
            cut = is_truncated(env, agents, i, flags)
            tables.ends[i, k] = TERMINATED if flags & TERMINAL else TRUNCATED if cut else GOES_ON
            tables.collected[i] = k + 1
            finish_step(
                env, agents, i, landing, r, flags, explored, math.nan, hyperparameters.gamma
            )
            if tables.collected[i] == tables.rewards.shape[1]:
                compute_advantages(tables, hyperparameters, i)
                improve(tables, hyperparameters, agents, i, limits)
                note_rollout(tables, agents.steps[i], trace, i)
                tables.collected[i] = 0


class PPO(PolicyAlgorithm):
    name = "ppo"
    title = "PPO"
    settings = PPOSettings
    source = "Schulman et al. 2017, algorithm 1, equations 7 and 11"
    update_name = "optimizer batch"
    idea = "Goes over the same steps several times, and clips what would move the policy too far."
    needs = "Batches of its own steps, and a learned V."
    chosen_when = "A robust default is wanted; for LLMs where a value model can be afforded."
    with_llms = (
        "Suited, and long the usual choice for learning from human feedback. It needs a value "
        "head, which takes memory and has to be learned first."
    )
    formula = "maximise  min( ρ Â, clip(ρ, 1−ε, 1+ε) Â ) + c₂ H(π),   ρ = π(a|s) / π_old(a|s)"
    figure_names = (
        *("entropy", "clip_fraction", "approx_kl", "policy_gradient_norm", "value_loss"),
        "advantage_std",
    )
    kernel = staticmethod(ppo)

    def check(self, preset: Preset) -> None:
        assert isinstance(preset.algorithm, PPOSettings)
        check_kept_steps(preset, preset.algorithm.rollout_steps, "algorithm.rollout_steps")

    def make_tables(self, settings: Any, size: Size) -> Any:
        rollout = (size.agents, settings.rollout_steps)
        integers = dict.fromkeys(("states", "actions", "next_states", "order"), np.int32)
        numbers = ("rewards", "log_probs", "values", "next_values", "estimates", "targets")
        return PPOTables(
            **self.learned(size),
            collected=np.zeros(size.agents, np.int64),
            ends=np.zeros(rollout, np.int8),
            **{name: np.zeros(rollout, kind) for name, kind in integers.items()},
            **{name: np.zeros(rollout) for name in numbers},
            **{f"theta_{name}": np.zeros(size.table) for name in ("gradient", "m", "v")},
            **{f"v_{name}": np.zeros(size.table[:2]) for name in ("gradient", "m", "v")},
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return PPOHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            alpha_v=encode_schedule(settings.value_learning_rate),
            epochs=settings.epochs,
            minibatches=settings.minibatches,
            clip=settings.clip,
            lambda_=settings.gae_lambda,
            entropy=settings.entropy_coefficient,
            normalise=settings.normalise_advantages,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        if not step.probabilities_after:
            return Explanation(
                formula=self.formula,
                numbers=not_yet(step, "the rollout is complete"),
                words=f"{happened(step, actions)} PPO goes on with this same π until its rollout "
                "is complete, and then learns from all of it at once.",
            )
        ahead = "" if step.terminated else f" + {step.gamma:g} × {step.bootstrap:.4g}"
        delta = step.paid + (0.0 if step.terminated else step.gamma * step.bootstrap)
        numbers = (
            f"δ = r + γ V(s′) − V(s) = {step.paid:.4g}{ahead} − {step.before:.4g} "
            f"= {delta - step.before:+.4g}\n"
            f"GAE(λ), the discounted sum of this δ and those after it: {step.error:+.4g}\n"
            f"advantage used (normalised over the rollout, if so set): "
            f"{step.advantage_estimate:+.4g}\n"
            f"{moved_ratio(step, actions)}\n"
            f"V(s): {step.before:.4g} → {step.after:.4g}, fitted to {step.target:.4g}"
        )
        words = f"{happened(step, actions)} {verdict(step, actions)} {ratio_story(step, actions)}"
        return Explanation(formula=self.formula, numbers=numbers, words=words)


ALGORITHM = PPO()
