"""Free text asked for, written, and described by features: what a text policy learns from.

One pass of the base model, adapter switched off, gives two things at once: the log-probabilities
that the KL is taken to, and the hidden states that the reward model reads (the mean over those its
tokens were predicted from). Because the base never changes, neither do a text's features.

Shapes: `B` completions in groups of `G`, `T` tokens of the longest one, `H` hidden size, `D`
features: those that can be read, then H.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from engine.core.arrays import Floats
from engine.llm.forward.attention import adapter_off, evaluating
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.interruption import Interrupted, give_way, never
from engine.llm.forward.prompts import request_prompt
from engine.llm.tasks.completions import mask_of, split_of
from engine.llm.tasks.text.features import readable


@dataclass(frozen=True)
class Request:
    """What the model is asked, and how that reads in its chat template."""

    asked: str
    text: str
    tokens: tuple[int, ...]

    @classmethod
    def of(cls, asked: str, tokenizer: Any) -> Request:
        return cls(asked, *request_prompt(asked, tokenizer))


@dataclass(frozen=True, eq=False)
class Written:
    """One completion."""

    prompt: Request
    tokens: tuple[int, ...]  # its end included
    log_probs: tuple[float, ...]  # at the sampling temperature, when it was drawn
    text: str
    cut_off: bool  # the token limit came before an end


@dataclass(frozen=True, eq=False)
class TextBatch:
    """The completions of an update."""

    completions: tuple[Written, ...]  # [B], groups one behind the other
    group_size: int
    env_steps: ClassVar[int] = 0

    @property
    def episodes(self) -> int:
        """B"""
        return len(self.completions)


def write(
    policy: CompletionPolicy,
    tokenizer: Any,
    requests: Sequence[Request],
    group: int,
    generator: torch.Generator,
) -> list[Written]:
    """`group` completions of each request, in this order."""
    drawn = policy.sample([request.tokens for request in requests], group, generator)
    rows = zip(
        drawn.prompt.tolist(), drawn.rows(), drawn.log_probs.tolist(), drawn.truncated.tolist(),
        strict=True,
    )  # fmt: skip
    return [
        Written(
            prompt=requests[asked],
            tokens=tuple(tokens),
            log_probs=tuple(log_probs[: len(tokens)]),
            text=tokenizer.decode(
                list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
            ).strip(),
            cut_off=cut_off,
        )
        for asked, tokens, log_probs, cut_off in rows
    ]


@dataclass(frozen=True, eq=False)
class Described:
    """What the base model says about some completions."""

    features: Floats  # [B, D]
    log_p_ref: Tensor  # [B, T] log π of the base model, 0 behind the ends


def describe(
    policy: CompletionPolicy, written: Sequence[Written], interrupted: Interrupted = never
) -> Described:
    """The features of completions, and their log-probabilities under the base model. Raises
    PutOffError."""
    prompts, completions = split_of(written)
    log_p = torch.zeros(mask_of(written).shape)
    hidden: list[Tensor] = [torch.zeros(0)] * len(written)
    with evaluating(policy.model), adapter_off(policy.model):
        for part in policy.split(prompts, completions):
            give_way(interrupted)
            asked, answers = [prompts[b] for b in part], [completions[b] for b in part]
            scores = policy.forward(asked, answers, keep_hidden=True)
            assert scores.hidden is not None
            log_p[part, : scores.log_probs.shape[1]] = scores.log_probs.cpu()
            for row, b in enumerate(part):
                hidden[b] = scores.hidden[row, : len(completions[b])].float().mean(0)
    texts = [one.text for one in written]
    named = readable(texts, [w.prompt.asked for w in written], [w.cut_off for w in written])
    pooled = torch.stack(hidden).cpu().double().numpy()
    return Described(np.concatenate([named, pooled], axis=1), log_p)


def different_pairs(written: Sequence[Written], group: int) -> list[tuple[int, int]]:
    """The first two completions of each `group` that do not read alike, by their places;
    none of a group in which all do: there is nothing to prefer."""
    pairs = []
    for first in range(0, len(written), group):
        for other in range(first + 1, first + group):
            if written[other].text != written[first].text:
                pairs.append((first, other))
                break
    return pairs
