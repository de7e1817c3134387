"""What an update of a policy that writes minimises, cut into micro-batches at will.

All weights and advantages come from the whole batch beforehand; the loss of some completions is
their share of the batch's, so the shares add up. The old log-probabilities are what the first pass
itself computes: no step has been made by then, and sampler and training pass differ in 16 bits
(`algorithms.rollout_correction`). Shapes: `B` completions, `T` tokens of the longest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

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
from engine.llm.algorithms.rollout_correction import mismatch_metrics, truncated_weights
from engine.llm.forward.completion_policy import CompletionPolicy, CompletionScores, inputs
from engine.llm.forward.packing import Tokens
from engine.llm.forward.value_head import ValueHead
from engine.llm.passes import Extent, extent_of
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
        """log π of each token at the sampling temperature, as the sampler said."""


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


def sampler_log_probs(completions: Sequence[Completion]) -> Tensor:
    """[B, T] log π of the tokens as the sampler said, 0 behind the ends."""
    mask = mask_of(completions)
    log_probs = torch.zeros(mask.shape)
    log_probs[mask] = torch.tensor([x for one in completions for x in one.log_probs])
    return log_probs


def kl_penalty(settings: LlmSettings, log_p: Tensor, log_p_ref: Tensor, mask: Tensor) -> Floats:
    """[B, T] β times the KL estimated from each token, given its log π [B, T] before the update and
    that of the reference policy, both by training passes; 0 behind the ends."""
    away = torch.where(mask, log_p_ref - log_p, 0.0).double()
    estimator = settings.estimator(moves_known=False)
    penalty: Floats = (settings.kl * kl_estimate(estimator, away)).numpy()
    return penalty


def split_of(completions: Sequence[Completion]) -> tuple[list[Tokens], list[Tokens]]:
    """[B] the prompt of each completion, and [B] its own tokens: what a policy reads."""
    return [one.prompt.tokens for one in completions], [one.tokens for one in completions]


class Reference(NamedTuple):
    """What the reference policy says of some completions of a batch."""

    rows: list[int]
    log_p: Tensor  # [rows, T]


@dataclass(frozen=True, eq=False)
class TokenTerms:
    """What the loss of a batch is made of besides log π."""

    advantages: Tensor  # [B] or [B, T]
    log_p_ref: Tensor | None = None  # [B, T]
    values_old: Tensor | None = None  # [B, T]
    targets: Tensor | None = None  # [B, T] what the values are to be
    told_ref: Reference | None = None  # for a KL that is only told, of some completions


class CompletionObjective(Objective[C]):
    """The algorithm's surrogate of all tokens, and with a value head what that is fitted to.

    The first loss of a row also fixes its old log-probabilities: the learner goes through all parts
    once before it makes a step.
    """

    batch: C
    log_p_old: Tensor
    """[B, T] log π before the first step, by the training pass; NaN where none has been yet."""

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
        self.log_p_sampler = sampler_log_probs(batch.completions)
        self.log_p_old = torch.full(self.mask.shape, torch.nan)
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
        critic = self.run.algorithm.critic(self.run.settings)
        scores = self.forward(part, keep_hidden=critic is not None)
        at, longest = list(part), scores.mask.shape[1]
        terms, mask = self.terms, self.mask[at, :longest]

        def cut(of: Tensor | None) -> Tensor | None:
            return None if of is None else of[at, :longest] if of.dim() == 2 else of[at]

        advantages = cut(terms.advantages)
        assert advantages is not None
        log_p = scores.log_probs.cpu()
        log_p_old = self._old(at, log_p.detach())
        share = self.run.algorithm.token_loss(
            TokenBatch(
                log_p=log_p,
                log_p_old=log_p_old,
                advantages=advantages,
                mask=mask,
                weights=self.weights[at],
                log_p_ref=cut(terms.log_p_ref),
                entropy=scores.entropy.cpu(),
                correction=self._correction(at, log_p_old, mask),
            ),
            self.run.settings,
            self.entropy,
        )
        self.run.tokens += 3 * sum(len(self.written[b]) for b in part)
        of_values = None
        if critic is not None and self.value_head is not None and scores.hidden is not None:
            values_old, targets = cut(terms.values_old), cut(terms.targets)
            assert values_old is not None and targets is not None
            # The head reads the hidden states and does not change them: see `algorithms.ppo`.
            values = self.value_head(scores.hidden.detach()).cpu()
            batch = ValueBatch(values, values_old, targets, weights=mask / self.mask.sum())
            of_values = value_loss(batch, critic.clip)
        return PartLoss(share.loss, of_values, share.sums)

    def _old(self, at: list[int], log_p: Tensor) -> Tensor:
        """[n, t] the old log-probabilities of some rows: what their first pass said."""
        longest = log_p.shape[1]
        old = self.log_p_old[at, :longest]
        old = torch.where(old.isnan(), log_p, old)
        self.log_p_old[at, :longest] = old
        return old

    def _correction(self, at: list[int], log_p_old: Tensor, mask: Tensor) -> Tensor | None:
        settings = self.run.settings
        if settings.rollout_correction == "none":
            return None
        away = log_p_old - self.log_p_sampler[at, : mask.shape[1]]
        return truncated_weights(away, mask, settings.rollout_correction, settings.rollout_cap)

    def forward(self, part: Sequence[int], keep_hidden: bool = False) -> CompletionScores:
        """What the model says of some completions."""
        prompts, written = [self.prompts[b] for b in part], [self.written[b] for b in part]
        return self.policy.forward(prompts, written, keep_hidden)

    def metrics(self, figures: list[PartFigures], gradient_norm: float) -> dict[str, float]:
        found = {
            "loss": sum(part.loss for part in figures),
            "gradient_norm": gradient_norm,
            **metrics([part.sums for part in figures]),
            **self._mismatch(),
            **self.told,
        }
        if self.terms.told_ref is not None:
            found["reference_kl"] = self._told_kl(self.terms.told_ref)
        if self.value_head is not None:
            found["value_loss"] = sum(part.value_loss for part in figures)
        return found

    def _mismatch(self) -> dict[str, float]:
        """How far training pass and sampler are apart in what was drawn, all rows seen."""
        settings, away = self.run.settings, self.log_p_old - self.log_p_sampler
        level, cap = settings.rollout_correction, settings.rollout_cap
        return mismatch_metrics(away, self.mask, level, cap)

    def _told_kl(self, reference: Reference) -> float:
        """KL of the policy before the update to the reference: the mean of k3 over the tokens of
        some completions."""
        log_p, mask = self.log_p_old[reference.rows], self.mask[reference.rows]
        away = torch.where(mask, reference.log_p - log_p, 0.0)
        return float(kl_estimate("k3", away).sum() / mask.sum())


def asked_of(
    policy: CompletionPolicy, name: str, prompts: Iterable[tuple[str, Tokens]]
) -> dict[str, Any]:
    """See `Task.asked`: of a policy that writes, given text and tokens of its prompts."""
    words = policy.head.words
    return {
        "policy": name,
        "answer_tokens": None if words is None else words.tolist(),
        "end_tokens": list(policy.ends),
        "max_tokens": policy.max_tokens,
        "prompts": [{"text": text, "tokens": list(tokens)} for text, tokens in prompts],
    }


def extent_of_batch(
    policy: CompletionPolicy, prompts: Sequence[Tokens], batch: CompletionBatch | None, rows: int
) -> Extent:
    """See `Task.extent`: of the completions in `batch`, or the most that `rows` completions of some
    of these prompts can have."""
    if batch is not None:
        asked, written = split_of(batch.completions)
        return extent_of(inputs(asked, written), policy.packed)
    lengths = [len(prompt) for prompt in prompts]
    longest = max(lengths) + policy.max_tokens - 1  # the last token predicts nothing
    together = rows * longest
    if policy.packed:
        together = min(together, sum(lengths) + rows * (policy.max_tokens - 1))
    return Extent(min(lengths), longest, together)
