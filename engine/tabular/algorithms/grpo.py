"""Group relative policy optimization on tables. Shao et al. 2024, section 4.1, equations 3 and 4.

The agent plays `group_size` episodes from one start state with one policy. Each episode's return is
compared with the group's: that difference is the advantage of every step of the episode, so no V
has to be learned. Then it goes `epochs` times over the group with Adam. What is a token for a
language model is a step here, and a completion is an episode:

    loss = − 1/G Σ_i 1/|o_i| Σ_t [ min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) − β k(π, π_ref) ]

with the paper's k3 for k, unless `kl_estimator` says otherwise; `kl_in = "reward"` takes β k off
each step's reward instead (Ouyang et al. 2022).

A group whose episodes all return the same has advantage 0 everywhere, and without the KL term its
gradient is exactly zero. (Adam's momentum of earlier groups may still move π a little.) An episode
that the time limit cut counts with what it was paid.

Where every episode draws its world, the first of a group draws it for all of them. When the maze is
replaced in the middle of a group (a planned change, or an edit), the episodes of the old maze are
dropped: they cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, KlEstimator, KlPlace, MovingSettings
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.build_maze import build_mazes
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.adam import adam_step, square_of
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
from engine.tabular.kernels.gae import group_advantages
from engine.tabular.kernels.policy_table import (
    AVERAGE,
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
from engine.tabular.kernels.surrogate import (
    add_kl_gradient,
    add_surrogate_gradient,
    k3,
    kl_estimate,
    log_chance,
    moved_ratio,
    ratio_story,
)
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_policy, note_update

ENTROPY, CLIPPED, KL, REFERENCE_KL, NORM, SPREAD, ALL_EQUAL = range(7)
MEMORY = 0.1  # the share of all-equal groups is an average over about the last 10


class GRPOSettings(MovingSettings, frozen=True, kw_only=True, tag="grpo"):
    """GRPO: plays a group of episodes and learns from how they differ."""

    learning_rate: Annotated[
        StepSize,
        Meta(description="Adam's step size for the logits θ", extra_json_schema=TUNABLE),
    ] = 0.05
    group_size: Annotated[
        int, Meta(ge=2, le=1024, description="episodes from the same start that are compared")
    ] = 8
    epochs: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="passes over each group; each is one optimizer step",
            extra_json_schema=TUNABLE,
        ),
    ] = 4
    clip: Annotated[
        float,
        Meta(
            gt=0.0,
            description="ε: how far a ratio π/π_old may leave 1 before its step stops pushing",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.2
    kl: Annotated[
        float,
        Meta(
            ge=0.0,
            description="β: weight of the KL divergence that holds π near the reference policy",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.0
    kl_estimator: Annotated[
        Literal["auto", "k1", "k2", "k3", "exact"],
        Meta(
            description="how that KL is measured where it pulls: k1, k2, k3 from the actions "
            "taken, or exact over all actions (in the loss); auto: k3 in the loss, k1 in the reward"
        ),
    ] = "auto"
    kl_in: Annotated[
        KlPlace,
        Meta(
            description="where β times the KL enters: loss adds it to what is minimised and "
            "differentiates it; reward takes it off each step's reward"
        ),
    ] = "loss"
    reference_every: Annotated[
        int,
        Meta(
            ge=0,
            description="groups after which the reference policy becomes the policy of that "
            "moment; 0: it stays the initial one",
        ),
    ] = 0
    normalise: Annotated[
        bool,
        Meta(
            description="divide a group's advantages by the standard deviation of its returns "
            "(off, small differences stay small, as in Dr. GRPO)"
        ),
    ] = True

    @property
    def estimator(self) -> KlEstimator:
        """The estimator of the KL to the reference."""
        if self.kl_estimator != "auto":
            return self.kl_estimator
        return "k1" if self.kl_in == "reward" else "k3"


class GRPOTables(NamedTuple):
    """The learned numbers, Adam's moments, and the group so far (G episodes, T steps in all)."""

    theta: Array  # [N,O,A] float64: logits of π
    v: Array  # [N,O] float64: an average of what followed, only to be shown
    visits: Array  # [N,O,A] int64
    advantages: Array  # [N,O,A] float64: the newest advantage used for each pair
    figures: Array  # [N,F] float64: see GRPO.figure_names
    chances: Array  # [N,A] float64: π(·|s) of the step at hand
    gradient: Array  # [N,A] float64
    reference: Array  # [N,O,A] float64: logits of π_ref
    groups: Array  # [N] int64: groups learned from
    start: Array  # [N] int64: the state the group starts in
    world: Array  # [N] int64: and its world
    began: Array  # [N] int64: the step count then
    members: Array  # [N] int64: episodes complete
    collected: Array  # [N] int64: steps so far
    lengths: Array  # [N,G] int64
    returns: Array  # [N,G] float64
    mean: Array  # [N] float64: of the returns of the newest group
    relative: Array  # [N,G] float64: the advantage of each episode
    states: Array  # [N,T] int32: observations
    actions: Array  # [N,T] int32
    rewards: Array  # [N,T] float64
    log_probs: Array  # [N,T] float64: ln π_old(a|s)
    theta_gradient: Array  # [N,O,A] float64
    theta_m: Array  # [N,O,A] float64: Adam's moments
    theta_v: Array  # [N,O,A] float64


class GRPOHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    epochs: int
    clip: float
    kl: float
    estimator: int
    kl_in_reward: bool
    reference_every: int
    normalise: bool


@kernel
def grpo_gradient(tables: GRPOTables, hyperparameters: GRPOHyperparameters, i: int) -> None:
    """∇ of the loss over agent i's group by θ, into theta_gradient."""
    theta, gradient, pi = tables.theta[i], tables.theta_gradient[i], tables.chances[i]
    figures, groups = tables.figures[i], tables.lengths.shape[1]
    for o in range(theta.shape[0]):
        for a in range(theta.shape[1]):
            gradient[o, a] = 0.0
    t = 0
    for j in range(groups):
        share = 1.0 / (groups * tables.lengths[i, j])
        for _ in range(tables.lengths[i, j]):
            s, a = tables.states[i, t], tables.actions[i, t]
            probabilities(theta[s], pi)
            log_pi = log_chance(theta[s], a)
            ratio = math.exp(log_pi - tables.log_probs[i, t])  # ρ = π(a|s) / π_old(a|s)
            away = log_chance(tables.reference[i, s], a) - log_pi
            add_surrogate_gradient(
                pi, a, ratio, tables.relative[i, j], hyperparameters.clip, share, gradient[s]
            )
            if hyperparameters.kl > 0.0 and not hyperparameters.kl_in_reward:
                weight, reference = hyperparameters.kl * share, tables.reference[i, s]
                add_kl_gradient(
                    hyperparameters.estimator, theta[s], reference, pi, a, weight, gradient[s]
                )
            figures[ENTROPY] += entropy_of(pi)
            figures[CLIPPED] += 1.0 if abs(ratio - 1.0) > hyperparameters.clip else 0.0
            figures[KL] += k3(log_pi - tables.log_probs[i, t])
            figures[REFERENCE_KL] += k3(away)
            t += 1


@kernel
def penalise(tables: GRPOTables, hyperparameters: GRPOHyperparameters, i: int) -> None:
    """Take β times the KL estimated from each step off the return of its episode."""
    t = 0
    for j in range(tables.lengths.shape[1]):
        weight = hyperparameters.kl
        for _ in range(tables.lengths[i, j]):
            s, a = tables.states[i, t], tables.actions[i, t]
            away = log_chance(tables.reference[i, s], a) - tables.log_probs[i, t]
            tables.returns[i, j] -= weight * kl_estimate(hyperparameters.estimator, away)
            weight *= hyperparameters.gamma
            t += 1


@kernel
def compute_advantages(tables: GRPOTables, hyperparameters: GRPOHyperparameters, i: int) -> None:
    """Compare the episodes of a complete group; the V that is only shown learns what followed."""
    if hyperparameters.kl > 0.0 and hyperparameters.kl_in_reward:
        penalise(tables, hyperparameters, i)
    figures, returns, v = tables.figures[i], tables.returns[i], tables.v[i]
    tables.mean[i], figures[SPREAD] = group_advantages(
        returns, hyperparameters.normalise, tables.relative[i]
    )
    equal = 1.0 if figures[SPREAD] == 0.0 else 0.0
    share = figures[ALL_EQUAL]
    figures[ALL_EQUAL] = equal if math.isnan(share) else share + MEMORY * (equal - share)
    end = tables.collected[i]
    for j in range(returns.size - 1, -1, -1):
        following = 0.0
        for t in range(end - 1, end - tables.lengths[i, j] - 1, -1):
            following = tables.rewards[i, t] + hyperparameters.gamma * following
            v[tables.states[i, t]] += AVERAGE * (following - v[tables.states[i, t]])
        end -= tables.lengths[i, j]


@kernel
def improve(
    tables: GRPOTables, hyperparameters: GRPOHyperparameters, agents: Agents, i: int, limits: Limits
) -> None:
    """All passes over one group. The figures are means over all of them."""
    figures, theta, gradient = tables.figures[i], tables.theta[i], tables.theta_gradient[i]
    m, v = tables.theta_m[i], tables.theta_v[i]
    for j in range(SPREAD):
        figures[j] = 0.0
    alpha = scheduled(hyperparameters.alpha, agents.steps[i])
    passes = 0
    for _ in range(hyperparameters.epochs):
        if agents.updates[i] >= limits.updates:
            break
        grpo_gradient(tables, hyperparameters, i)
        size = 0.0
        for o in range(gradient.shape[0]):
            adam_step(theta[o], gradient[o], m[o], v[o], agents.updates[i] + 1, alpha)
            size += square_of(gradient[o])
        figures[NORM] += math.sqrt(size)
        agents.updates[i] += 1
        passes += 1
    for j in range(SPREAD):
        figures[j] /= passes if j == NORM else passes * tables.collected[i]


@kernel
def note_group(
    tables: GRPOTables, hyperparameters: GRPOHyperparameters, steps: int, trace: Trace, i: int
) -> None:
    """Note what the passes did to each step of the group that ended at step count `steps`."""
    t = 0
    for j in range(tables.lengths.shape[1]):
        advantage, earned = tables.relative[i, j], tables.returns[i, j]
        for _ in range(tables.lengths[i, j]):
            s, a = tables.states[i, t], tables.actions[i, t]
            tables.advantages[i, s, a] = advantage
            t += 1
            if i == WATCHED:
                step = steps - tables.collected[i] + t
                note_update(trace, step, tables.mean[i], earned, 0.0, 0.0, advantage)
                note_policy(trace, step, tables.theta[i, s], math.nan)
    tables.groups[i] += 1
    if (
        hyperparameters.reference_every > 0
        and tables.groups[i] % hyperparameters.reference_every == 0
    ):
        for o in range(tables.theta.shape[1]):
            for a in range(tables.theta.shape[2]):
                tables.reference[i, o, a] = tables.theta[i, o, a]


@kernel
def join_group(env: StackedMDPs, tables: GRPOTables, agents: Agents, i: int) -> None:
    """Let the episode that has just begun start where, and in the world in which, its group does;
    the first one says where."""
    for w in range(env.from_step.size):
        if tables.began[i] < env.from_step[w] <= agents.steps[i]:  # the map has been replaced
            tables.members[i] = 0
    if tables.members[i] == 0:
        tables.collected[i], tables.began[i] = 0, agents.steps[i]
        tables.start[i], tables.world[i] = agents.state[i], agents.world[i]
    agents.state[i], agents.world[i] = tables.start[i], tables.world[i]


@kernel
def grpo(
    env: StackedMDPs,
    agents: Agents,
    tables: GRPOTables,
    hyperparameters: GRPOHyperparameters,
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
                join_group(env, tables, agents, i)
            s = env.observation[agents.state[i]]
            probabilities(tables.theta[i, s], pi)
            a, explored = draw_action(pi, random)
            landing, r, flags = move(env, agents, i, a)
            tables.visits[i, s, a] += 1
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    0.0, 0.0, 0.0, math.nan, 0.0, pi, pi,
                )  # fmt: skip
            k = tables.collected[i]
            tables.states[i, k], tables.actions[i, k], tables.rewards[i, k] = s, a, r
            tables.log_probs[i, k] = log_chance(tables.theta[i, s], a)
            tables.collected[i] = k + 1
            length = agents.time[i] + 1
            if finish_step(
                env, agents, i, landing, r, flags, explored, math.nan, hyperparameters.gamma
            ):
                j = tables.members[i]
                tables.lengths[i, j], tables.returns[i, j] = length, agents.earned[i, 0]
                tables.members[i] = j + 1
                if tables.members[i] == tables.lengths.shape[1]:
                    compute_advantages(tables, hyperparameters, i)
                    improve(tables, hyperparameters, agents, i, limits)
                    note_group(tables, hyperparameters, agents.steps[i], trace, i)
                    tables.members[i] = 0


class GRPO(PolicyAlgorithm):
    name = "grpo"
    title = "GRPO"
    settings = GRPOSettings
    source = "Shao et al. 2024, section 4.1, equations 3 and 4"
    update_name = "optimizer batch"
    idea = "Plays a group from one start and compares: the mean of the group replaces V."
    needs = "Starting again from the same state, and returns that differ."
    chosen_when = "Whole answers are scored, as for LLMs, and no value model shall be trained."
    with_llms = (
        "Suited, and made for them: answers to one prompt are compared with each other, so no "
        "value model is needed."
    )
    formula = (
        "maximise  1/G Σᵢ 1/|oᵢ| Σₜ [ min( ρ Â, clip(ρ, 1−ε, 1+ε) Â ) − β k(π, π_ref) ],   "
        "Âᵢ = (Gᵢ − mean G) / std G"
    )
    figure_names = (
        *("entropy", "clip_fraction", "approx_kl", "reference_kl", "policy_gradient_norm"),
        *("advantage_std", "equal_groups"),
    )
    kernel = staticmethod(grpo)

    def check(self, preset: Preset) -> None:
        assert isinstance(preset.algorithm, GRPOSettings)
        longest = max(maze.max_steps for _, maze in build_mazes(preset.maze))
        steps = preset.algorithm.group_size * longest
        check_kept_steps(preset, steps, "algorithm.group_size × maze.max_steps")

    def make_tables(self, settings: Any, size: Size) -> Any:
        group = (size.agents, settings.group_size)
        steps = (size.agents, settings.group_size * size.longest)
        return GRPOTables(
            **self.learned(size),
            **{name: np.zeros(size.agents, np.int64) for name in ("groups", "start", "world")},
            **{name: np.zeros(size.agents, np.int64) for name in ("began", "members", "collected")},
            lengths=np.zeros(group, np.int64),
            mean=np.zeros(size.agents),
            **{name: np.zeros(group) for name in ("returns", "relative")},
            **{name: np.zeros(steps, np.int32) for name in ("states", "actions")},
            **{name: np.zeros(steps) for name in ("rewards", "log_probs")},
            **{name: np.zeros(size.table) for name in ("reference", "theta_gradient")},
            **{name: np.zeros(size.table) for name in ("theta_m", "theta_v")},
        )

    def make_hyperparameters(self, settings: Any) -> Any:
        return GRPOHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            epochs=settings.epochs,
            clip=settings.clip,
            kl=settings.kl,
            estimator=get_args(KlEstimator).index(settings.estimator),
            kl_in_reward=settings.kl_in == "reward",
            reference_every=settings.reference_every,
            normalise=settings.normalise,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        if not step.probabilities_after:
            return Explanation(
                formula=self.formula,
                numbers=not_yet(step, "the group is complete"),
                words=f"{happened(step, actions)} GRPO plays the whole group of episodes from this "
                "start with the same π, and then compares their returns.",
            )
        numbers = (
            f"return of this episode {step.target:.4g},   mean of its group {step.before:.4g},   "
            f"difference {step.error:+.4g}\n"
            f"advantage used (over the group's std, if so set): {step.advantage_estimate:+.4g}, "
            "the same for every step of the episode\n"
            f"{moved_ratio(step, actions)}"
        )
        if step.advantage_estimate == 0.0 and step.error == 0.0:
            compared = "This episode returned exactly what its group did on average."
        else:
            better = "better" if step.error > 0 else "worse"
            compared = f"This episode did {better} than its group, and all its steps share that."
        words = (
            f"{happened(step, actions)} {compared} {verdict(step, actions)} "
            f"{ratio_story(step, actions)}"
        )
        return Explanation(formula=self.formula, numbers=numbers, words=words)


ALGORITHM = GRPO()
