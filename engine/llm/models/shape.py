"""How big a dense transformer is, by the numbers in its `config.json`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a dense decoder-only transformer that decide what it costs.

    `small` counts what is neither a linear layer nor an embedding: norms and biases.
    """

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool = True
    small: int = 0

    @property
    def linears(self) -> list[tuple[int, int]]:
        """(in, out) of the seven linear layers of one block: q, k, v, o, gate, up, down."""
        h, m = self.hidden, self.intermediate
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return [(h, q), (h, kv), (h, kv), (q, h), (h, m), (h, m), (m, h)]

    @property
    def linear_parameters(self) -> int:
        """Weights of all linear layers without the output layer: what is quantized."""
        return self.layers * sum(i * o for i, o in self.linears)

    @property
    def embedding_parameters(self) -> int:
        """Weights of the token embedding, and of the output layer where it is not the same."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.linear_parameters + self.embedding_parameters + self.small

    @property
    def quantized_share(self) -> float:
        """The share of the weights that quantization takes: all linear layers but the output."""
        return self.linear_parameters / self.parameters

    def lora_parameters(self, rank: int) -> int:
        """Weights of adapters of this rank on all linear layers (Hu et al. 2021, section 4.1)."""
        return rank * self.layers * sum(i + o for i, o in self.linears)


def with_small(shape: Shape, family: str) -> Shape:
    """The shape with its norms and biases counted."""
    h, d = shape.hidden, shape.head_dim
    biases = (shape.heads + 2 * shape.kv_heads) * d
    in_a_layer = {"qwen2": 2 * h + biases, "qwen3": 2 * h + 2 * d, "gemma3_text": 4 * h + 2 * d}
    small = shape.layers * in_a_layer.get(family, 2 * h) + h
    return dataclasses.replace(shape, small=small)


LARGEST = 1 << 40
"""No number of a real configuration is larger."""


def text_part(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a `config.json` that is about text: models that see have several."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def shape_from_config(config: dict[str, Any]) -> Shape | None:
    """The shape a `config.json` describes, or None for a model that is not dense."""
    config = text_part(config)
    if any(config.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        return None

    def number(key: str, default: int = 0) -> int:
        found = config.get(key) or default
        if not isinstance(found, int) or not 0 < found < LARGEST:
            raise ValueError(key)
        return int(found)

    try:
        hidden, heads = number("hidden_size"), number("num_attention_heads")
        shape = Shape(
            vocabulary=number("vocab_size"),
            hidden=hidden,
            intermediate=number("intermediate_size"),
            layers=number("num_hidden_layers"),
            heads=heads,
            kv_heads=number("num_key_value_heads", heads),
            head_dim=number("head_dim", hidden // heads),
            tied=bool(config.get("tie_word_embeddings", True)),
        )
    except ValueError:
        return None
    return with_small(shape, str(config.get("model_type", "")))
