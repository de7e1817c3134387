"""The headers of safetensors files: whether they are whole, and fit the model's `config.json`.

A header names every tensor with its shape and its place in the file (the format is described in the
documentation of `safetensors`); no weight is read, so this takes milliseconds for a model of any
size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.core.errors import UserError
from engine.llm.models.shape import Shape, shape_from_config, text_part

Shapes = dict[str, tuple[int, ...]]

LARGEST_HEADER = 100_000_000
"""Bytes, as the library itself allows."""
LIKE_LLAMA = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
"""Model types whose weights have the names and shapes of `_expected`."""
LINEARS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
"""In the order of `Shape.linears`."""
AGAIN = "Copy or fetch it again."


class _Tensor(msgspec.Struct):
    """A tensor in a header; `data_offsets` are counted from the header's end."""

    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def check_weights(files: Sequence[Path], config: dict[str, Any]) -> None:
    """Raise UserError for files that are not whole, or hold another model than `config` says."""
    found: Shapes = {}
    for file in files:
        found |= read_header(file)
    folder = files[0].parent
    layers = text_part(config).get("num_hidden_layers")
    if isinstance(layers, int) and layers > len(found):
        raise UserError(
            f"{folder}: config.json says {str(layers)[:20]} layers, but there are only "
            f"{len(found)} weights: they do not belong together. {AGAIN}"
        )
    shape = shape_from_config(config)
    prefix = next((p for p in ("model.", "") if f"{p}embed_tokens.weight" in found), None)
    if shape is not None and prefix is not None and config.get("model_type") in LIKE_LLAMA:
        _compare(folder, found, prefix, shape, _attention_is_told(config))


def _attention_is_told(config: dict[str, Any]) -> bool:
    """Whether the heads' sizes stand in the file: what is left out has another default in each
    family."""
    kind = config["model_type"]
    return kind == "llama" or all(
        config.get(key) or (key == "head_dim" and kind in ("mistral", "qwen2"))
        for key in ("num_key_value_heads", "head_dim")
    )


def read_header(file: Path) -> Shapes:
    """The shape of every tensor in a file. Raises UserError when the file is damaged."""
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if size < 8 or length > min(size - 8, LARGEST_HEADER):
                raise UserError(
                    f"{file}: not a whole safetensors file: it ends in its header. {AGAIN}"
                )
            header = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        tensors = msgspec.convert(header, dict[str, _Tensor])
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, AttributeError, RecursionError, msgspec.ValidationError) as error:
        raise UserError(
            f"{file}: not a safetensors file: its header cannot be read. {AGAIN}"
        ) from error
    end = 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if end != size:
        raise UserError(
            f"{file}: not a whole safetensors file: it has {size:,} bytes, and its header tells of "
            f"{end:,}. {AGAIN}"
        )
    return {name: tensor.shape for name, tensor in tensors.items()}


def _compare(folder: Path, found: Shapes, prefix: str, shape: Shape, attention: bool) -> None:
    """See that the weights of the decoder have the shapes that the configuration means."""
    wrong = f"{folder}: the weights do not belong to its config.json"
    mend = "Save the model again with save_pretrained(folder)."
    for name, size in _expected(shape, prefix, attention):
        if name not in found:
            raise UserError(f"{wrong}: {name} is missing. {mend}")
        if found[name] != size:
            raise UserError(
                f"{wrong}: {name} is {_times(found[name])}, expected {_times(size)}. {mend}"
            )
    for name in found:
        layer = re.match(rf"{re.escape(prefix)}layers\.(\d+)\.", name)
        if layer and int(layer[1][:9]) >= shape.layers:
            raise UserError(f"{wrong}: it says {shape.layers} layers, but there is {name}. {mend}")


def _expected(shape: Shape, prefix: str, attention: bool) -> Iterator[tuple[str, tuple[int, int]]]:
    """Embedding and linear layers of a dense decoder by name, each [out, in]; those of the
    attention if asked."""
    yield f"{prefix}embed_tokens.weight", (shape.vocabulary, shape.hidden)
    for n in range(shape.layers):
        for name, (into, out) in zip(LINEARS, shape.linears, strict=True):
            if attention or not name.startswith("self_attn"):
                yield f"{prefix}layers.{n}.{name}.weight", (out, into)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"
