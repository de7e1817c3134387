"""How much can be sampled at a time: what free memory allows, asked once for a run.

How many rows are sampled together decides how their matrix products are cut, and with that the last
digit of a log-probability. So a run asks once what it may take, keeps the answer with its
checkpoints, and takes the same when it goes on, however much memory is free by then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.llm.forward.attention import text_config
from engine.llm.forward.merged import merged_bytes
from engine.llm.models.architecture import decoder_of
from engine.llm.models.memory_use import free_memory

SHARE = 0.5
"""The part of free memory that a cache may take. The rest is for the masks, logits and hidden
states of a step, for the first moments of Adam, and for whoever else is on this machine."""
MOST = 2**18
"""No more tokens, and a power of two: two runs on one machine are to get the same, although what
is free there changes all the time."""
MERGED_SHARE = 0.25
"""The part of it that merged weights may take."""


class SamplingMemory(NamedTuple):
    """What sampling may take of memory."""

    cache_tokens: int
    """Tokens in the cache: those of the prompts, and room for those of every row."""
    merged: bool
    """Whether adapters are merged into copies of the weights meanwhile."""


def cache_token_bytes(model: Any) -> int:
    """Bytes of one token's keys and values in all layers, by the configuration."""
    config = text_config(model)

    def number(*names: str) -> int:
        return next((int(n) for name in names if (n := getattr(config, name, None))), 0)

    heads = number("num_attention_heads", "n_head", "num_heads") or 1
    keys = number("num_key_value_heads") or heads
    width = number("head_dim") or number("hidden_size", "n_embd") // heads
    both = 2 * keys * width
    if latent := number("kv_lora_rank"):  # DeepSeek's: what keys and values are made of
        both = latent + number("qk_rope_head_dim")
    item = int(decoder_of(model).dtype.itemsize)
    return max(1, number("num_hidden_layers", "n_layer") * both * item)


def measured(model: Any) -> SamplingMemory:
    """What sampling from a loaded model may take of the memory that is free now."""
    free = free_memory(decoder_of(model).device)
    needed = merged_bytes(model)
    merging = 0 < needed <= MERGED_SHARE * free
    left = free - needed if merging else free
    fitting = max(1, int(SHARE * left) // cache_token_bytes(model))
    return SamplingMemory(min(MOST, 1 << (fitting.bit_length() - 1)), merging)
