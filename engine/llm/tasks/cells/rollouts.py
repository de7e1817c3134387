"""Episodes sampled from a policy table: no model takes part.

For `policy = "action"` one packed pass gives the whole table π [O, A]; episodes are then drawn from
it, all at once, over one or several mazes. Shapes: `W` worlds, `S` states, `O` observations, `A`
actions, `K` branches, `B` episodes, `T` steps of the longest one; steps behind an episode's end are
0 and not in `mask`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.core.arrays import Bools, Floats, Index, Ints
from engine.env.mdp import MDP, reachable
from engine.llm.algorithms.advantages import returns_to_go

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class StackedMDPs:
    """Several MDPs of one shape, ready to be sampled from. `stack_mdps` builds it.

    A branch is drawn by comparing a random number with `reach`, so the last one takes what rounding
    leaves.
    """

    next_state: Ints  # [W, S, A, K]
    reach: Floats  # [W, S, A, K − 1] cumulative probability of the branches
    reward: Floats  # [W, S, A, K]
    terminal: Bools  # [W, S, A, K]
    success: Bools  # [W, S, A, K]
    observation: Ints  # [W, S]
    start: Floats  # [W, S]
    anywhere: Floats  # [W, S] uniform over the cells an episode can be in before it ends
    max_steps: int
    n_observations: int

    @property
    def n_worlds(self) -> int:
        return int(self.start.shape[0])

    @property
    def n_actions(self) -> int:
        return int(self.next_state.shape[2])


@dataclass(frozen=True, eq=False)
class Rollouts:
    """B episodes. `group` says which episodes began in the same cell of the same world."""

    world: Index  # [B]
    group: Index  # [B] ascending from 0
    random_start: Bools  # [B] the first cell was drawn from all cells, not from the start
    state: Ints  # [B, T]
    observation: Ints  # [B, T]
    action: Ints  # [B, T]
    reward: Floats  # [B, T]
    next_observation: Ints  # [B, T] what is seen after the step (also behind a truncation)
    log_behaviour: Floats  # [B, T] log-probability with which the action was chosen
    mask: Bools  # [B, T] the step was taken
    length: Index  # [B]
    terminated: Bools  # [B]
    truncated: Bools  # [B]
    success: Bools  # [B]
    final_state: Ints  # [B]

    @property
    def score(self) -> Floats:
        """[B] undiscounted sum of rewards."""
        total: Floats = self.reward.sum(axis=1)
        return total

    def returns(self, gamma: float) -> Floats:
        """[B] discounted returns."""
        discount = gamma ** np.arange(self.reward.shape[1], dtype=np.float64)
        total: Floats = self.reward @ discount
        return total

    def returns_to_go(self, gamma: float) -> Floats:
        """[B, T] discounted return from each step on."""
        return returns_to_go(self.reward, gamma)

    def groups(self, which: NDArray[np.integer], size: int) -> Rollouts:
        """The episodes of some groups of `size`, numbered anew."""
        rows = (np.asarray(which)[:, None] * size + np.arange(size)).ravel()
        fields = {name: value[rows] for name, value in vars(self).items()}
        return Rollouts(**{**fields, "group": np.repeat(np.arange(len(which)), size)})

    def ends(self, how: Bools) -> Bools:
        """[B, T] the last step of each episode in `how` [B], e.g. `rollouts.terminated`."""
        last = np.arange(self.mask.shape[1]) == self.length[:, None] - 1
        marked: Bools = last & how[:, None]
        return marked


def joined(parts: Sequence[Rollouts]) -> Rollouts:
    """Episodes sampled one after the other as one batch; steps are padded to the longest."""
    longest = max(part.mask.shape[1] for part in parts)
    fields: dict[str, Any] = {}
    for name in vars(parts[0]):
        arrays = [getattr(part, name) for part in parts]
        if arrays[0].ndim == 2:
            arrays = [np.pad(a, ((0, 0), (0, longest - a.shape[1]))) for a in arrays]
        fields[name] = np.concatenate(arrays)
    sizes = [int(part.group.max(initial=-1)) + 1 for part in parts]
    shifts = np.cumsum([0, *sizes[:-1]])
    fields["group"] = np.concatenate(
        [part.group + shift for part, shift in zip(parts, shifts, strict=True)]
    )
    return Rollouts(**fields)


def stack_mdps(mdps: Sequence[MDP]) -> StackedMDPs:
    """`mdps` side by side. They must agree in S, A, K, O and max_steps (see `mdp.build_mdps`)."""
    shapes = {(*m.next_state.shape, m.n_observations, m.max_steps) for m in mdps}
    if len(shapes) != 1:
        raise ValueError(f"worlds of different shapes (S, A, K, O, max_steps): {sorted(shapes)}")
    inside = np.stack([reachable(m) for m in mdps]).astype(np.float64)
    return StackedMDPs(
        next_state=np.stack([m.next_state for m in mdps]),
        reach=np.stack([m.probability.cumsum(axis=2)[..., :-1] for m in mdps]),
        reward=np.stack([m.reward for m in mdps]),
        terminal=np.stack([m.terminal for m in mdps]),
        success=np.stack([m.success for m in mdps]),
        observation=np.stack([m.observation for m in mdps]),
        start=np.stack([m.start for m in mdps]),
        anywhere=inside / inside.sum(axis=1, keepdims=True),
        max_steps=mdps[0].max_steps,
        n_observations=mdps[0].n_observations,
    )


def mixed_with_uniform(policy: ArrayLike, share: float) -> Floats:
    """b = (1 − m) π + m / A: the behaviour that explores in a `share` m of its moves; [..., A]."""
    pi = np.asarray(policy, dtype=np.float64)
    mixed: Floats = (1.0 - share) * pi + share / pi.shape[-1]
    return mixed


def sample_episodes(
    worlds: StackedMDPs,
    behaviour: ArrayLike,
    n_groups: int,
    group_size: int,
    rng: np.random.Generator,
    random_starts: float = 0.0,
    group_world: Index | None = None,
) -> Rollouts:
    """`n_groups` × `group_size` episodes of `behaviour` [O, A] or [W, O, A].

    Group i plays in world `group_world[i]`, by default i mod W. All episodes of a group begin in
    the same cell; in a share `random_starts` of each world's groups (on average, however few they
    are) that is any cell one can stand in, in the others a start cell. Every episode ends by itself
    or is truncated after `max_steps`.
    """
    table = np.asarray(behaviour, dtype=np.float64)
    table = np.broadcast_to(table, (worlds.n_worlds, *table.shape[-2:]))
    if group_world is None:
        group_world = np.arange(n_groups) % worlds.n_worlds
    same = group_world[:, None] == np.arange(worlds.n_worlds)  # [n_groups, W]
    nth = same.cumsum(axis=0)[same] - 1  # which of its world's groups each is
    # Spread evenly among the others. Where the share is less than a group, chance says whether.
    offset = rng.random(worlds.n_worlds)[group_world] if random_starts else 0.0
    due = np.floor(np.stack([nth, nth + 1]) * random_starts + offset)
    anywhere: Bools = due[1] > due[0]
    first = np.where(anywhere[:, None], worlds.anywhere[group_world], worlds.start[group_world])
    start = _drawn(first.cumsum(axis=1)[:, :-1], rng)
    group = np.repeat(np.arange(n_groups), group_size)
    return _played(worlds, table, group, group_world[group], start[group], anywhere[group], rng)


def _drawn(reach: Floats, rng: np.random.Generator) -> Index:
    """One choice a row [n] by cumulative probabilities without the last one [n, m − 1]."""
    choice: Index = (rng.random((reach.shape[0], 1)) >= reach).sum(axis=1)
    return choice


def _played(
    worlds: StackedMDPs,
    table: Floats,
    group: Index,
    world: Index,
    start: Index,
    random_start: Bools,
    rng: np.random.Generator,
) -> Rollouts:
    """Follow all episodes together, step by step, over those still going."""
    b, horizon = group.size, worlds.max_steps
    act_reach = table.cumsum(axis=-1)
    act_reach = (act_reach / act_reach[..., -1:])[..., :-1]
    with np.errstate(divide="ignore"):
        log_table = np.log(table)
    seen, action, after, state = (np.zeros((horizon, b), np.int32) for _ in range(4))
    reward, log_b = np.zeros((horizon, b)), np.zeros((horizon, b))
    length = np.full(b, horizon)
    terminated, success = np.zeros(b, bool), np.zeros(b, bool)
    final = start.astype(np.int32)
    going, t = np.arange(b), 0
    while going.size and t < horizon:
        w, s = world[going], final[going]
        o = worlds.observation[w, s]
        a = _drawn(act_reach[w, o], rng)
        k = _drawn(worlds.reach[w, s, a], rng)
        landing = worlds.next_state[w, s, a, k]
        state[t, going], seen[t, going], action[t, going] = s, o, a
        reward[t, going], log_b[t, going] = worlds.reward[w, s, a, k], log_table[w, o, a]
        after[t, going] = worlds.observation[w, landing]
        final[going] = landing
        over = worlds.terminal[w, s, a, k]
        ended = going[over]
        length[ended], terminated[ended] = t + 1, True
        success[ended] = worlds.success[w, s, a, k][over]
        going, t = going[~over], t + 1

    def rows(of_steps: NDArray[Number]) -> NDArray[Number]:
        return np.ascontiguousarray(of_steps[:t].T)

    return Rollouts(
        world=world, group=group, random_start=random_start,
        state=rows(state), observation=rows(seen), action=rows(action),
        reward=rows(reward), next_observation=rows(after), log_behaviour=rows(log_b),
        mask=np.arange(t) < length[:, None], length=length,
        terminated=terminated, truncated=~terminated, success=success, final_state=final,
    )  # fmt: skip


class StepWeights(NamedTuple):
    """Steps gathered by (world, observation, action): what a loss on the table needs.

    Positive and negative advantages stay apart, for the clip treats them differently.
    """

    positive: Floats  # [W, O, A] Σ weight · advantage over steps with advantage > 0
    negative: Floats  # [W, O, A] the same over advantage < 0 (entries ≤ 0)
    count_positive: Index  # [W, O, A] how many steps those were
    count_negative: Index  # [W, O, A]
    visits: Floats  # [W, O] Σ weight of all steps there
    weights: Floats  # [W, O, A] Σ weight of all steps
    made: Index  # [W, O, A] how many steps there are, also of those with advantage 0


def gather(
    worlds: StackedMDPs, rollouts: Rollouts, advantages: ArrayLike, weights: ArrayLike
) -> StepWeights:
    """Sum `weights` · `advantages` over the steps of each (world, observation, action).

    Both [B] or [B, T]: what one step's term weighs in the loss (`algorithms.normalisers`,
    times an importance weight if any), and its advantage.
    """
    shape, taken = rollouts.mask.shape, rollouts.mask

    def of_steps(values: ArrayLike) -> Floats:
        given: Floats = np.asarray(values, dtype=np.float64)
        wide = given[:, None] if given.ndim == 1 else given
        return np.broadcast_to(wide, shape)[taken]

    w, advantage = of_steps(weights), of_steps(advantages)
    pair, place = step_index(worlds, rollouts)
    size = (worlds.n_worlds, worlds.n_observations, worlds.n_actions)

    def per_pair(of: Floats | Bools) -> Floats:
        return summed(pair, of, math.prod(size)).reshape(size)

    return StepWeights(
        positive=per_pair(w * np.maximum(advantage, 0.0)),
        negative=per_pair(w * np.minimum(advantage, 0.0)),
        count_positive=per_pair(advantage > 0).astype(np.int64),
        count_negative=per_pair(advantage < 0).astype(np.int64),
        visits=summed(place, w, math.prod(size[:2])).reshape(size[:2]),
        weights=per_pair(w),
        made=per_pair(np.ones_like(w)).astype(np.int64),
    )


def at_steps(rollouts: Rollouts, table: ArrayLike) -> Floats:
    """[B, T] entries of `table` [W, O, A] (or [O, A], for all worlds) at the steps; 0 elsewhere."""
    of_pair = np.asarray(table, dtype=np.float64)
    world = rollouts.world[:, None] if of_pair.ndim == 3 else 0
    of_pair = of_pair if of_pair.ndim == 3 else of_pair[None]
    return np.where(rollouts.mask, of_pair[world, rollouts.observation, rollouts.action], 0.0)


def importance_weights(rollouts: Rollouts, policy: ArrayLike) -> Floats:
    """[B, T] π/b of each step for `policy` [W, O, A] or [O, A]; 0 behind an episode's end.

    What undoes, in a sum over steps, that actions were drawn from another behaviour. For
    `mixed_with_uniform(policy, m)` no weight exceeds 1 / (1 − m).
    """
    return at_steps(rollouts, policy) / np.exp(rollouts.log_behaviour)


def even_weights(worlds: StackedMDPs, rollouts: Rollouts) -> Floats:
    """[B, T] weights that sum to 1 and give every visited state the same share.

    With one weight per step, states near the start are learned first and those behind them hardly
    at all; the packed pass costs the same for every state, so each can count alike.
    """
    _, place = step_index(worlds, rollouts)
    visits = np.bincount(place)
    weights = np.zeros(rollouts.mask.shape)
    weights[rollouts.mask] = 1.0 / (visits[place] * (visits > 0).sum())
    return weights


def step_index(worlds: StackedMDPs, rollouts: Rollouts) -> tuple[Index, Index]:
    """Flat positions of the steps taken [n]: in [W, O, A], and in [W, O]."""
    world = np.broadcast_to(rollouts.world[:, None], rollouts.mask.shape)[rollouts.mask]
    place = world * worlds.n_observations + rollouts.observation[rollouts.mask]
    pair: Index = place * worlds.n_actions + rollouts.action[rollouts.mask]
    return pair, place


def summed(index: Index, values: ArrayLike, size: int) -> Floats:
    """[size] sums of the `values` [n] that share an `index` [n]."""
    sums: Floats = np.asarray(np.bincount(index, np.asarray(values, np.float64), size), np.float64)
    return sums
