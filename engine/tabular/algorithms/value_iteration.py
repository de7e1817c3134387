"""Value iteration: dynamic programming on the known model. Sutton & Barto, section 4.4, (4.10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from engine.config.algorithm import AlgorithmSettings
from engine.core import compiling
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.behaviour import highest
from engine.tabular.kernels.planning import (
    Model,
    PlanningAlgorithm,
    PlanTables,
    SweepTrace,
    expected_values,
    note_backup,
)


class ValueIterationSettings(AlgorithmSettings, frozen=True, kw_only=True, tag="value-iteration"):
    """Value iteration: knows the rules of the ice and computes the optimal values from them."""

    tolerance: Annotated[
        float,
        Meta(
            gt=0.0,
            description="stop when no value changed by more than this in a sweep "
            "(Sutton & Barto's θ)",
        ),
    ] = 1e-10


@kernel
def value_iteration(
    model: Model, tables: PlanTables, gamma: float, trace: SweepTrace, sweep: int
) -> float:
    """One sweep over all states, in place; returns the largest change."""
    largest = 0.0
    for j in range(model.states.size):
        s = model.states[j]
        expected_values(model, tables.values, gamma, s, tables.q[s])
        best = highest(tables.q[s])
        note_backup(trace, s, tables.values[s], best, 1.0, sweep)
        largest = max(largest, abs(best - tables.values[s]))
        tables.values[s] = best  # V(s) ← max_a Σ p(s',r|s,a) [r + γ V(s')]  (4.10)
        tables.visits[s] += 1
    return largest


class ValueIteration(PlanningAlgorithm):
    name = "value-iteration"
    title = "Value iteration"
    idea = "Makes the Bellman optimality equation an assignment, repeated until nothing changes."
    needs = "The rules: every probability and reward."
    chosen_when = "The rules are known, and the states are few enough to sweep."
    with_llms = (
        "Not suited: every sweep backs up every state, and of texts of 20 tokens alone there are "
        "some 10⁹⁴. That a token is added to the text is known anyway; what is not known is the "
        "reward."
    )
    settings = ValueIterationSettings
    source = "Sutton & Barto, section 4.4, equation 4.10"
    target_policy = "greedy on V"
    update_name = "sweep"
    formula = "V(s) ← max_a Σ p(s′,r|s,a) [ r + γ V(s′) ]"
    kernel = staticmethod(value_iteration)

    def sweep(
        self, model: Model, tables: Any, settings: Any, trace: SweepTrace, number: int
    ) -> float:
        run = compiling.compiled(self.kernel)
        return float(run(model, tables, settings.gamma, trace, number))

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        offers = "\n".join(
            f"  {name}: r + γ V(s′), averaged over where the ice may take you = {value:.4g}"
            for name, value in zip(actions, step.values, strict=True)
        )
        change = f"it changed by {step.error:+.4g}" if step.error else "it did not change"
        return Explanation(
            formula=self.formula,
            numbers=f"{offers}\nV(s) ← max = {step.after:.4g}   (it was {step.before:.4g})",
            words=(
                f"Nobody moved. From the rules alone, the best that cell {step.state} offers is "
                f"{actions[step.action]}, worth {step.after:.4g}; {change} in this sweep. "
                "Values flow backwards from the prize, a little further in each sweep."
            ),
        )


ALGORITHM = ValueIteration()
