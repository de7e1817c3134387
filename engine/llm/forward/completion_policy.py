"""The policy of a model that writes: a whole route, or free text, in one completion.

A training pass packs each prompt once with all its completions behind it (`packing`); the first
token of every completion is predicted by the last token of the shared prompt, and completions that
begin alike share their beginning. Log-probabilities and entropies are computed a few positions at a
time (`output_head`), so the logits of a batch never exist at once.

Shapes: `B` completions, `T` tokens of the longest one, `H` hidden size, `V` words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.llm.forward.agreement import Agreement, agreement
from engine.llm.forward.attention import (
    adapter_off,
    evaluating,
    packed_hidden,
    plain_hidden,
    why_not_packed,
)
from engine.llm.forward.cache_budget import SamplingMemory, measured
from engine.llm.forward.output_head import OutputHead
from engine.llm.forward.packing import (
    DEFAULT_TOKEN_BUDGET,
    Tokens,
    TokenTree,
    padded_groups,
    split_by_budget,
)
from engine.llm.forward.prompts import RoutePrompt
from engine.llm.forward.sampling import Completions, end_tokens, sample
from engine.llm.models.architecture import base_of, decoder_of


class CompletionScores(NamedTuple):
    """What the model says of the tokens of some completions; 0 behind their ends."""

    log_probs: Tensor  # [B, T] log π(token | all before), float32
    entropy: Tensor  # [B, T] of the distribution each token was drawn from
    mask: Tensor  # [B, T] where there is a token
    hidden: Tensor | None = None  # [B, T, H] hidden state each token was predicted from, if kept


def move_words(prompt: RoutePrompt, ends: Sequence[int]) -> tuple[int, ...]:
    """The tokens routes are made of and those that end them: what `words` may restrict to."""
    moves = {token for word in prompt.word_tokens for token in word}
    return tuple(sorted(moves | set(ends)))


class CompletionPolicy:
    """The policy of a language model over completions.

    `words` restricts completions to some token ids (`move_words`), in sampling and in training
    alike; it must hold one that ends a completion. `token_budget` bounds the packed tokens of one
    forward pass, `cache_budget` those in the cache while sampling, and `merges` says whether
    adapters are merged meanwhile; without `memory` both follow from what is free. `note` says why
    a model is not packed, None where it is.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        temperature: float = 1.0,
        max_tokens: int = 32,
        words: Sequence[int] | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        memory: SamplingMemory | None = None,
        packed: bool = True,
    ) -> None:
        self.model = model
        self.ends = end_tokens(model, tokenizer)
        self.max_tokens = max_tokens
        self.token_budget = token_budget
        self.cache_budget, self.merges = memory or measured(model)
        self.head = OutputHead(model, temperature, words)
        if words is not None and not set(words) & set(self.ends):
            raise ValueError("words has no token that ends a completion")
        reason = why_not_packed(model) if packed else None
        self.packed = packed and reason is None
        self.note = reason and (
            f"Every completion is computed with its own prompt, which is slower: {reason}."
        )

    def sample(
        self,
        prompts: Sequence[Tokens],
        group: int,
        generator: torch.Generator,
        greedy: bool = False,
    ) -> Completions:
        """`group` completions of each prompt; see `sampling.sample`."""
        return sample(
            self.model,
            prompts,
            group,
            head=self.head,
            ends=self.ends,
            max_tokens=self.max_tokens,
            generator=generator,
            memory=SamplingMemory(self.cache_budget, self.merges),
            packed=self.packed,
            greedy=greedy,
        )

    def split(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[list[int]]:
        """The completions in parts that fit the token budget, one micro-batch each.

        `prompts` [B] holds the prompt of each completion, here and below.
        """
        sequences = inputs(prompts, completions)
        if self.packed:
            return list(split_by_budget(sequences, self.token_budget))
        return padded_groups([len(sequence) for sequence in sequences], self.token_budget)

    def forward(
        self,
        prompts: Sequence[Tokens],
        completions: Sequence[Tokens],
        keep_hidden: bool = False,
    ) -> CompletionScores:
        """Scores in one pass, with gradients where they are enabled.

        `keep_hidden` for who reads the hidden states, such as a value head: padded they are as
        large as the model's own, or many times as large. Raises ValueError for an empty completion,
        or a token outside `words`.
        """
        sequences = inputs(prompts, completions)
        lengths = np.array([len(completion) for completion in completions])
        mask = np.arange(lengths.max()) < lengths[:, None]  # [B, T]
        row, place = np.nonzero(mask)
        first = np.array([len(prompt) for prompt in prompts]) - 1  # predicts the first token
        if self.packed:
            tree = TokenTree.build(sequences)
            states = packed_hidden(self.model, tree)
            node = np.concatenate([path[f:] for path, f in zip(tree.paths, first, strict=True)])
        else:
            padded = plain_hidden(self.model, sequences)
            states = padded.flatten(0, 1)
            node = row * padded.shape[1] + first[row] + place
        position, choice = np.unique(node, return_inverse=True)
        device = states.device
        states = states[torch.from_numpy(position).to(device)]
        chosen = torch.from_numpy(choice).to(device)
        word = self._columns(completions).to(device)
        log_probs, entropies = self.head.choices(states, chosen, word)
        at = torch.from_numpy(row).to(device), torch.from_numpy(place).to(device)
        hidden = None
        if keep_hidden:
            padded_shape = (*mask.shape, states.shape[1])
            hidden = states.new_zeros(padded_shape).index_put(at, states[chosen])
        return CompletionScores(
            log_probs.new_zeros(mask.shape).index_put(at, log_probs),
            log_probs.new_zeros(mask.shape).index_put(at, entropies[chosen]),
            torch.from_numpy(mask).to(device),
            hidden,
        )

    def _columns(self, completions: Sequence[Tokens]) -> Tensor:
        """The columns of `head` that hold the tokens of all completions, one behind the other."""
        tokens = torch.tensor([token for completion in completions for token in completion])
        if self.head.words is None:
            return tokens
        order = torch.argsort(self.head.words)
        found = torch.searchsorted(self.head.words[order], tokens).clamp_(max=order.numel() - 1)
        columns = order[found]
        if not torch.equal(self.head.words[columns], tokens):
            raise ValueError("a completion has tokens it is not allowed to have")
        return columns

    def log_probs(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Tensor:
        """[B, T] log π of the tokens without gradients, micro-batched."""
        longest = max(len(completion) for completion in completions)
        result = torch.zeros((len(completions), longest))
        with evaluating(self.model):
            for part in self.split(prompts, completions):
                scores = self.forward(*_chosen(part, prompts, completions))
                result[part, : scores.log_probs.shape[1]] = scores.log_probs.cpu()
        return result

    def reference_log_probs(
        self, prompts: Sequence[Tokens], completions: Sequence[Tokens]
    ) -> Tensor:
        """[B, T] log π of the base model, adapter switched off."""
        with adapter_off(self.model):
            return self.log_probs(prompts, completions)

    def agreement(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Agreement:
        """How far this policy is from the model's own forward pass, completion by completion."""
        pairs = list(zip(prompts, completions, strict=True))

        def packed() -> Tensor:
            ours = self.log_probs(prompts, completions)
            return torch.cat([row[: len(c)] for row, c in zip(ours, completions, strict=True)])

        def plain() -> Tensor:
            return torch.cat([self._naive(prompt, completion) for prompt, completion in pairs])

        return agreement(self.model, packed, plain)

    def _naive(self, prompt: Tokens, completion: Tokens) -> Tensor:
        """[T] log π the long way: one sequence, the whole model, all logits, nothing of ours."""
        ids = torch.tensor([[*prompt, *completion]], device=decoder_of(self.model).device)
        with evaluating(self.model):
            logits = base_of(self.model)(input_ids=ids, use_cache=False).logits[0].float().cpu()
        logits = logits[len(prompt) - 1 : -1] / self.head.temperature
        if self.head.words is not None:
            forbidden = torch.ones(logits.shape[1], dtype=torch.bool)
            forbidden[self.head.words] = False
            logits = logits.masked_fill(forbidden, float("-inf"))
        return torch.log_softmax(logits, -1)[
            torch.arange(len(completion)), torch.tensor(completion)
        ]


def inputs(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[list[int]]:
    """What the model reads: prompt and completion, but not the last token: it predicts nothing."""
    if any(len(completion) == 0 for completion in completions):
        raise ValueError("a completion has no tokens")
    return [[*p, *c[:-1]] for p, c in zip(prompts, completions, strict=True)]


def _chosen(
    part: Sequence[int], prompts: Sequence[Tokens], completions: Sequence[Tokens]
) -> tuple[list[Tokens], list[Tokens]]:
    return [prompts[n] for n in part], [completions[n] for n in part]
