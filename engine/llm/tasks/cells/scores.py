"""How the episodes of a batch are judged: an advantage for each step, and what its term weighs.

Three ways: the episode's return compared with its group's, a value head's estimate (GAE), or what
followed a move compared with what followed other moves in the same state. Shapes: `W` worlds, `O`
observations, `A` actions, `N` prompts (rows), `B` episodes of `T` steps, `M` steps taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engine.config.llm import LlmSettings
from engine.core.arrays import Array
from engine.llm.algorithms.advantages import gae, standardised
from engine.llm.algorithms.base import Critic, LlmAlgorithm
from engine.llm.algorithms.losses import ValueBatch, value_loss
from engine.llm.tasks.cells.batch import RolloutBatch
from engine.llm.tasks.cells.policy_table import at_observations
from engine.llm.tasks.cells.rollouts import (
    Rollouts,
    StepWeights,
    at_steps,
    even_weights,
    gather,
    importance_weights,
)
from engine.llm.tasks.cells.state_values import Estimates, retrace, updated


@dataclass(frozen=True)
class ValueTargets:
    """What a value head is fitted to: the λ-return of every step taken."""

    row: Tensor  # [M] the prompt each step was taken at
    targets: Tensor  # [M]
    values_old: Tensor  # [N] when the batch was sampled
    clip: float

    def loss(self, values: Tensor, rows: Sequence[int]) -> Tensor:
        """The share of `rows`, with their values [n]."""
        place = torch.full((len(self.values_old),), -1, dtype=torch.long)
        place[list(rows)] = torch.arange(len(rows))
        taken = place[self.row] >= 0
        at = self.row[taken]
        batch = ValueBatch(
            values=values[place[at]],
            values_old=self.values_old[at],
            targets=self.targets[taken],
            weights=torch.full(at.shape, 1.0 / len(self.row)),
        )
        return value_loss(batch, self.clip)


@dataclass(frozen=True, eq=False)
class Scores:
    """The judged steps of a batch."""

    advantages: Array  # [B, T] what each step's term is multiplied with
    by_state: Array | None  # [W, O, A] advantages of all moves, where states are compared
    weights: StepWeights
    visits: Array  # [W, O, A] how often each move was made
    mean_advantages: Array  # [W, O, A] 0 where a move was not made
    values: ValueTargets | None  # what the value head is to be fitted to
    estimates: Estimates  # of all worlds, after this batch


def score(
    batch: RolloutBatch,
    estimates: Estimates,
    algorithm: LlmAlgorithm[LlmSettings],
    settings: LlmSettings,
    penalty: Array | None = None,
) -> Scores:
    """Judge a batch as the algorithm does; `estimates` are those of all worlds before it.

    `penalty` [B, T] is taken off each step's reward; the returns of the batch are without it
    already, see `RolloutBatch.penalised`.
    """
    rollouts, table = batch.rollouts, batch.table
    if penalty is not None:
        rollouts = replace(rollouts, reward=rollouts.reward - penalty)
    values = by_state = None
    if credit := algorithm.state_credit(settings):
        at = list(table.worlds)
        before = Estimates(estimates.total[at], estimates.tries[at])
        # Corrected for what was played at random.
        targets = retrace(rollouts, before, table.policy, settings.gamma)
        after = updated(before, batch.mdps, rollouts, targets, credit.decay)
        estimates = estimates.replaced(at, after)
        by_state = after.advantages(table.policy, credit.scale)
        advantages = at_steps(rollouts, by_state)
    elif critic := algorithm.critic(settings):
        advantages, values = _by_critic(batch, rollouts, critic, settings.gamma)
    else:
        grouped = batch.returns.reshape(-1, batch.group_size)
        compared = algorithm.advantages(grouped, settings).reshape(-1)
        advantages = np.broadcast_to(compared[:, None], rollouts.mask.shape)
    advantages = np.where(rollouts.mask, advantages, 0.0)
    weights = _step_weights(batch, algorithm, settings)
    ones = np.ones(len(batch.returns))
    plain = gather(batch.mdps, rollouts, advantages, ones)
    made = plain.made
    total = plain.positive + plain.negative
    return Scores(
        advantages=advantages,
        by_state=by_state,
        weights=gather(batch.mdps, rollouts, advantages, weights),
        visits=made,
        mean_advantages=np.where(made > 0, total / np.maximum(made, 1), 0.0),
        values=values,
        estimates=estimates,
    )


def _step_weights(
    batch: RolloutBatch, algorithm: LlmAlgorithm[LlmSettings], settings: LlmSettings
) -> Array:
    """[B, T] what each step weighs in the batch's loss, its importance weight π/b included."""
    if algorithm.credit_by_state(settings):
        weights = even_weights(batch.mdps, batch.rollouts)
    else:
        weights = algorithm.normaliser(batch.rollouts.length, batch.mdps.max_steps)[:, None]
    weighed: Array = weights * importance_weights(batch.rollouts, batch.table.sampled_from)
    return weighed


def _by_critic(
    batch: RolloutBatch, rollouts: Rollouts, critic: Critic, gamma: float
) -> tuple[Array, ValueTargets]:
    """GAE from the value head, and what the head is to be fitted to; by the rewards of `rollouts`,
    the batch's episodes."""
    table = batch.table
    known = table.values.double().numpy()

    def value_of(observation: Array) -> Array:
        values = at_observations(table.prompt_row[rollouts.world[:, None], observation], known, 0.0)
        return np.where(rollouts.mask, values, 0.0)

    judged = gae(
        rollouts.reward,
        value_of(rollouts.observation),
        value_of(rollouts.next_observation),
        rollouts.ends(rollouts.terminated),
        rollouts.ends(rollouts.truncated),
        gamma,
        critic.gae_lambda,
    )
    row = table.prompt_row[rollouts.world[:, None], rollouts.observation][rollouts.mask]
    targets = ValueTargets(
        row=torch.from_numpy(row),
        targets=torch.from_numpy(judged.targets[rollouts.mask]).float(),
        values_old=table.values,
        clip=critic.clip,
    )
    return standardised(judged.advantages, rollouts.mask), targets


def batch_metrics(batch: RolloutBatch, scores: Scores, gamma: float) -> dict[str, float]:
    """Figures of an update's episodes. What dynamic sampling leaves out was played too: but for the
    advantages, they are those of the first draw."""
    first, stats = batch.stats.first, batch.stats
    return {
        "online_return": float(first.returns(gamma).mean()),
        "online_score": float(first.score.mean()),
        "online_length": float(first.length.mean()),
        "online_success_rate": float(first.success.mean()),
        "advantage_std": float(scores.advantages[batch.rollouts.mask].std()),
        "equal_groups": stats.equal_groups,
        "group_draws": float(stats.draws),
    }
