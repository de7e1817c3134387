"""Completions drawn from the model: pure π at a temperature, nothing cut off.

No top-k, no top-p, no repetition penalty, whatever the model's `generation_config` says: sampling
from anything but the distribution that is trained makes the gradient silently off-policy.

The prompts are computed once. After that the completions grow as one tree (`packing`) behind the
key-value cache of the prompts: rows that have said the same so far are one row, and finished rows
are not continued. A forward pass holds one token of every distinct unfinished row, so a policy that
has become sure of itself is sampled for little more than the price of one row.

Every row draws with random numbers of its own, so what it says depends neither on the other rows
nor on how many are sampled at a time.

Shapes: `B` rows (prompts × group), `T` tokens of the longest completion, `F` distinct unfinished
rows, `K` tokens in the cache, `V` words.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.core.arrays import Index
from engine.llm.forward.attention import base_of, decoder_of, evaluating, masks, unpacked
from engine.llm.forward.output_head import OutputHead
from engine.llm.forward.packing import Tokens, TokenTree
from engine.llm.models import tokenizer as tokenizers

DEFAULT_CACHE_BUDGET = 4096
PADDING = 0  # in `Completions.tokens` behind the end, where `mask` is False
GREEDY = float("nan")  # in place of a random number: the likeliest token is taken


@dataclass(frozen=True, eq=False)
class Completions:
    """B completions. An end token, where one was drawn, is their last token.

    Tensors are on the CPU. `truncated`: the token limit came before an end.
    """

    prompt: Tensor  # [B] index of the prompt
    tokens: Tensor  # [B, T] token ids
    log_probs: Tensor  # [B, T] log π(token | all before) when it was drawn, 0 behind the end
    lengths: Tensor  # [B]
    truncated: Tensor  # [B] bool

    def __len__(self) -> int:
        return int(self.lengths.numel())

    @property
    def mask(self) -> Tensor:
        """[B, T] where a token was drawn."""
        return torch.arange(self.tokens.shape[1]) < self.lengths[:, None]

    def rows(self) -> list[list[int]]:
        """B times the token ids of a completion, its end included."""
        pairs = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [tokens[:length] for tokens, length in pairs]


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends a completion: all that model, tokenizer and chat template name."""
    base = base_of(model)
    holders = (getattr(base, "generation_config", None), base.config)
    return tokenizers.end_tokens(tokenizer, [getattr(h, "eos_token_id", None) for h in holders])


def sample(
    model: Any,
    prompts: Sequence[Tokens],
    group: int,
    *,
    head: OutputHead,
    ends: Sequence[int],
    max_tokens: int,
    generator: torch.Generator,
    packed: bool = True,
    cache_budget: int = DEFAULT_CACHE_BUDGET,
    greedy: bool = False,
) -> Completions:
    """`group` completions of each prompt, at most `max_tokens` long; rows in order of the prompts.

    `head` brings temperature and restriction. `cache_budget` bounds the tokens in the cache: where
    more could be needed, rows are sampled in several parts, with the same result. `greedy` adds
    one row for each prompt behind all others, made of the likeliest tokens.
    """
    uniform = torch.rand((len(prompts) * group, max_tokens), generator=generator)
    rows = np.repeat(np.arange(len(prompts)), group)
    if greedy:
        rows = np.concatenate([rows, np.arange(len(prompts))])
        uniform = torch.cat([uniform, torch.full((len(prompts), max_tokens), GREEDY)])
    longest = max(len(prompt) for prompt in prompts)
    at_once = max(1, (cache_budget - longest) // max_tokens)
    if not packed:
        at_once = min(at_once, max(1, group))
    parts = []
    with evaluating(model), unpacked(model):
        for part in _parts(rows, at_once, one_prompt=not packed):
            growth = _Growth(uniform[part], head, ends)
            if packed:
                _grow_packed(model, [prompts[row] for row in rows[part]], growth)
            else:
                _grow_plain(model, prompts[rows[part][0]], growth)
            parts.append(growth)
    return _collect(torch.from_numpy(rows), parts)


def _parts(rows: Index, at_once: int, one_prompt: bool) -> list[slice]:
    """Consecutive slices of at most `at_once` rows, each within one prompt if asked."""
    cuts = [0]
    for row in range(1, rows.size + 1):
        full = row - cuts[-1] == at_once
        if row == rows.size or full or (one_prompt and rows[row] != rows[row - 1]):
            cuts.append(row)
    return [slice(first, end) for first, end in itertools.pairwise(cuts)]


class _Growth:
    """Completions while they grow: what was drawn, and who is not finished."""

    def __init__(self, uniform: Tensor, head: OutputHead, ends: Sequence[int]) -> None:
        n_rows, self.max_tokens = uniform.shape
        self.uniform, self.head = uniform, head
        self.ends = torch.as_tensor(ends, dtype=torch.long)
        self.tokens = torch.full((n_rows, self.max_tokens), PADDING, dtype=torch.long)
        self.log_probs = torch.zeros((n_rows, self.max_tokens))
        self.lengths = torch.zeros(n_rows, dtype=torch.long)
        self.alive = torch.arange(n_rows)  # unfinished rows
        self.t = 0

    def draw(self, hidden: Tensor, source: Tensor) -> Tensor:
        """Draw the next token of every unfinished row from the hidden states [F, H].

        `source` [alive] is the hidden state each reads. Returns which of them go on, [alive] bool.
        """
        log_pi = torch.log_softmax(self.head.logits(hidden), dim=-1).cpu()  # [F, V]
        cumulative = log_pi.double().exp().cumsum(-1)
        chance = self.uniform[self.alive, self.t].double()
        wanted = chance.nan_to_num(0.0)[:, None] * cumulative[source, -1:]
        column = torch.searchsorted(cumulative[source], wanted, right=True)[:, 0]
        column = column.clamp_(max=log_pi.shape[1] - 1)
        column = torch.where(chance.isnan(), log_pi.argmax(-1)[source], column)
        token = column if self.head.words is None else self.head.words[column]
        self.tokens[self.alive, self.t] = token
        self.log_probs[self.alive, self.t] = log_pi[source, column]
        self.t += 1
        self.lengths[self.alive] = self.t
        goes_on = ~torch.isin(token, self.ends)
        self.alive = self.alive[goes_on]
        return goes_on

    @property
    def done(self) -> bool:
        return self.t == self.max_tokens or not self.alive.numel()


def _grow_packed(model: Any, prompts: Sequence[Tokens], growth: _Growth) -> None:
    """Grow the completions of one prompt a row as a tree, in one batch row, behind one cache."""
    tree = TokenTree.build(prompts)
    cache, positions = _new_cache(), tree.depth
    hidden = _step(model, tree.tokens, tree.ancestors(), tree.depth, positions, cache)
    nodes, source = np.unique(tree.last, return_inverse=True)
    sees, depth = tree.ancestors()[nodes], tree.depth[nodes]  # [F, K], [F] of the growing ends
    hidden = hidden[torch.from_numpy(nodes).to(hidden.device)]
    while True:
        goes_on = growth.draw(hidden, torch.from_numpy(source))
        if growth.done:
            return
        drawn = growth.tokens[growth.alive, growth.t - 1].numpy()
        new, source = np.unique(
            np.stack([source[goes_on.numpy()], drawn]), axis=1, return_inverse=True
        )
        source = source.reshape(-1)
        sees = np.concatenate([sees[new[0]], np.eye(new.shape[1], dtype=bool)], axis=1)
        depth = depth[new[0]] + 1
        positions = np.concatenate([positions, depth])
        hidden = _step(model, new[1], sees, depth, positions, cache)


def _step(
    model: Any,
    tokens: Index,
    sees: NDArray[np.bool_],
    depth: Index,
    positions: Index,
    cache: Any,
) -> Tensor:
    """[Q, H] hidden states of new tokens [Q] behind the cache, which grows by them."""
    decoder = decoder_of(model)
    output = decoder(
        input_ids=torch.from_numpy(tokens)[None].to(decoder.device),
        position_ids=torch.from_numpy(depth)[None].to(decoder.device),
        attention_mask=masks(model, sees, depth, positions),
        use_cache=True,
        **{_cache_parameter(decoder) or "cache": cache},
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _cache_parameter(decoder: Any) -> str | None:
    """What a decoder calls its cache, given and returned (transformers renamed it in 5.24); None
    for one that takes none."""
    known = inspect.signature(decoder.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in known), None)


def _new_cache() -> Any:
    """A cache that keeps every token in every layer: what is seen is the masks' business alone."""
    from transformers import DynamicCache

    return DynamicCache()


def _grow_plain(model: Any, prompt: Tokens, growth: _Growth) -> None:
    """Grow the completions of one prompt as a batch, with the cache the model makes itself.

    For models that cannot be told what to see. All rows have one length, so nothing is padded;
    finished rows repeat their last token, which nobody reads.
    """
    decoder = decoder_of(model)
    name = _cache_parameter(decoder)
    ids = torch.as_tensor(prompt).repeat(growth.tokens.shape[0], 1)
    new, cache = ids, None
    while True:
        if name is None:
            output = decoder(input_ids=ids.to(decoder.device))
        else:
            output = decoder(input_ids=new.to(decoder.device), use_cache=True, **{name: cache})
            cache = getattr(output, name, None)
            if cache is None:  # it keeps none, or does not give it back: all is read again
                name = None
        growth.draw(output.last_hidden_state[:, -1], growth.alive)
        if growth.done:
            return
        new = growth.tokens[:, growth.t - 1 : growth.t]
        ids = torch.cat([ids, new], dim=1)


def _collect(prompt: Tensor, parts: Sequence[_Growth]) -> Completions:
    lengths = torch.cat([part.lengths for part in parts])
    longest = int(lengths.max())
    unfinished = []
    for part in parts:
        flags = torch.zeros(part.lengths.numel(), dtype=torch.bool)
        flags[part.alive] = True
        unfinished.append(flags)
    return Completions(
        prompt=prompt,
        tokens=torch.cat([part.tokens for part in parts])[:, :longest],
        log_probs=torch.cat([part.log_probs for part in parts])[:, :longest],
        lengths=lengths,
        truncated=torch.cat(unfinished),
    )
