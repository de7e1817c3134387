"""Surrogates: what is maximised, as a function of the ratio ρ, the advantage A and log π.

Each has two forms: per token (`gain`), and for a policy table whose steps have been gathered by
(state, action), with the advantages of both signs apart (`gathered`). Torch is not imported here: a
screen that lists the algorithms would wait for it. Shapes: `O` states, `A` actions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Clip(NamedTuple):
    """How far below and above 1 a ratio may go; DAPO's clip-higher is Clip(0.2, 0.28)."""

    low: float = 0.2
    high: float = 0.2

    def of(self, ratio: Tensor) -> Tensor:
        """clip(ρ, 1 − ε_low, 1 + ε_high)."""
        return ratio.clamp(1 - self.low, 1 + self.high)


class ClipMask(NamedTuple):
    """Where the clip binds: masks of the ratio's shape."""

    low: Tensor  # under 1 − ε_low
    high: Tensor  # over 1 + ε_high


class Surrogate(ABC):
    """One term of an objective; one of those below."""

    clip: Clip | None
    at_first: ClassVar[str]
    """What the loss is on the first pass over a batch, where ρ = 1."""

    @abstractmethod
    def gain(self, ratio: Tensor, log_p: Tensor, advantage: Tensor) -> Tensor:
        """The term of each token; any one shape."""

    @abstractmethod
    def gathered(self, ratio: Tensor, log_pi: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The sum of the terms of all steps of each (state, action), [O, A].

        `positive` and `negative` [O, A] are Σ weight · A over steps with A > 0 and with A < 0.
        """

    @abstractmethod
    def clipped(self, ratio: Tensor, advantage: Tensor) -> ClipMask:
        """The terms in which the clip binds: without it they would be others. Of `advantage` only
        the sign matters. (TRL's clip_ratio, verl's pg_clipfrac.)"""

    def outside(self, ratio: Tensor) -> Tensor:
        """Where the ratio lies outside the clip's range, whether it binds there or not; nowhere
        without a clip. (The clip_fraction of Stable-Baselines3, CleanRL and Spinning Up.)"""
        if self.clip is None:
            return ratio < 0  # no ratio is
        return (ratio < 1 - self.clip.low) | (ratio > 1 + self.clip.high)


@dataclass(frozen=True)
class ClippedRatio(Surrogate):
    """min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A). Schulman et al. 2017 (PPO), eq. 7.

    A term in which the clip binds has no gradient.
    """

    clip: Clip
    at_first = "minus the mean advantage"

    def gain(self, ratio: Tensor, log_p: Tensor, advantage: Tensor) -> Tensor:
        return (ratio * advantage).minimum(self.clip.of(ratio) * advantage)

    def gathered(self, ratio: Tensor, log_pi: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        # min(ρA, clip(ρ)A) is A·min(ρ, 1 + ε_high) for A > 0 and A·max(ρ, 1 − ε_low) for A < 0.
        above = positive * ratio.clamp(max=1 + self.clip.high)
        below = negative * ratio.clamp(min=1 - self.clip.low)
        return above + below

    def clipped(self, ratio: Tensor, advantage: Tensor) -> ClipMask:
        return ClipMask(
            low=(ratio < 1 - self.clip.low) & (advantage < 0),
            high=(ratio > 1 + self.clip.high) & (advantage > 0),
        )


@dataclass(frozen=True)
class ClippedWeight(Surrogate):
    """sg(clip(ρ, 1 − ε_low, 1 + ε_high)) A log π. MiniMax 2025 (CISPO), eqs. 4 and 5.

    The clipped ratio is a weight without gradient (sg), so that no term loses its own. It clips
    terms of both signs alike.
    """

    clip: Clip
    at_first = "minus the mean of advantage times ln π"

    def gain(self, ratio: Tensor, log_p: Tensor, advantage: Tensor) -> Tensor:
        return self.clip.of(ratio).detach() * advantage * log_p

    def gathered(self, ratio: Tensor, log_pi: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return self.gain(ratio, log_pi, positive + negative)

    def clipped(self, ratio: Tensor, advantage: Tensor) -> ClipMask:
        taught = advantage != 0
        return ClipMask(
            low=(ratio < 1 - self.clip.low) & taught, high=(ratio > 1 + self.clip.high) & taught
        )


@dataclass(frozen=True)
class LogProbability(Surrogate):
    """A log π, without a ratio. Williams 1992 (REINFORCE)."""

    clip: None = None
    at_first = "minus the mean of advantage times ln π"

    def gain(self, ratio: Tensor, log_p: Tensor, advantage: Tensor) -> Tensor:
        return advantage * log_p

    def gathered(self, ratio: Tensor, log_pi: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return (positive + negative) * log_pi

    def clipped(self, ratio: Tensor, advantage: Tensor) -> ClipMask:
        never = ratio < 0  # no ratio is
        return ClipMask(never, never)
