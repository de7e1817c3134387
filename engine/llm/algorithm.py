"""What the file of an algorithm for language models says about itself, and what a learner asks.

Shapes: `B` episodes (completions) in groups of `G`, `W` worlds, `O` observations, `A` actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import ArrayLike

from engine.config.llm import GroupSettings
from engine.core.arrays import Floats
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Algorithm, Explanation
from engine.learning.events import Step

if TYPE_CHECKING:
    from engine.llm.losses import Clip


class LlmAlgorithm(Algorithm):
    """One algorithm for language models. Its file names the instance `ALGORITHM`."""

    family = "policy"
    policy_type: ClassVar[Literal["on-policy", "off-policy", "none"]] = "on-policy"
    behaviour_policy = "samples from π, the model's own probabilities"
    target_policy = "π at temperature 1"
    update_name = "update"
    comes_from: ClassVar[tuple[str, ...]] = ()
    """The algorithms for tables it is, or grew from."""
    weighting: ClassVar[str]
    """How the terms of a batch are weighed, see `advantages.sequence_weights`."""
    fits_table: ClassVar[bool] = False
    """Whether it fits the model to a better policy table (MPO) instead of following a gradient."""
    has_critic: ClassVar[bool] = False
    """Whether a value head is trained beside the policy."""
    policies: ClassVar[tuple[str, ...]] = ("action", "plan")

    def advantages(self, returns: ArrayLike, settings: Any) -> Floats:
        """Advantages [B/G, G] of returns [B/G, G]."""
        raise AssertionError(f"{type(self).__name__} must say how it judges returns")

    def clip(self, settings: Any) -> Clip | None:
        """The clip of the ratio; None for methods without one."""
        if not hasattr(settings, "clip_low"):
            return None
        from engine.llm.losses import Clip

        return Clip(settings.clip_low, settings.clip_high)

    def group_size(self, settings: Any) -> int:
        """How many episodes are compared with each other."""
        return settings.group_size if isinstance(settings, GroupSettings) else settings.episodes

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        chances = step.probabilities
        if not chances:
            return Explanation(
                formula=self.formula,
                numbers=f"return of this route {step.target:.4g},   group mean {step.before:.4g}",
                words="The model wrote this move as part of a whole route; the route as a whole is "
                "rewarded, and every token of it gets the same advantage.",
            )
        name = actions[step.action]
        chance, played = chances[step.action], math.exp(step.log_prob)
        # Where a share of the moves is random, what was played is not π but a mixture.
        mixed = abs(played - chance) > 1e-6
        how = f"played with b({name}) = {played:.4f}" if mixed else f"ln π = {step.log_prob:.4f}"
        numbers = (
            f"π({name}) = {chance:.4f},   {how}\n"
            f"return {step.target:.4g},   compared with {step.before:.4g},   "
            f"advantage used {step.advantage_estimate:+.4g}"
        )
        words = f"The model gave {name} a probability of {chances[step.action]:.1%} and played it. "
        if step.advantage_estimate > 0:
            words += "What followed was better than what it is compared with"
        elif step.advantage_estimate < 0:
            words += "What followed was worse than what it is compared with"
        else:
            words += "What followed was just what it is compared with, so nothing is learned here"
        if step.probabilities_after:
            after = step.probabilities_after[step.action]
            numbers += f"\nafter the update: π({name}) = {after:.4f}"
            words += (
                f"; the update of all the episodes together moved it from "
                f"{chances[step.action]:.1%} to {after:.1%}."
            )
        else:
            words += "."
        return Explanation(formula=self.formula, numbers=numbers, words=words)
