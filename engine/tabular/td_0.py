"""TD(0) and n-step TD: what a given policy is worth. Sutton & Barto, section 6.1 (6.2), 7.1 (7.2).

Nothing is improved here: the agent follows the policy it is given and learns V, the return that
follows each state. n = 1 is TD(0); a larger n waits for n rewards before it relies on its own guess
at the rest; an n of at least `max_steps` is every-visit Monte Carlo prediction. When the time limit
truncates an episode, the waiting returns end with the estimate of where it struck; when the episode
terminates, nothing follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from engine.events import Step
from engine.learner import Learner
from engine.maze import ACTION_NAMES
from engine.presets import Preset
from engine.settings import TUNABLE, MovingSettings, Schedule
from engine.tabular.algorithm import Explanation
from engine.tabular.behaviour import ONE_OVER_N, schedule_knob, scheduled, step_size
from engine.tabular.compiling import kernel
from engine.tabular.environment import (
    TERMINAL,
    Agents,
    Env,
    Limits,
    begin_episode,
    finish_step,
    is_done,
    is_truncated,
    move,
)
from engine.tabular.moving import MovingAlgorithm, Size
from engine.tabular.returns import check_kept_steps, compute_returns, explain_waiting
from engine.tabular.rng import uniform
from engine.tabular.trace import WATCHED, Trace, note, note_update

Array = np.ndarray[Any, np.dtype[Any]]


class TD0Settings(MovingSettings, frozen=True, kw_only=True, tag="td-0"):
    """TD(0): learns what a given policy is worth, without improving it."""

    policy: Annotated[
        Literal["random", "optimal"] | dict[str, Annotated[float, Meta(ge=0.0, le=1.0)]],
        Meta(
            description="the policy that is followed and judged: random, optimal (of the first "
            "map), or the chance of each action, such as {left = 0.5, right = 0.5}"
        ),
    ] = "random"
    n: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="how many rewards each update waits for; 1 is TD(0), max_steps or more is "
            "Monte Carlo",
        ),
    ] = 1
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0.0, le=1.0)] | Schedule | Literal["1/n"],
        Meta(
            description="step size α: how far each update moves towards its target; a number, a "
            'schedule, or "1/n" (one over the updates of the state)',
            extra_json_schema=TUNABLE,
        ),
    ] = 0.1
    initial_value: Annotated[float, Meta(description="V at the start")] = 0.0


class ValueTables(NamedTuple):
    """What is learned, and the last n steps (step t of the episode at t % n)."""

    values: Array  # [N,O] float64
    learned: Array  # [N,O] int64: how often each value was updated
    visits: Array  # [N,O,A] int64: how often each action was taken
    policy: Array  # [N,O,A] float64: the given one
    observations: Array  # [N,n] int64
    rewards: Array  # [N,n] float64
    returns: Array  # [N,n] float64


class ValueKnobs(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.schedule_knob


@kernel
def drawn_action(chances: Array, random: Array) -> int:
    """An action drawn from π(·|o) [A]; never one without a chance."""
    left = uniform(random)
    last = 0
    for a in range(chances.size):
        if chances[a] > 0.0:
            left -= chances[a]
            last = a
            if left < 0.0:
                break
    return last


@kernel
def td_0(
    env: Env, agents: Agents, tables: ValueTables, knobs: ValueKnobs, trace: Trace, limits: Limits
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = knobs.gamma
    n = tables.rewards.shape[1]
    for i in range(agents.state.size):
        v, learned, policy = tables.values[i], tables.learned[i], tables.policy[i]
        observations, random = tables.observations[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a = drawn_action(policy[s], random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            tables.visits[i, s, a] += 1
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, False, r, landing, flags, -1,
                    v[s], v[s], 0.0, math.nan, 0.0, policy[s], policy[s2],
                )  # fmt: skip

            t = agents.time[i]
            observations[t % n], tables.rewards[i, t % n] = s, r
            future = 0.0 if flags & TERMINAL else v[s2]
            over = (flags & TERMINAL) != 0 or is_truncated(env, agents, i, flags)
            oldest = max(t - n + 1, 0)
            newest = t if over else t - n + 1  # steps oldest … newest can be learned from now
            if newest >= 0:
                compute_returns(tables.rewards[i], oldest, t, gamma, future, tables.returns[i])
            surprise = 0.0
            for tau in range(oldest, newest + 1):
                if agents.updates[i] >= limits.updates:
                    break
                s0, target = observations[tau % n], tables.returns[i, tau % n]
                learned[s0] += 1
                alpha = step_size(knobs.alpha, agents.steps[i], learned[s0])
                error = target - v[s0]
                if i == WATCHED:
                    count = agents.steps[i] + 1 - (t - tau)
                    note_update(trace, count, v[s0], target, alpha, future, math.nan)
                v[s0] += alpha * error  # V(Sτ) ← V(Sτ) + α [G_τ:τ+n − V(Sτ)]  (7.2; n = 1: 6.2)
                surprise += abs(error)
                agents.updates[i] += 1

            finish_step(env, agents, i, landing, r, flags, False, surprise, gamma)


class TD0(MovingAlgorithm):
    name = "td-0"
    title = "TD(0) prediction"
    settings = TD0Settings
    source = "Sutton & Barto, section 6.1, equation 6.2; n-step: section 7.1, equation 7.2"
    family = "prediction"
    policy_type = "on-policy"
    behaviour_policy = "the given policy"
    target_policy = "the given policy, which it judges and never changes"
    formula = "V(s) ← V(s) + α [ r + γ V(s′) − V(s) ]   (n > 1: n rewards, then γⁿ V)"
    idea = "Judges a policy instead of improving it: each guess learns from the next one."
    needs = "A policy to judge."
    chosen_when = "It shall be known what a policy is worth; it is the critic inside other methods."
    kernel = staticmethod(td_0)

    def check(self, preset: Preset) -> None:
        from engine.tabular.prediction import check_prediction

        assert isinstance(preset.algorithm, TD0Settings)
        check_kept_steps(preset, preset.algorithm.n, "algorithm.n")
        check_prediction(preset)

    def make_learner(self, preset: Preset) -> Learner:
        from engine.tabular.prediction import PredictionLearner

        return PredictionLearner(preset, self)

    def make_tables(self, settings: Any, size: Size) -> Any:
        ring = (size.agents, min(settings.n, size.longest))
        return ValueTables(
            values=np.full(size.table[:2], float(settings.initial_value)),
            learned=np.zeros(size.table[:2], np.int64),
            visits=np.zeros(size.table, np.int64),
            policy=np.zeros(size.table),  # filled in by the learner, which knows the maze
            observations=np.zeros(ring, np.int64),
            rewards=np.zeros(ring),
            returns=np.zeros(ring),
        )

    def make_knobs(self, settings: Any) -> Any:
        return ValueKnobs(gamma=settings.gamma, alpha=schedule_knob(settings.learning_rate))

    def behaviour(self, tables: Any, knobs: Any, step: int) -> Array:
        policy: Array = tables.policy
        return policy

    def target(self, tables: Any, knobs: Any, step: int) -> Array:
        return self.behaviour(tables, knobs, step)

    def greedy(self, tables: Any) -> Array:
        """The given policy: V alone, without a model, does not say which action looks best."""
        policy: Array = tables.policy
        return policy

    def state_values(self, tables: Any, target: Array) -> Array:
        values: Array = tables.values
        return values

    def knob_metrics(self, knobs: Any, step: int) -> dict[str, float]:
        if knobs.alpha[0] == ONE_OVER_N:
            return {}
        return {"learning_rate": scheduled(knobs.alpha, step)}

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        words = f"The given policy drew {actions[step.action]}. It was paid {step.reward:.4g}"
        words += ", and the episode ended." if step.terminated else "."
        if step.truncated:
            words += " The time limit cut the episode here; that is not an end."
        wait = "first n rewards must come in (or the episode must end)"
        return explain_waiting(self.formula, step, "V(s)", wait, words)


ALGORITHM = TD0()
