"""The episodes of an update, sampled in groups from a policy table: all in NumPy, no model.

Shapes: `W` worlds of the batch, `O` observations, `A` actions, `B` episodes of `T` steps, `G`
episodes of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.config.llm import LlmSettings, scheduled
from engine.core.arrays import Array
from engine.env.mdp import MDP
from engine.llm.algorithms.advantages import (
    all_equal,
    groups_to_keep,
    overlong_penalty,
    returns_to_go,
)
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.tasks.cells.policy_table import PolicyTable
from engine.llm.tasks.cells.rollouts import (
    Rollouts,
    StackedMDPs,
    joined,
    mixed_with_uniform,
    sample_episodes,
    stack_mdps,
)


@dataclass(frozen=True, eq=False)
class SamplingStats:
    """What was played for an update, also what dynamic sampling then left out."""

    first: Rollouts  # the first draw: a fair sample of the behaviour
    draws: int
    episodes: int
    steps: int
    equal_groups: float  # share of all groups drawn whose episodes are all alike


@dataclass(frozen=True, eq=False)
class RolloutBatch:
    """The episodes an update learns from."""

    table: PolicyTable  # the policy as it was
    behaviour: Array  # [W, O, A] what was played: π at the sampling temperature, partly at random
    mdps: StackedMDPs  # of the table's worlds
    rollouts: Rollouts
    group_size: int  # how many episodes are compared with each other
    returns: Array  # [B] what they are compared by
    stats: SamplingStats

    @property
    def worlds(self) -> tuple[int, ...]:
        """[W] ids of the training worlds."""
        return self.table.worlds

    def penalised(self, penalty: Array, gamma: float) -> RolloutBatch:
        """The same episodes, compared by their returns less what each step costs, `penalty` [B, T].
        The rewards stay what the maze paid."""
        return replace(self, returns=self.returns - returns_to_go(penalty, gamma)[:, 0])

    @property
    def episodes(self) -> int:
        """How many were played, those included that were left out."""
        return self.stats.episodes

    @property
    def env_steps(self) -> int:
        """Moves made in them."""
        return self.stats.steps


def behaviour_of(table: PolicyTable, settings: LlmSettings, clock: int) -> Array:
    """[W, O, A] the policy that is played: π at the sampling temperature, partly at random."""
    return mixed_with_uniform(table.sampled_from, scheduled(settings.uniform, clock))


def collect(
    table: PolicyTable,
    mdps: Sequence[MDP],
    algorithm: LlmAlgorithm[LlmSettings],
    settings: LlmSettings,
    clock: int,
    rng: np.random.Generator,
    rehearsed: float = 0.0,
) -> RolloutBatch:
    """Sample the episodes of an update; `mdps` are those of the table's worlds.

    A share `rehearsed` of the groups plays in any of these worlds, the others in the first; by
    default groups go round them.
    """
    stacked = stack_mdps(mdps)
    behaviour = behaviour_of(table, settings, clock)
    rollouts, stats = _sampled(stacked, behaviour, algorithm, settings, rng, rehearsed)
    returns = rollouts.returns(settings.gamma)
    if overlong := algorithm.overlong(settings):
        longest = stacked.max_steps
        returns = returns + overlong_penalty(rollouts.length, longest, min(overlong, longest))
    size = algorithm.group_size(settings)
    return RolloutBatch(table, behaviour, stacked, rollouts, size, returns, stats)


def _sampled(
    mdps: StackedMDPs,
    behaviour: Array,
    algorithm: LlmAlgorithm[LlmSettings],
    settings: LlmSettings,
    rng: np.random.Generator,
    rehearsed: float,
) -> tuple[Rollouts, SamplingStats]:
    """Episodes in groups to learn from; for DAPO drawn again until enough groups differ in
    themselves."""
    # Without groups every episode begins anew: only its return is compared with the batch's.
    size = algorithm.same_start(settings)
    n_groups = max(1, settings.episodes // size)
    compared = algorithm.group_size(settings)
    most = algorithm.draws(settings)
    group_world = _rehearsing(mdps.n_worlds, n_groups, rehearsed, rng)
    kept: list[Rollouts] = []
    all_drawn: list[Rollouts] = []
    missing = n_groups
    for draw in range(1, most + 1):
        drawn = sample_episodes(
            mdps, behaviour, n_groups, size, rng, settings.random_starts, group_world
        )
        all_drawn.append(drawn)
        returns = drawn.returns(settings.gamma).reshape(n_groups, size)
        if most == 1:
            kept = all_drawn
            break
        wanted = np.flatnonzero(groups_to_keep(returns))[:missing]
        if draw == most:  # what is missing now is filled with groups that teach nothing
            others = np.setdiff1d(np.arange(n_groups), wanted)[: missing - len(wanted)]
            wanted = np.concatenate([wanted, others])
        kept.append(drawn.groups(wanted, size))
        missing -= len(wanted)
        if missing == 0:
            break
    equal = [all_equal(d.returns(settings.gamma).reshape(-1, compared)) for d in all_drawn]
    return joined(kept), SamplingStats(
        first=all_drawn[0],
        draws=len(all_drawn),
        episodes=sum(len(d.length) for d in all_drawn),
        steps=sum(int(d.length.sum()) for d in all_drawn),
        equal_groups=float(np.concatenate(equal).mean()),
    )


def _rehearsing(
    n_worlds: int, n_groups: int, share: float, rng: np.random.Generator
) -> Array | None:
    """[n_groups] the world each group plays in where maps met earlier are rehearsed: the newest,
    which is the batch's first, or for a `share` of them any; None where groups go round the worlds.
    """
    if not share or n_worlds == 1:
        return None
    drawn = int(n_groups * share + rng.random())
    of_all = rng.integers(0, n_worlds, drawn)
    return np.concatenate([np.zeros(n_groups - drawn, np.int64), of_all])
