"""Many rows that grow behind the same prompts: attention with a shared prefix.

The keys and values of the prompts stand once, however many rows read them; each row has room of its
own for what it says, reserved beforehand, so that a step writes one place and copies nothing. The
scores of a row over the prompts and over its own tokens are two matrix products under one softmax:
the first reads the prompts once for all rows (Juravsky et al. 2024, "Hydragen", section 3), the
second only what the row itself has said. Behind one cache in one batch row, with masks, every row
would be compared with every other's tokens: 64 times the work for 64 rows.

Rows stand without gaps: when one ends, or one becomes two, a row moves and nobody else does.

Shapes: `R` rows at most, `F` rows now, `P` tokens of the prompts, `T` tokens a row has room for,
`t` tokens it has, `G` heads of keys, `Q` heads of queries, `D` width of a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from engine.core.arrays import Index
from engine.llm.forward.attention import MASKABLE, Masks, by_layer, text_config
from engine.llm.forward.packing import TokenTree
from engine.llm.models.architecture import base_of, decoder_of

NAME = "icemaze_shared_prefix"


class UnsharedError(Exception):
    """This model does something with keys between its cache and its attention."""


def can_share(model: Any) -> bool:
    """Whether the model takes its attention from transformers' table of functions, with the keys
    that are in its cache (DeepSeek keeps only what they are made of)."""
    config = text_config(model)
    supported = getattr(decoder_of(model), "_supports_attention_backend", False)
    supported = supported and not getattr(config, "kv_lora_rank", None)
    return bool(supported) and config._attn_implementation in MASKABLE


class Rows:
    """`F` growing rows behind the prompts of a tree: their cache, and what they may see.

    `cache` is what reading the tree has filled; `ends` [F] are the nodes at which rows begin.
    """

    def __init__(
        self, model: Any, cache: Any, tree: TokenTree, ends: Index, most: int, room: int
    ) -> None:
        self.model, self.room = model, room
        self.layers = [_Layer(of.keys[0], of.values[0], most, room) for of in cache.layers]
        self.cache = Cache(layers=list(self.layers))
        decoder, many = decoder_of(model), (most, len(tree) + room)
        self.blocked = torch.finfo(decoder.dtype).min
        self.sees = torch.zeros(many, dtype=decoder.dtype, device=decoder.device)
        hidden = torch.from_numpy(~tree.ancestors()[ends]).to(decoder.device)
        self.sees[: ends.size, : len(tree)].masked_fill_(hidden, self.blocked)
        self.at = torch.zeros(most, dtype=torch.long, device=decoder.device)  # depth of its last
        self.at[: ends.size] = torch.from_numpy(tree.depth[ends]).to(decoder.device)
        self.depth = torch.from_numpy(tree.depth).to(decoder.device)  # [P]
        self.length = 0  # t

    def continued(self, parent: Index) -> Index:
        """[n] which row each of `n` continuations becomes; `parent` [n] is the row that it
        continues. All other rows are gone."""
        row, source, target = places(parent)
        if source.size:
            device = self.sees.device
            moved, to = torch.from_numpy(source).to(device), torch.from_numpy(target).to(device)
            self.sees[to], self.at[to] = self.sees[moved], self.at[moved]
            for layer in self.layers:
                layer.move(moved, to)
        return row

    def step(self, tokens: Tensor) -> Tensor:
        """[F, H] hidden states of the next token [F] of every row."""
        decoder, n_rows = decoder_of(self.model), tokens.numel()
        self.at[:n_rows] += 1
        self.length += 1
        output = decoder(
            input_ids=tokens[:, None].to(decoder.device),
            position_ids=self.at[:n_rows, None],
            attention_mask=self._masks(n_rows),
            use_cache=True,
            **{cache_parameter(decoder) or "cache": self.cache},
        )
        hidden: Tensor = output.last_hidden_state[:, 0]
        return hidden

    def _masks(self, n_rows: int) -> Masks:
        """The masks [F, 1, 1, P + t] of the newest tokens, for each kind of layer."""
        n_shared = self.depth.numel()
        sees = self.sees[:n_rows, : n_shared + self.length]

        def near(window: int) -> Tensor:
            away = self.at[:n_rows, None] - self.depth  # [F, P]
            own = torch.arange(self.length - 1, -1, -1, device=away.device).expand(n_rows, -1)
            far = torch.cat([away, own], dim=1) >= window
            return sees.masked_fill(far, self.blocked)[:, None, None]

        return by_layer(self.model, sees[:, None, None], near)


def places(parent: Index) -> tuple[Index, Index, Index]:
    """Rows 0 to n − 1 for `n` continuations of rows `parent` [n], with as few moves as possible.

    Returns the row [n] of each, and which rows [m] are to be copied to which [m]. No row is both.
    """
    n = parent.size
    stays = np.zeros(n, dtype=bool)
    stays[np.unique(parent, return_index=True)[1]] = True  # its first continuation stays
    stays &= parent < n
    row = np.where(stays, parent, -1)
    free = np.setdiff1d(np.arange(n), row[stays])
    row[~stays] = free
    return row, parent[~stays], free


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer: [G, P, D] of the prompts, [R, G, T, D] of the rows."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, most: int, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shared_keys, self.shared_values = keys, values
        self.keys = keys.new_empty((most, keys.shape[0], room, keys.shape[2]))
        self.values = values.new_empty((most, values.shape[0], room, values.shape[2]))
        self.is_initialized, self.length = True, 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Take one more token [F, G, 1, D] of every row; gives what the rows have said so far."""
        n_rows = key_states.shape[0]
        self.keys[:n_rows, :, self.length] = key_states[:, :, 0]
        self.values[:n_rows, :, self.length] = value_states[:, :, 0]
        self.length += 1
        own: Any = self.keys[:n_rows, :, : self.length]
        own.icemaze_layer = self  # how `attend` finds the prompts; lost if anyone changes the keys
        return own, self.values[:n_rows, :, : self.length]

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy rows to where other rows were."""
        for of in (self.keys, self.values):
            of[target, :, : self.length] = of[source, :, : self.length]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """All room is reserved when it is made."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return int(self.shared_keys.shape[1]) + self.length

    def get_max_length(self) -> int:
        return int(self.shared_keys.shape[1] + self.keys.shape[2])

    get_max_cache_shape = get_max_length  # its name before transformers 5.24


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[F, 1, Q, D] attention of one token a row over the prompts and what the row has said.

    `query` [F, Q, 1, D], `attention_mask` [F, 1, 1, P + t]. `softcap` bounds scores (Gemma 2),
    `s_aux` [Q] are scores of nothing at all (gpt-oss). Raises UnsharedError, for masks that differ
    from head to head too (Doge).
    """
    layer: _Layer | None = getattr(key, "icemaze_layer", None)
    if layer is None or position_bias is not None or attention_mask.shape[1] != 1:
        raise UnsharedError(type(module).__name__)
    n_rows, n_heads, _one, width = query.shape
    n_keys, n_shared = layer.shared_keys.shape[:2]
    each = n_heads // n_keys
    query = query.reshape(n_rows, n_keys, each, width)

    def by_keys(of: Tensor) -> Tensor:
        """[G, F·Q/G, …] the rows of all that read the same keys behind each other."""
        return of.transpose(0, 1).reshape(n_keys, n_rows * each, -1)

    def by_rows(of: Tensor) -> Tensor:
        """[F, G, Q/G, …] again."""
        return of.view(n_keys, n_rows, each, -1).transpose(0, 1)

    shared = by_rows(by_keys(query) @ layer.shared_keys.transpose(1, 2))
    scores = torch.cat([shared, query @ key.transpose(2, 3)], dim=-1)
    scores *= width**-0.5 if scaling is None else scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores += attention_mask
    if s_aux is not None:
        nothing = s_aux.to(scores).view(1, n_keys, each, 1).expand(n_rows, -1, -1, -1)
        scores = torch.cat([scores, nothing], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = weights[..., : attention_mask.shape[-1]]
    result = weights[..., n_shared:] @ value
    result = result + by_rows(by_keys(weights[..., :n_shared]) @ layer.shared_values)
    return result.reshape(n_rows, 1, n_heads, -1), None


AttentionInterface.register(NAME, attend)


@contextmanager
def attending(model: Any) -> Iterator[None]:
    """Inside, the model's attention is `attend`, for one token a row behind `Rows`."""
    configs = {id(m.config): m.config for m in base_of(model).modules() if hasattr(m, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    for config in configs.values():
        config._attn_implementation = NAME
    try:
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def cache_parameter(decoder: Any) -> str | None:
    """What a decoder calls its cache, given and returned (transformers renamed it in 5.24); None
    for one that takes none."""
    known = inspect.signature(decoder.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in known), None)
