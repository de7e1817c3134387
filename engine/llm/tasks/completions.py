"""What an update of a policy that writes minimises, cut into micro-batches at will.

All weights, advantages and old log-probabilities come from the whole batch beforehand; the loss of
some completions is their share of the batch's, so the shares add up. Shapes: `B` completions, `T`
tokens of the longest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine.config.llm import LlmSettings
from engine.core.arrays import Array, Floats
from engine.llm.algorithms.losses import (
    TokenBatch,
    ValueBatch,
    kl_estimate,
    metrics,
    value_loss,
)
from engine.llm.forward.completion_policy import CompletionPolicy, CompletionScores
from engine.llm.forward.packing import Tokens, TokenTree
from engine.llm.forward.value_head import ValueHead
from engine.llm.tasks.base import Batch, Objective, PartFigures, PartLoss, RunState


class Prompt(Protocol):
    """A question that is answered by a completion."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids, as the model reads it."""


class Completion(Protocol):
    """A text that the model wrote, token by token."""

    @property
    def prompt(self) -> Prompt:
        """The prompt it answers."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids, the end included."""

    @property
    def log_probs(self) -> tuple[float, ...]:
        """log π of each token at the sampling temperature, when it was drawn."""


class CompletionBatch(Batch, Protocol):
    """The completions of an update, groups one behind the other."""

    @property
    def completions(self) -> Sequence[Completion]:
        """[B]"""


C = TypeVar("C", bound=CompletionBatch)


def lengths_of(completions: Sequence[Completion]) -> Array:
    """[B] in tokens."""
    return np.array([len(one.tokens) for one in completions])


def mask_of(completions: Sequence[Completion]) -> Tensor:
    """[B, T] where there is a token."""
    lengths = torch.from_numpy(lengths_of(completions))
    return torch.arange(int(lengths.max())) < lengths[:, None]


def log_probs_of(completions: Sequence[Completion]) -> Tensor:
    """[B, T] log π of the tokens when they were drawn, 0 behind the ends."""
    mask = mask_of(completions)
    log_probs = torch.zeros(mask.shape)
    log_probs[mask] = torch.tensor([x for one in completions for x in one.log_probs])
    return log_probs


def kl_penalty(
    settings: LlmSettings, completions: Sequence[Completion], log_p_ref: Tensor
) -> Floats:
    """[B, T] β times the KL estimated from each token, as it was drawn, given log π [B, T] of the
    reference policy; 0 behind the ends."""
    mask = mask_of(completions)
    away = torch.where(mask, log_p_ref - log_probs_of(completions), 0.0).double()
    estimator = settings.estimator(moves_known=False)
    penalty: Floats = (settings.kl * kl_estimate(estimator, away)).numpy()
    return penalty


def split_of(completions: Sequence[Completion]) -> tuple[list[Tokens], list[Tokens]]:
    """[B] the prompt of each completion, and [B] its own tokens: what a policy reads."""
    return [one.prompt.tokens for one in completions], [one.tokens for one in completions]


@dataclass(frozen=True, eq=False)
class TokenTerms:
    """What the loss of a batch is made of besides log π."""

    advantages: Tensor  # [B] or [B, T]
    log_p_ref: Tensor | None = None  # [B, T]
    values_old: Tensor | None = None  # [B, T]
    targets: Tensor | None = None  # [B, T] what the values are to be


class CompletionObjective(Objective[C]):
    """The algorithm's surrogate of all tokens, and with a value head what that is fitted to."""

    batch: C

    def __init__(
        self,
        run: RunState,
        policy: CompletionPolicy,
        value_head: ValueHead | None,
        batch: C,
        rewards: Floats,
        terms: TokenTerms,
        told: dict[str, float],
    ) -> None:
        """`rewards` [B]: what completions are compared by. `told`: what is said of the batch."""
        self.run, self.policy, self.value_head = run, policy, value_head
        self.batch, self.rewards, self.terms, self.told = batch, rewards, terms, told
        self.epochs = run.settings.epochs
        self.entropy = run.entropy
        self.prompts, self.written = split_of(batch.completions)
        self.mask = mask_of(batch.completions)
        self.log_p_old = log_probs_of(batch.completions)
        lengths = lengths_of(batch.completions)
        weights = run.algorithm.normaliser(lengths, policy.max_tokens)
        self.weights = torch.from_numpy(weights).float()

    @property
    def advantages(self) -> Tensor:
        """[B], or [B, T] where tokens are judged one by one."""
        return self.terms.advantages

    def mean_advantage(self, b: int) -> float:
        """What the tokens of completion b were multiplied with, on average."""
        own = self.advantages[b]
        return float((own if own.dim() == 0 else own[: len(self.written[b])]).mean())

    def parts(self) -> list[list[int]]:
        return self.policy.split(self.prompts, self.written)

    def loss(self, part: Sequence[int]) -> PartLoss:
        scores = self.forward(part)
        at, longest = list(part), scores.mask.shape[1]
        terms, mask = self.terms, self.mask[at, :longest]

        def cut(of: Tensor | None) -> Tensor | None:
            return None if of is None else of[at, :longest] if of.dim() == 2 else of[at]

        advantages = cut(terms.advantages)
        assert advantages is not None
        share = self.run.algorithm.token_loss(
            TokenBatch(
                log_p=scores.log_probs.cpu(),
                log_p_old=self.log_p_old[at, :longest],
                advantages=advantages,
                mask=mask,
                weights=self.weights[at],
                log_p_ref=cut(terms.log_p_ref),
                entropy=scores.entropy.cpu(),
            ),
            self.run.settings,
            self.entropy,
        )
        self.run.tokens += 3 * sum(len(self.written[b]) for b in part)
        of_values = None
        critic = self.run.algorithm.critic(self.run.settings)
        if critic is not None and self.value_head is not None:
            values_old, targets = cut(terms.values_old), cut(terms.targets)
            assert values_old is not None and targets is not None
            # The head reads the hidden states and does not change them: see `algorithms.ppo`.
            values = self.value_head(scores.hidden.detach()).cpu()
            batch = ValueBatch(values, values_old, targets, weights=mask / self.mask.sum())
            of_values = value_loss(batch, critic.clip)
        return PartLoss(share.loss, of_values, share.sums)

    def forward(self, part: Sequence[int]) -> CompletionScores:
        """What the model says of some completions."""
        return self.policy.forward([self.prompts[b] for b in part], [self.written[b] for b in part])

    def metrics(self, figures: list[PartFigures], gradient_norm: float) -> dict[str, float]:
        found = {
            "loss": sum(part.loss for part in figures),
            "gradient_norm": gradient_norm,
            **metrics([part.sums for part in figures]),
            **self.told,
        }
        if self.value_head is not None:
            found["value_loss"] = sum(part.value_loss for part in figures)
        return found


def halve(policies: Sequence[CompletionPolicy], completions: Sequence[Completion] | int) -> None:
    """Halve what one pass of some policies may hold, from what it really holds: these completions,
    or so many tokens."""
    if isinstance(completions, int):
        held = completions
    else:
        held = len(TokenTree.build([[*c.prompt.tokens, *c.tokens] for c in completions]))
    half = max(64, min(policies[0].token_budget, held) // 2)
    for policy in policies:
        policy.token_budget = half
        policy.cache_budget = max(1, min(policy.cache_budget, held) // 2)
