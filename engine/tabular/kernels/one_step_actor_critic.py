"""One-step actor-critic, with tables or with features: its step sizes, and one update in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from engine.config.algorithm import TUNABLE, TableStepSize
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation
from engine.learning.events import Step
from engine.tabular.kernels.policy_table import (
    PolicyAlgorithm,
    PolicySettings,
    StepSize,
    happened,
    moved_chance,
    verdict,
)


class OneStepSettings(PolicySettings, frozen=True, kw_only=True):
    """The step sizes of an actor and its critic."""

    learning_rate: Annotated[
        StepSize,
        Meta(
            description="α: step size of the actor's logits θ; a number or a schedule",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.3
    value_learning_rate: Annotated[
        TableStepSize,
        Meta(
            description="step size of the critic's V; a number or a schedule",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.2


class OneStepActorCritic(PolicyAlgorithm):
    """A method that updates actor and critic after every step by the TD error of the critic."""

    figure_names: tuple[str, ...] = ("entropy", "value_loss", "policy_gradient_norm")

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        if step.terminated:
            target = f"target = r = {step.target:.4g}   (the episode ended: nothing follows)"
        else:
            target = (
                f"target = {step.paid:.4g} + {step.gamma:g} × {step.bootstrap:.4g} "
                f"= {step.target:.4g}"
            )
        chance = step.probabilities[step.action]
        push = step.policy_step_size * step.gamma**step.t * step.error * (1.0 - chance)
        numbers = (
            f"{target}\n"
            f"δ = target − V(s) = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}\n"
            f"critic: V(s) ← {step.before:.4g} + {step.step_size:.4g} × ({step.error:+.4g}) "
            f"= {step.after:.4g}\n"
            f"actor: θ(s,a) moves by {step.policy_step_size:.4g} × {step.gamma:g}^{step.t} × "
            f"({step.error:+.4g}) × (1 − {chance:.4g}) = {push:+.4g}\n"
            f"{moved_chance(step, actions)}"
        )
        surprise = "better" if step.error > 0 else "worse" if step.error < 0 else "neither better"
        than = " than the critic expected" if step.error else " nor worse than the critic expected"
        cut = " The time limit is no end, so the critic still looks ahead." * step.truncated
        words = (
            f"{happened(step, actions)}{cut} That was {surprise}{than}: δ serves as the advantage. "
            f"{verdict(step, actions)}"
        )
        return Explanation(formula=self.formula, numbers=numbers, words=words)
