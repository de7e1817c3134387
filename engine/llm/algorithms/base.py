"""What the file of an algorithm for language models says about itself, and what a learner asks.

An algorithm is put together from typed parts: how returns become advantages (`advantages`), which
ratio to the old policy it takes (`ratios`), what it maximises (`surrogates`), and what a token
weighs (`normalisers`). Whoever takes a gradient asks for `token_loss` or `table_loss` and need not
know which algorithm it is.

Shapes: `B` episodes (completions) in groups of `G`, `T` tokens, `O` observations, `A` actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, NamedTuple, TypeVar

from numpy.typing import ArrayLike

from engine.config.algorithm import Schedule
from engine.config.llm import GroupSettings, LlmSettings
from engine.core.arrays import Floats
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Algorithm, Explanation
from engine.learning.events import Step
from engine.llm.algorithms.normalisers import Normaliser
from engine.llm.algorithms.ratios import Ratio
from engine.llm.algorithms.surrogates import Clip, Surrogate

if TYPE_CHECKING:
    from engine.llm.algorithms.losses import Loss, TableBatch, TokenBatch

S = TypeVar("S", bound=LlmSettings)
G = TypeVar("G", bound=GroupSettings)
Policy = Literal["action", "route", "text"]
Scale = Literal["none", "global", "state"]


class StateCredit(NamedTuple):
    """How moves are compared with what else was tried in the same state."""

    decay: float  # what earlier updates' estimates keep of their weight
    scale: Scale = "global"  # over which root mean square advantages are divided


class Critic(NamedTuple):
    """How a value head is trained and used."""

    gae_lambda: float
    learning_rate: float
    clip: float


class Improvement(NamedTuple):
    """MPO's E-step, see `losses.mpo_target`; the floor's schedule counts updates."""

    eta: float
    floor: float | Schedule


class LlmAlgorithm(Algorithm, Generic[S]):
    """One algorithm for language models, with settings `S`. Its file names the instance
    `ALGORITHM`."""

    family = "policy"
    policy_type: ClassVar[Literal["on-policy", "off-policy", "none"]] = "on-policy"
    behaviour_policy = "samples from π, the model's own probabilities"
    target_policy = "π at temperature 1"
    update_name = "update"
    comes_from: ClassVar[tuple[str, ...]] = ()
    """The algorithms for tables it is, or grew from."""
    normaliser: ClassVar[Normaliser]
    """What each token (or move) of a batch weighs."""
    ratio: ClassVar[Ratio]
    """Which ratio to the policy before the update's first step the surrogate is taken of."""
    fits_table: ClassVar[bool] = False
    """Whether it fits the model to a better policy table (MPO) instead of following a gradient."""
    has_critic: ClassVar[bool] = False
    """Whether a value head is trained beside the policy."""
    group_centred: ClassVar[bool] = False
    """Whether the weighted advantages of each group add up to 0, whatever the lengths: then the
    loss of a first pass is 0."""
    policies: ClassVar[tuple[Policy, ...]] = ("action", "route")
    """What it can train, see `model.policy`."""
    why_not: ClassVar[str] = ""
    """Why it trains no others, to be read behind a colon; nothing where that goes without saying.
    """

    # ------------------------------------------------------------ its parts

    def advantages(self, returns: ArrayLike, settings: S) -> Floats:
        """Advantages [B/G, G] of returns [B/G, G]."""
        raise AssertionError(f"{type(self).__name__} must say how it judges returns")

    def surrogate(self, settings: S) -> Surrogate:
        """What is maximised."""
        raise AssertionError(f"{type(self).__name__} follows no gradient of a surrogate")

    def clip(self, settings: S) -> Clip | None:
        """The clip of the ratio; None for methods without one."""
        return self.surrogate(settings).clip

    def group_size(self, settings: S) -> int:
        """How many episodes are compared with each other: those of a group, or the whole batch."""
        return settings.episodes

    def same_start(self, settings: S) -> int:
        """How many episodes answer one question: a group, or 1 where each begins anew."""
        return 1

    def draws(self, settings: S) -> int:
        """How often groups are drawn, at most, until enough of them differ in themselves."""
        return 1

    def overlong(self, settings: S) -> int:
        """The last so many tokens (or moves) before the limit that cost something."""
        return 0

    def state_credit(self, settings: S) -> StateCredit | None:
        """How moves are judged state by state; None where by their episode or a value head."""
        return None

    def credit_by_state(self, settings: S) -> bool:
        """Whether moves are compared with what else was tried in the same state."""
        return self.state_credit(settings) is not None

    def critic(self, settings: S) -> Critic | None:
        """The settings of its value head, if `has_critic`."""
        return None

    def improvement(self, settings: S) -> Improvement | None:
        """How the table is improved that the model is fitted to, if `fits_table`."""
        return None

    # ------------------------------------------------------------ its losses

    def token_loss(self, batch: TokenBatch, settings: S, entropy: float) -> Loss:
        """The loss of completions [B, T]; `entropy` is the weight of the bonus now."""
        from engine.llm.algorithms.losses import token_loss  # torch takes a second to import

        kl = settings.kl if settings.kl_in == "loss" else 0.0
        estimator = settings.estimator(moves_known=False)
        return token_loss(batch, self.surrogate(settings), self.ratio, kl, entropy, estimator)

    def table_loss(self, batch: TableBatch, settings: S, entropy: float) -> Loss:
        """The loss of a policy table [O, A] and the steps taken; every step is a completion of one
        token, for which all ratios are the same."""
        from engine.llm.algorithms.losses import table_loss  # torch takes a second to import

        kl = settings.kl if settings.kl_in == "loss" else 0.0
        estimator = settings.estimator(moves_known=True)
        return table_loss(batch, self.surrogate(settings), kl, entropy, estimator)

    # ------------------------------------------------------------ its words

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


class GroupAlgorithm(LlmAlgorithm[G]):
    """One that compares the episodes of a group with each other."""

    def group_size(self, settings: G) -> int:
        return settings.group_size

    def same_start(self, settings: G) -> int:
        return settings.group_size

    def state_credit(self, settings: G) -> StateCredit | None:
        return StateCredit(settings.decay) if settings.credit == "state" else None
