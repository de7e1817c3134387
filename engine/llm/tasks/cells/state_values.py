"""Action values estimated from episodes, and the advantages per state they give.

An episode's return says little about one of its moves on slippery ice. Comparing what followed a
move with what followed other moves *in the same state* says much more, and a packed policy visits
few distinct states very often. Q̂(o, a) is a running average of discounted returns-to-go; old
batches fade by a factor `decay` per update, because the policy that earned them has changed.

Shapes as in `rollouts`: `W` worlds, `O` observations, `A` actions, `B` episodes, `T` steps.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from engine.core.arrays import Bools, Floats
from engine.llm.tasks.cells.rollouts import (
    Rollouts,
    StackedMDPs,
    at_steps,
    importance_weights,
    step_index,
    summed,
)

Scale = Literal["none", "global", "state"]
NEARLY_NOTHING = 1e-8


class Estimates(NamedTuple):
    """Faded sums of targets and how many they were, [W, O, A] each."""

    total: Floats
    tries: Floats

    def extended(self, n_worlds: int) -> Estimates:
        """The same for the first of `n_worlds` worlds; nothing is known of the new ones."""
        new = [(0, n_worlds - len(self.total)), (0, 0), (0, 0)]
        return Estimates(np.pad(self.total, new), np.pad(self.tries, new))

    def replaced(self, at: list[int], new: Estimates) -> Estimates:
        """The same with those of the worlds `at` made anew."""
        total, tries = self.total.copy(), self.tries.copy()
        total[at], tries[at] = new
        return Estimates(total, tries)

    @property
    def seen(self) -> Bools:
        """[W, O, A] pairs that have been tried at all."""
        tried: Bools = self.tries > 0
        return tried

    @property
    def q(self) -> Floats:
        """[W, O, A] Q̂, 0 where nothing is known."""
        return ratio(self.total, self.tries)

    def values(self, policy: ArrayLike) -> Floats:
        """[W, O] V̂ = Σ_a π Q̂ for `policy` [..., O, A], over the actions that have been tried."""
        pi = np.asarray(policy, dtype=np.float64) * self.seen
        known = pi.sum(axis=-1)
        total = (pi * self.q).sum(axis=-1)
        return ratio(total, known)

    def advantages(self, policy: ArrayLike, scale: Scale = "none") -> Floats:
        """[W, O, A] Q̂ − V̂ for `policy`; 0 for actions that have not been tried.

        `global` divides by the standard deviation over all pairs tried, `state` by that over the
        actions tried in each state: then how far a policy moves depends neither on how small the
        rewards are nor, for `state`, on how far from the prize it is.
        """
        plain = np.where(self.seen, self.q - self.values(policy)[..., None], 0.0)
        return scaled(plain, self.seen, scale)


def no_estimates(worlds: StackedMDPs) -> Estimates:
    """Nothing known yet."""
    shape = (worlds.n_worlds, worlds.n_observations, worlds.n_actions)
    return Estimates(np.zeros(shape), np.zeros(shape))


def updated(
    estimates: Estimates, worlds: StackedMDPs, rollouts: Rollouts, targets: ArrayLike, decay: float
) -> Estimates:
    """The estimates after one more batch, whose steps' targets [B, T] are e.g. returns-to-go."""
    pair, _ = step_index(worlds, rollouts)
    shape, size = estimates.tries.shape, estimates.tries.size
    sums = summed(pair, np.asarray(targets)[rollouts.mask], size).reshape(shape)
    counts = np.bincount(pair, minlength=size).reshape(shape)
    return Estimates(decay * estimates.total + sums, decay * estimates.tries + counts)


def ratio(a: Floats, b: Floats) -> Floats:
    """a / b, and 0 where b is 0."""
    quotient: Floats = np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0)
    return quotient


def scaled(advantages: Floats, seen: Bools, scale: Scale) -> Floats:
    """`advantages` [W, O, A] over their root mean square: of all `seen`, or of each state's."""
    if scale == "none":
        return advantages
    axis = -1 if scale == "state" else None
    n = np.maximum(seen.sum(axis=axis, keepdims=True), 1)
    size = np.sqrt((np.where(seen, advantages, 0.0) ** 2).sum(axis=axis, keepdims=True) / n)
    return ratio(advantages, np.where(size > NEARLY_NOTHING, size, 0.0))


def retrace(
    rollouts: Rollouts,
    estimates: Estimates,
    policy: ArrayLike,
    gamma: float,
    lambda_: float = 1.0,
) -> Floats:
    """Targets [B, T] for Q^π from episodes of another behaviour. Munos et al. 2016, eqs. 3 and 4.

    Returns-to-go of a behaviour that explores tell what exploring is worth, which on thin ice is
    much less than what `policy` [O, A] or [W, O, A] itself would earn. Retrace(λ) cuts each return
    off, by c = λ min(1, π/b), where it leaves what π would do, and goes on with V̂.
    """
    known = at_steps(rollouts, estimates.q)
    trust = lambda_ * np.minimum(1.0, importance_weights(rollouts, policy))
    onward = estimates.values(policy)[rollouts.world[:, None], rollouts.next_observation]
    ahead = np.where(rollouts.ends(rollouts.terminated), 0.0, onward)
    delta = np.where(rollouts.mask, rollouts.reward + gamma * ahead - known, 0.0)
    correction = np.zeros_like(delta)
    following = np.zeros(delta.shape[0])
    for t in range(delta.shape[1] - 1, -1, -1):
        following = delta[:, t] + gamma * following  # Δ_t = δ_t + γ c_{t+1} Δ_{t+1}
        correction[:, t] = following
        following = following * trust[:, t]
    targets: Floats = known + correction
    return targets
