"""What one update of a plan policy minimises, cut into micro-batches at will.

All weights, advantages and old log-probabilities come from the whole batch beforehand; the loss of
some routes is their share of the batch's, so the shares add up. Shapes: `B` routes, `T` tokens of
the longest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.llm.advantages import sequence_weights
from engine.llm.algorithm import LlmAlgorithm
from engine.llm.attention import evaluating
from engine.llm.losses import Clip, Sums, TokenBatch, ValueBatch, token_loss, value_loss
from engine.llm.packing import Tokens
from engine.llm.plan_judging import Batch, by_critic, group_advantages
from engine.llm.plan_policy import PlanPolicy
from engine.llm.value_head import ValueHead

Interrupted = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Terms:
    """What the loss of a batch is made of besides log π."""

    log_p_old: Tensor  # [B, T]
    advantages: Tensor  # [B] or [B, T]
    mask: Tensor  # [B, T]
    weights: Tensor  # [B] of each token of a route
    log_p_ref: Tensor | None  # [B, T]
    values_old: Tensor | None  # [B, T]
    targets: Tensor | None  # [B, T] what the values are to be

    def rows(self, at: Sequence[int], longest: int) -> Terms:
        """Those of some routes, as far as their longest one goes."""

        def cut(of: Tensor | None) -> Any:
            return None if of is None else of[list(at), :longest] if of.dim() == 2 else of[list(at)]

        return Terms(*(cut(getattr(self, field.name)) for field in fields(self)))


class Share(NamedTuple):
    """What a micro-batch adds to the batch's figures."""

    loss: float
    value_loss: float
    sums: Sums


KL_SAMPLE = 4
"""How many routes of an update have to do for a KL that is only told."""


@dataclass(frozen=True, eq=False)
class PlanObjective:
    """The surrogate of all tokens, and with a value head what that is fitted to."""

    batch: Batch
    algorithm: LlmAlgorithm
    settings: Any
    policy: PlanPolicy
    value_head: ValueHead | None
    entropy: float

    @property
    def prompts(self) -> list[Tokens]:
        """[B] the prompt of each route."""
        return [route.prompt.tokens for route in self.batch.routes]

    @property
    def written(self) -> list[Tokens]:
        """[B] the tokens of each route."""
        return [route.tokens for route in self.batch.routes]

    def split(self) -> list[list[int]]:
        """The routes in micro-batches."""
        return self.policy.split(self.prompts, self.written)

    def terms(self, interrupted: Interrupted) -> Terms | None:
        """What must be known of the whole batch first; None when put off."""
        lengths = self.batch.lengths
        mask = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
        old = torch.zeros(mask.shape)
        old[mask] = torch.tensor([x for route in self.batch.routes for x in route.log_probs])
        weights = sequence_weights(self.algorithm.weighting, lengths, self.policy.max_tokens)
        reference = targets = values = None
        if self.settings.kl:
            reference = self.policy.reference_log_probs(self.prompts, self.written)
            if interrupted():
                return None
        if self.value_head is None:
            judged = group_advantages(self.batch, self.algorithm, self.settings)
            advantages = torch.from_numpy(judged).float()
        else:
            values = self._values(mask, interrupted)
            if values is None:
                return None
            advantages, targets = by_critic(
                self.batch, values, self.settings.gamma, self.settings.gae_lambda
            )
        scale = torch.from_numpy(weights).float()
        return Terms(old, advantages, mask, scale, reference, values, targets)

    def sampled_kl(self, terms: Terms) -> float:
        """KL of the policy that wrote the routes to the reference, the mean of k3 over the tokens
        of a few of them: to be told where nothing pulls towards the reference."""
        few = np.unique(np.linspace(0, len(self.written) - 1, KL_SAMPLE).astype(int)).tolist()
        reference = self.policy.reference_log_probs(
            [self.prompts[b] for b in few], [self.written[b] for b in few]
        )
        own = terms.rows(few, reference.shape[1])
        away = torch.where(own.mask, reference - own.log_p_old, 0.0)
        return float((away.exp() - away - 1.0).sum() / own.mask.sum())

    def _values(self, mask: Tensor, interrupted: Interrupted) -> Tensor | None:
        """[B, T] what the value head expects where each token was drawn, 0 behind the ends."""
        assert self.value_head is not None
        values = torch.zeros(mask.shape)
        with evaluating(self.policy.model):
            for part in self.split():
                scores = self._scores(part)
                values[part, : scores.mask.shape[1]] = self.value_head(scores.hidden).cpu()
                if interrupted():
                    return None
        return torch.where(mask, values, 0.0)

    def _scores(self, part: Sequence[int]) -> Any:
        routes = [self.batch.routes[b] for b in part]
        return self.policy.forward([r.prompt.tokens for r in routes], [r.tokens for r in routes])

    def backward(self, terms: Terms, part: Sequence[int]) -> Share:
        """Forward and backward through some routes; gradients gather in the parameters."""
        scores = self._scores(part)
        own = terms.rows(part, scores.mask.shape[1])
        share = token_loss(
            self.algorithm.name,
            TokenBatch(
                log_p=scores.log_probs.cpu(),
                log_p_old=own.log_p_old,
                advantages=own.advantages,
                mask=own.mask,
                weights=own.weights,
                log_p_ref=own.log_p_ref,
                entropy=scores.entropy.cpu(),
            ),
            self.algorithm.clip(self.settings) or Clip(),
            self.settings.kl,
            self.entropy,
        )
        total, of_values = share.loss, 0.0
        if self.value_head is not None:
            assert own.values_old is not None and own.targets is not None
            # The head reads the hidden states and does not change them: see `algorithms.ppo`.
            judged = value_loss(
                ValueBatch(
                    values=self.value_head(scores.hidden.detach()).cpu(),
                    values_old=own.values_old,
                    targets=own.targets,
                    weights=own.mask / terms.mask.sum(),
                ),
                self.settings.value_clip,
            )
            total, of_values = total + judged, float(judged.detach())
        total.backward()  # type: ignore[no-untyped-call]
        return Share(float(share.loss.detach()), of_values, share.sums)
