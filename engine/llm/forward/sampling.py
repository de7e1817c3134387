"""Completions drawn from the model: pure π at a temperature, nothing cut off.

No top-k, no top-p, no repetition penalty, whatever the model's `generation_config` says: sampling
from anything but the distribution that is trained makes the gradient silently off-policy.

The prompts are computed once. After that the completions grow behind them (`shared_prefix`): rows
that have said the same so far are one row, and finished rows are not continued. A forward pass
holds one token of every distinct unfinished row, so a policy that has become sure of itself is
sampled for little more than the price of one row. Tokens are chosen where the model is; what comes
to the CPU at each step is their numbers and log-probabilities.

Every row draws with random numbers of its own, so what it says depends neither on the other rows
nor on how many are sampled at a time, but for the last digits of floating-point sums.

Shapes: `B` rows (prompts × group), `T` tokens of the longest completion, `F` distinct unfinished
rows, `A` unfinished rows, `V` words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.arrays import Bools, Index
from engine.llm.forward.attention import evaluating, masks
from engine.llm.forward.cache_budget import SamplingMemory
from engine.llm.forward.merged import merged
from engine.llm.forward.output_head import CHUNK_BYTES, OutputHead
from engine.llm.forward.packing import Children, Tokens, TokenTree, insert, new_tokens
from engine.llm.forward.shared_prefix import (
    Rows,
    UnsharedError,
    attending,
    cache_parameter,
    can_share,
)
from engine.llm.models import tokenizer as tokenizers
from engine.llm.models.architecture import base_of, decoder_of

PROMPT_TOKENS = 2048
"""Most tokens of different prompts that rows stand behind together: each row is compared with all
of them, also with those it does not see."""
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
    memory: SamplingMemory,
    packed: bool = True,
    greedy: bool = False,
) -> Completions:
    """`group` completions of each prompt, at most `max_tokens` long; rows in order of the prompts.

    `head` brings temperature and restriction. Where more tokens could be in the cache than `memory`
    allows, rows are sampled in several parts. `greedy` adds one row for each prompt behind all
    others, made of the likeliest tokens.
    """
    uniform = torch.rand((len(prompts) * group, max_tokens), generator=generator)
    rows = np.repeat(np.arange(len(prompts)), group)
    if greedy:
        rows = np.concatenate([rows, np.arange(len(prompts))])
        uniform = torch.cat([uniform, torch.full((len(prompts), max_tokens), GREEDY)])
    asked = [prompts[int(row)] for row in rows]

    def grown(shared: bool) -> list[_Growth]:
        parts = []
        for part in _parts(asked, max_tokens, memory.cache_tokens, shared):
            parts.append(_Growth(uniform[part], head, ends))
            (_grow_shared if shared else _grow_plain)(model, asked[part], parts[-1])
        return parts

    with evaluating(model), merged(model) if memory.merged else nullcontext():
        try:
            parts = grown(shared=packed and can_share(model))
        except UnsharedError:
            parts = grown(shared=False)
    return _collect(torch.from_numpy(rows), parts)


def _parts(
    asked: Sequence[Tokens], max_tokens: int, cache_tokens: int, shared: bool
) -> Iterator[slice]:
    """Consecutive slices of the rows, as long as the cache allows, at least one row each. Without
    `shared`, within one prompt, which every row has to itself."""
    first, held = 0, 0
    tree: Children = {}
    for row, prompt in enumerate(asked):
        new = new_tokens(prompt, tree) if shared else len(prompt)
        if shared:
            full = len(tree) + new > PROMPT_TOKENS and new > 0
        else:
            full = tuple(prompt) != tuple(asked[first])
        if row > first and (full or held + new + max_tokens > cache_tokens):
            yield slice(first, row)
            first, held, tree = row, 0, {}
            new = len(prompt)
        held += new + max_tokens
        if shared:
            insert(prompt, tree)
    yield slice(first, len(asked))


class _Growth:
    """Completions while they grow: what was drawn, and who is not finished."""

    def __init__(self, uniform: Tensor, head: OutputHead, ends: Sequence[int]) -> None:
        n_rows, self.max_tokens = uniform.shape
        self.uniform, self.head = uniform.double(), head
        self.ends = torch.as_tensor(ends, dtype=torch.long)
        self.tokens = torch.full((n_rows, self.max_tokens), PADDING, dtype=torch.long)
        self.log_probs = torch.zeros((n_rows, self.max_tokens))
        self.lengths = torch.zeros(n_rows, dtype=torch.long)
        self.alive = torch.arange(n_rows)  # unfinished rows
        self.t = 0

    def draw(self, hidden: Tensor, source: Index) -> Bools:
        """Draw the next token of every unfinished row from the hidden states [F, H].

        `source` [A] is the hidden state each reads. Returns which of them go on, [A].
        """
        column, log_p = self._choose(hidden, source, self.uniform[self.alive, self.t])
        token = column if self.head.words is None else self.head.words[column]
        self.tokens[self.alive, self.t] = token
        self.log_probs[self.alive, self.t] = log_p
        self.t += 1
        self.lengths[self.alive] = self.t
        goes_on = ~torch.isin(token, self.ends)
        self.alive = self.alive[goes_on]
        going: Bools = goes_on.numpy()
        return going

    def _choose(self, hidden: Tensor, source: Index, chance: Tensor) -> tuple[Tensor, Tensor]:
        """[A] columns of the head and their log π: the first column up to which the probabilities
        add up to more than `chance` [A].

        Where the model is, and for no more rows at once than `CHUNK_BYTES` of logits hold.
        """
        order = np.argsort(source, kind="stable")
        readers = np.bincount(source, minlength=hidden.shape[0])
        place = np.empty_like(source)  # which of the readers of its hidden state a row is
        place[order] = np.arange(source.size) - (np.cumsum(readers) - readers)[source[order]]
        at = torch.from_numpy(source), torch.from_numpy(place)
        wanted = torch.zeros((hidden.shape[0], int(readers.max())), dtype=torch.float64)
        wanted[at] = chance  # [F, most readers]
        wanted = wanted.to(hidden.device)
        likeliest = bool(chance.isnan().any())
        size = max(1, CHUNK_BYTES // (4 * self.head.n_words))
        chunks = zip(torch.split(hidden, size), torch.split(wanted, size), strict=True)
        found = torch.cat([self._chosen(*chunk, likeliest) for chunk in chunks], dim=1).cpu()
        return found[0][at].long(), found[1][at].float()

    def _chosen(self, hidden: Tensor, chance: Tensor, likeliest: bool) -> Tensor:
        """[2, F, n] float64 columns and their log π, for `chance` [F, n]; NaN takes the likeliest.
        One tensor, for one way to the CPU.

        In float64, where the order in which a GPU adds up moves nothing that a random number could
        fall on.
        """
        log_pi = torch.log_softmax(self.head.logits(hidden), dim=-1)  # [F, V]
        cumulative = log_pi.double().exp_().cumsum(-1)
        wanted = chance.nan_to_num(0.0) * cumulative[:, -1:]
        column = torch.searchsorted(cumulative, wanted, right=True)
        column = column.clamp_(max=log_pi.shape[1] - 1)
        if likeliest:
            column = torch.where(chance.isnan(), log_pi.argmax(-1, keepdim=True), column)
        return torch.stack([column.double(), log_pi.gather(1, column).double()])

    @property
    def done(self) -> bool:
        return self.t == self.max_tokens or not self.alive.numel()

    @property
    def drawn(self) -> Tensor:
        """[A] the newest token of every unfinished row."""
        return self.tokens[self.alive, self.t - 1]


def _grow_shared(model: Any, prompts: Sequence[Tokens], growth: _Growth) -> None:
    """Grow the completions of one prompt a row behind the prompts they share."""
    tree = TokenTree.build(prompts)
    hidden, cache = _read(model, tree)
    ends, source = np.unique(tree.last, return_inverse=True)
    hidden = hidden[torch.from_numpy(ends).to(hidden.device)]
    goes_on = growth.draw(hidden, source)
    if growth.done:
        return
    rows = Rows(model, cache, tree, ends, len(prompts), growth.max_tokens - 1)
    with attending(model):
        while not growth.done:
            said = np.stack([source[goes_on], growth.drawn.numpy()])
            (parent, tokens), source = np.unique(said, axis=1, return_inverse=True)
            row = rows.continued(parent)
            source = row[source.reshape(-1)]
            hidden = rows.step(torch.from_numpy(tokens[np.argsort(row)]))
            goes_on = growth.draw(hidden, source)


def _read(model: Any, tree: TokenTree) -> tuple[Tensor, Any]:
    """[L, H] hidden states of the prompts, and the cache they leave: every token in every layer,
    for what is seen is the masks' business alone."""
    from transformers import DynamicCache

    decoder, cache = decoder_of(model), DynamicCache()
    output = decoder(
        input_ids=torch.from_numpy(tree.tokens)[None].to(decoder.device),
        position_ids=torch.from_numpy(tree.depth)[None].to(decoder.device),
        attention_mask=masks(model, tree.ancestors(), tree.depth, tree.depth),
        use_cache=True,
        **{cache_parameter(decoder) or "cache": cache},
    )
    return output.last_hidden_state[0], cache


def _grow_plain(model: Any, prompts: Sequence[Tokens], growth: _Growth) -> None:
    """Grow the completions of one prompt as a batch, with the cache the model makes itself.

    For models that cannot be told what to see. All rows have one length, so nothing is padded. The
    prompt is read once and its cache repeated; rows that finish leave the batch.
    """
    decoder = decoder_of(model)
    name = cache_parameter(decoder)
    new = torch.as_tensor(prompts[0])[None]
    rows, cache = new.expand(len(prompts), -1), None
    source = np.zeros(len(prompts), dtype=np.int64)  # of the prompt, read once
    while True:
        if name is None:
            output = decoder(input_ids=(rows if growth.t else new).to(decoder.device))
        else:
            output = decoder(input_ids=new.to(decoder.device), use_cache=True, **{name: cache})
            cache = getattr(output, name, None)
            if cache is None:  # it keeps none, or does not give it back: all is read again
                name = None
        going = np.flatnonzero(growth.draw(output.last_hidden_state[:, -1], source))
        if growth.done:
            return
        if cache is not None and (growth.t == 1 or going.size < source.size):
            cache.reorder_cache(torch.from_numpy(source[going]).to(decoder.device))
        new = growth.drawn[:, None]
        rows = torch.cat([rows[torch.from_numpy(going)], new], dim=1)
        source = np.arange(going.size)


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
