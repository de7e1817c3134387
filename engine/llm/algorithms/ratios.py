"""Importance ratios ρ = π / π_old of completions: of each token, or of the whole.

An algorithm names one of the constants below. In a policy table every step is a completion of one
token, for which all of them are the same ratio. Torch is not imported here: a screen that lists
the algorithms would wait for it. Shapes: `B` completions, `T` tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOST = 30.0
"""Largest log-ratio that is exponentiated: float32 overflows at 88."""


@dataclass(frozen=True)
class Ratio:
    """How the ratio of each token is formed; one of those below."""

    title: str
    log: Callable[[Tensor, Tensor], Tensor]
    """The log-ratio, of each token [B, T] or of each completion [B, 1], given log π − log π_old of
    each token [B, T], 0 behind the ends, and the mask of the tokens [B, T]."""
    one_action: bool = False
    """Whether the whole completion is one action and its surrogate one term, which its tokens share
    equally."""

    def __call__(self, moved: Tensor, used: Tensor) -> Tensor:
        """ρ [B, T]."""
        return self.log(moved, used).clamp(max=MOST).exp().expand_as(moved)


def _whole(moved: Tensor, used: Tensor) -> Tensor:
    return moved.sum(1, keepdim=True)


def _mean(moved: Tensor, used: Tensor) -> Tensor:
    return moved.sum(1, keepdim=True) / used.sum(1, keepdim=True).clamp(min=1)


TOKEN = Ratio("of each token", lambda moved, used: moved)
"""ρ_{i,t} = π(o_t | …) / π_old(o_t | …). Schulman et al. 2017 (PPO), eq. 6; Shao et al. 2024."""

SEQUENCE = Ratio("of the whole completion", _whole, one_action=True)
"""ρ_i = π(o_i) / π_old(o_i), the product over its tokens: the completion is one action. Ahmadian et
al. 2024 (RLOO), section 2."""

LENGTH_NORMALISED = Ratio("of the whole completion, the geometric mean over its tokens", _mean)
"""s_i = (π(y_i) / π_old(y_i))^{1/|y_i|}. Zheng et al. 2025 (GSPO), eq. 7. Being the same for all
tokens of a completion, their mean is the completion's one term."""
