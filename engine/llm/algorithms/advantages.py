"""Advantages: how much better an answer, an episode or one step went than was to be expected.

Plain functions on float64 arrays; nothing here has a gradient. Shapes: `B` groups or rows, `G`
members of a group (answers to one prompt, episodes from one start), `T` steps or tokens.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike

from engine.core.arrays import Bools, Floats

LITTLE = 1e-4  # added to the standard deviation of a group's returns, as TRL does
StdFloor = Annotated[
    float,
    Meta(
        ge=0.0,
        description="least standard deviation divided by: groups that hardly differ are not "
        "blown up",
    ),
]
"""What a preset may set as the floor of `grpo_advantages`."""


def grpo_advantages(returns: ArrayLike, floor: float = 0.0) -> Floats:
    """(r − mean) / (std + 1e-4) in each group of `returns` [B, G].

    Shao et al. 2024 (DeepSeekMath), section 4.1.2; sample standard deviation and the 1e-4 as in
    TRL. A `floor` under the standard deviation keeps groups that hardly differ from being blown up.
    """
    centred = dr_grpo_advantages(returns)
    spread = np.sqrt((centred**2).sum(axis=-1, keepdims=True) / max(centred.shape[-1] - 1, 1))
    scaled: Floats = centred / (np.maximum(spread, floor) + LITTLE)
    return scaled


def dr_grpo_advantages(returns: ArrayLike) -> Floats:
    """r − mean in each group of `returns` [B, G]. Liu et al. 2025 (Dr. GRPO), section 3.2.

    Returns that are all equal have advantage exactly 0, whatever rounding makes of their mean.
    """
    r = np.asarray(returns, dtype=np.float64)
    centred: Floats = np.where(all_equal(r)[..., None], 0.0, r - r.mean(axis=-1, keepdims=True))
    return centred


def rloo_advantages(returns: ArrayLike) -> Floats:
    """r_i − the mean of the others, in each group of `returns` [B, G], G ≥ 2.

    Kool et al. 2019; Ahmadian et al. 2024, section 2.1. It is G/(G−1) · (r_i − mean).
    """
    centred = dr_grpo_advantages(returns)
    g = centred.shape[-1]
    if g < 2:
        raise ValueError("a group of one has no others to compare with")
    compared: Floats = centred * (g / (g - 1))
    return compared


def reinforce_advantages(returns: ArrayLike) -> Floats:
    """r − the mean of the whole batch [B, G]. Williams 1992, section 4 (reinforcement baseline)."""
    r = np.asarray(returns, dtype=np.float64)
    return dr_grpo_advantages(r.reshape(1, -1)).reshape(r.shape)


def all_equal(returns: ArrayLike) -> Bools:
    """[B] groups of `returns` [B, G] in which all members got the same: they teach nothing."""
    r = np.asarray(returns, dtype=np.float64)
    equal: Bools = (r == r[..., :1]).all(axis=-1)
    return equal


def groups_to_keep(returns: ArrayLike) -> Bools:
    """[B] groups that DAPO's dynamic sampling keeps. Yu et al. 2025, equation 11.

    The paper asks for 0 < number of right answers < G. For rewards with several parts the same is:
    not all equal, for only those have no gradient.
    """
    return ~all_equal(returns)


def overlong_penalty(lengths: ArrayLike, longest: int, interval: int) -> Floats:
    """The soft punishment of long answers, 0 to −1. Yu et al. 2025 (DAPO), equation 13.

    `lengths` [...] in tokens; the last `interval` tokens before `longest` cost linearly more, and
    an answer beyond `longest` costs 1.
    """
    if not 0 < interval <= longest:
        raise ValueError(f"the interval is {interval}; expected 1 to {longest}")
    over = (longest - interval) - np.asarray(lengths, dtype=np.float64)
    penalty: Floats = np.clip(over / interval, -1.0, 0.0)
    return penalty


class Gae(NamedTuple):
    """Advantages [..., T] of each step, and the λ-returns [..., T] that V is to be fitted to."""

    advantages: Floats
    targets: Floats


def gae(
    rewards: ArrayLike,
    values: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    gamma: float,
    lambda_: float,
) -> Gae:
    """Generalized advantage estimation. Schulman et al. 2016, equation 16; PPO paper, eq. 11.

    All arrays [..., T], time last. `values` is V(s_t) and `next_values` V(s_{t+1}). After a
    termination nothing follows, whatever `next_values` says; after a truncation V still looks
    ahead, but the next step in the array belongs to something else and is not carried over,
    so what stands as padding behind an episode's end never reaches back into it.
    """
    r, v, v_next = (np.asarray(x, dtype=np.float64) for x in (rewards, values, next_values))
    ended = np.asarray(terminated, dtype=bool)
    cut = ended | np.asarray(truncated, dtype=bool)
    delta = r + gamma * np.where(ended, 0.0, v_next) - v
    advantages = np.zeros_like(delta)
    following = np.zeros(delta.shape[:-1])
    for t in range(delta.shape[-1] - 1, -1, -1):
        carried = np.where(cut[..., t], 0.0, following)
        following = delta[..., t] + gamma * lambda_ * carried  # Â_t = δ_t + γλ Â_{t+1}
        advantages[..., t] = following
    return Gae(advantages, advantages + v)


def returns_to_go(rewards: ArrayLike, gamma: float) -> Floats:
    """G_t = r_t + γ G_{t+1} of `rewards` [..., T]; padding must be 0. Sutton & Barto, eq. 3.9."""
    r = np.asarray(rewards, dtype=np.float64)
    returns = np.zeros_like(r)
    following = np.zeros(r.shape[:-1])
    for t in range(r.shape[-1] - 1, -1, -1):
        following = r[..., t] + gamma * following
        returns[..., t] = following
    return returns


def standardised(advantages: ArrayLike, mask: ArrayLike) -> Floats:
    """Mean 0 and standard deviation 1 over the entries in `mask`, 0 elsewhere; any shape.

    What PPO implementations do with the advantages of a batch (Huang et al. 2022, "The 37
    implementation details of PPO", detail 7).
    """
    a, used = np.asarray(advantages, dtype=np.float64), np.asarray(mask, dtype=bool)
    if not used.any():
        return np.zeros_like(a)
    kept = a[used]
    return np.where(used, (a - kept.mean()) / (kept.std() + 1e-8), 0.0)
