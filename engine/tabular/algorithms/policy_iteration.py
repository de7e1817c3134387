"""Policy iteration: what is this policy worth, and which action is better? Again and again.

Sutton & Barto, section 4.3, the box "Policy Iteration (using iterative policy evaluation)". The
first policy takes every action with the same probability. Differences from the box:

- An action is replaced only by one that is better by more than the tolerance. The box may go round
  for ever between equally good actions (their exercise 4.4); this cannot, because evaluation starts
  where it stopped, so what is left of its error, and could pass for a difference, dies out.
- Evaluation stops after `evaluation_sweeps` sweeps even if values still change: without discounting
  a policy that never ends an episode has no finite value. Such a round improves all the same, but
  the run ends only after one whose evaluation was complete.

Without discounting, staying for ever where nothing is paid is not discovered as an alternative: it
never looks strictly better than what it is compared with.

The clock counts sweeps; an update is an improvement round. S states, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import AlgorithmSettings
from engine.core import compiling
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import highest
from engine.tabular.kernels.planning import (
    Model,
    PlanningAlgorithm,
    SweepTrace,
    expected_values,
    note_backup,
)

PHASE, SWEEPS, KNOWN, ROUNDS, SWITCHED = range(5)  # columns of PolicyTables.progress
EVALUATION, EVALUATING, IMPROVEMENT = range(3)
"""The coming sweep: the first of an evaluation, another one of it, or one of improvement."""


class PolicyIterationSettings(AlgorithmSettings, frozen=True, kw_only=True, tag="policy-iteration"):
    """Policy iteration: knows the rules; evaluates a policy and improves it, in turns."""

    tolerance: Annotated[
        float,
        Meta(
            gt=0.0,
            description="a policy is evaluated until no value changed by more than this in a sweep "
            "(Sutton & Barto's θ)",
        ),
    ] = 1e-10
    evaluation_sweeps: Annotated[
        int,
        Meta(
            ge=1,
            description="at most so many sweeps of evaluation before the policy is improved (1 "
            "makes it value iteration, almost)",
        ),
    ] = 1000


class PolicyTables(NamedTuple):
    """What is computed."""

    values: Array  # [S] float64
    q: Array  # [S,A] float64: the action values as the newest backup of each state saw them
    visits: Array  # [S] int64: how often each state was evaluated
    policy: Array  # [S,A] float64: π(a|s)
    progress: Array  # [5] int64: coming phase, sweeps of this evaluation so far, whether it is
    # complete, rounds so far, states whose action the last one changed


@kernel
def evaluate(
    model: Model, tables: PolicyTables, gamma: float, trace: SweepTrace, sweep: int
) -> float:
    """Part 2 of the box: one sweep of policy evaluation, in place; returns the largest change."""
    largest = 0.0
    for j in range(model.states.size):
        s = model.states[j]
        q = tables.q[s]
        expected_values(model, tables.values, gamma, s, q)
        value = 0.0
        for a in range(q.size):
            value += tables.policy[s, a] * q[a]
        note_backup(trace, s, tables.values[s], value, 1.0, sweep)
        largest = max(largest, abs(value - tables.values[s]))
        tables.values[s] = value  # V(s) ← Σ_a π(a|s) Σ p(s',r|s,a) [r + γ V(s')]  (4.5)
        tables.visits[s] += 1
    return largest


@kernel
def improve(
    model: Model,
    tables: PolicyTables,
    gamma: float,
    tolerance: float,
    trace: SweepTrace,
    sweep: int,
) -> float:
    """Part 3 of the box: policy improvement; returns the largest gain."""
    largest = 0.0
    tables.progress[SWITCHED] = 0
    for j in range(model.states.size):
        s = model.states[j]
        q = tables.q[s]
        expected_values(model, tables.values, gamma, s, q)
        value = 0.0
        for a in range(q.size):
            value += tables.policy[s, a] * q[a]
        best = highest(q)
        better = best - value > tolerance * max(1.0, abs(best))
        note_backup(trace, s, value, best if better else value, 0.0, sweep)
        if better:
            largest = max(largest, best - value)
            tables.progress[SWITCHED] += 1
            found = False
            for a in range(q.size):  # π(s) ← argmax_a Σ p(s',r|s,a) [r + γ V(s')]  (4.9)
                tables.policy[s, a] = 1.0 if q[a] == best and not found else 0.0
                found = found or q[a] == best
    return largest


@kernel
def policy_iteration(
    model: Model,
    tables: PolicyTables,
    gamma: float,
    tolerance: float,
    most_sweeps: int,
    trace: SweepTrace,
    sweep: int,
) -> float:
    """One sweep: of evaluation until the policy's values are known, then one of improvement."""
    progress = tables.progress
    if progress[PHASE] == IMPROVEMENT:
        gain = improve(model, tables, gamma, tolerance, trace, sweep)
        progress[ROUNDS] += 1
        progress[PHASE] = EVALUATION
        return gain
    if progress[PHASE] == EVALUATION:
        progress[SWEEPS] = 0
        progress[PHASE] = EVALUATING
    change = evaluate(model, tables, gamma, trace, sweep)
    progress[SWEEPS] += 1
    progress[KNOWN] = change <= tolerance
    if progress[KNOWN] or progress[SWEEPS] >= most_sweeps:
        progress[PHASE] = IMPROVEMENT
    return change


class PolicyIteration(PlanningAlgorithm):
    name = "policy-iteration"
    title = "Policy iteration"
    settings = PolicyIterationSettings
    source = "Sutton & Barto, section 4.3, the box of Policy Iteration"
    target_policy = "the policy computed so far"
    update_name = "improvement round"
    formula = (
        "evaluate: V(s) ← Σ π(a|s) Σ p(s′,r|s,a) [ r + γ V(s′) ]\n"
        "improve:  π(s) ← argmax_a Σ p(s′,r|s,a) [ r + γ V(s′) ]"
    )
    idea = "Evaluates a whole policy, then makes it greedy on its own values: a few rounds suffice."
    needs = "The rules: every probability and reward."
    chosen_when = "The rules are known, and exact answers are wanted after few improvements."
    with_llms = (
        "Not as it stands, for its sweeps visit every state. Its two halves live on in MPO: work "
        "out a better policy, then fit the model to it."
    )
    kernel = staticmethod(policy_iteration)

    def make_tables(self, states: int, actions: int) -> PolicyTables:
        return PolicyTables(
            values=np.zeros(states),
            q=np.zeros((states, actions)),
            visits=np.zeros(states, np.int64),
            policy=np.full((states, actions), 1.0 / actions),
            progress=np.zeros(5, np.int64),
        )

    def sweep(
        self, model: Model, tables: Any, settings: Any, trace: SweepTrace, number: int
    ) -> float:
        run = compiling.compiled(self.kernel)
        gamma, tolerance, most = settings.gamma, settings.tolerance, settings.evaluation_sweeps
        return float(run(model, tables, gamma, tolerance, most, trace, number))

    def settled(self, tables: Any, settings: Any, change: float) -> bool:
        progress = tables.progress
        return bool(self.milestone(tables) and progress[KNOWN] and progress[SWITCHED] == 0)

    def restart(self, tables: Any) -> None:
        tables.progress[PHASE] = EVALUATION

    def updates(self, tables: Any, sweeps: int) -> int:
        return int(tables.progress[ROUNDS])

    def milestone(self, tables: Any) -> bool:
        """Whether the newest sweep was one of improvement."""
        return bool(tables.progress[PHASE] == EVALUATION and tables.progress[ROUNDS] > 0)

    def policy(self, tables: Any, q: Array) -> Array:
        policy: Array = tables.policy
        return policy

    def metrics(self, tables: Any) -> dict[str, float]:
        progress = tables.progress
        return {
            "evaluation_sweeps": float(progress[SWEEPS]),
            "policy_changes": float(progress[SWITCHED]),
        }

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        offers = "\n".join(
            f"  {name}: r + γ V(s′), averaged over where the ice may take you = {value:.4g}"
            f"   (π takes it with probability {chance:.3g})"
            for name, value, chance in zip(actions, step.values, step.probabilities, strict=True)
        )
        if step.step_size:
            change = f"it changed by {step.error:+.4g}" if step.error else "it did not change"
            return Explanation(
                formula=self.formula,
                numbers=f"{offers}\nV(s) ← their mean under π = {step.after:.4g}   "
                f"(it was {step.before:.4g})",
                words=(
                    f"A sweep of evaluation: nobody moved, and the policy stayed as it is. What it "
                    f"does in cell {step.state} is worth {step.after:.4g} as far as is known; "
                    f"{change} in this sweep."
                ),
            )
        verdict = (
            f"{actions[step.action]} is worth {step.error:.4g} more than what the policy did"
            if step.error > 0
            else "nothing is better than what the policy does already"
        )
        return Explanation(
            formula=self.formula,
            numbers=f"{offers}\nwhat π did = {step.before:.4g}, what it will do = "
            f"{step.target:.4g}, gain = {step.error:+.4g}",
            words=(
                f"A sweep of improvement: values stay, the policy changes. In cell {step.state} "
                f"{verdict}."
            ),
        )


ALGORITHM = PolicyIteration()
