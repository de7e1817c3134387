"""A model's folder, judged by the files in it: whether it is whole, and safe to be loaded.

It may come from anywhere. Nothing in it is run, and nothing here imports torch: the headers of the
weights say enough.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from engine.core.errors import UserError
from engine.llm.models.weights import check_weights, read_header

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of weight files that can run code when they are read."""
SMALL = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json")
"""Files beside the configuration that are read, where they are there."""
LARGEST_JSON = 64 << 20
"""Bytes of the largest file that is read as JSON here; real ones have some kilobytes."""
AGAIN = "Save the model again with save_pretrained(folder), which writes safetensors."


def check_folder(folder: Path) -> None:
    """Raise UserError unless the folder holds a model that can be loaded and trained safely."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; expected one with a model in it.")
    _check_entries(folder)
    config = read_config(folder)
    _check_settings(folder, config)
    parts = weight_files(folder)
    if not parts:
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
        found = (
            f"found only {', '.join(pickled[:3])}, pickled weights, which can run code when they "
            "are read and are therefore never loaded"
            if pickled
            else "the weights are missing or incomplete"
        )
        raise UserError(
            f"{folder}: expected model.safetensors (or all its parts); {found}. {AGAIN}"
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise UserError(
            f"{folder}: the tokenizer is missing; expected tokenizer.json beside the weights "
            "(tokenizer.save_pretrained(folder) writes it)."
        )
    for name in SMALL:
        if (folder / name).exists():
            read_json(folder / name)
    check_weights(parts, config)


def _check_entries(folder: Path) -> None:
    """Whoever reads a pipe or a device waits for ever; a link that leads nowhere is no file."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error}).") from error
    for entry in entries:
        if not entry.is_file() and not entry.is_dir():
            raise UserError(
                f"{entry}: expected a file, found "
                f"{'a link that leads nowhere' if entry.is_symlink() else 'a pipe or a device'}; "
                "remove it, or save the model again with save_pretrained(folder)."
            )


def _check_settings(folder: Path, config: dict[str, Any]) -> None:
    if "auto_map" in config:
        raise UserError(
            f"{folder}: this model needs Python code of its own to be loaded, and Ice Maze never "
            "runs code that comes with a model. Choose one that transformers knows by itself."
        )
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    if method:
        raise UserError(
            f"{folder}: its weights are already quantized ({str(method)[:40]}); give the "
            "unquantized model and set model.quantization instead."
        )
    if (folder / "adapter_config.json").exists() or "transformers_weights" in config:
        raise UserError(
            f"{folder}: this folder holds adapters, or names other weights than its own; expected "
            "a whole model. Merge the adapters into it (merge_and_unload) and save that."
        )


def complete(folder: Path) -> bool:
    """Whether all safetensors files of the model are there."""
    try:
        return bool(weight_files(folder))
    except UserError:
        return False


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, none where they are missing or not all there. Raises
    UserError for an index that leads out of the folder."""
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(part, str) for part in named.values()):
        raise UserError(f"{index}: expected a weight_map from weights to their files. {AGAIN}")
    for part in (parts := sorted(set(named.values()))):
        if Path(part).name != part or "\0" in part or not part.endswith(".safetensors"):
            raise UserError(
                f"{index}: the part {part!r} is no safetensors file of this folder; a model is "
                f"never read from elsewhere. {AGAIN}"
            )
    return [folder / part for part in parts] if all((folder / p).is_file() for p in parts) else []


NOT_QUANTIZED = re.compile(r"embed|\bwte\b|\bwpe\b|head\b|norm|conv|router|gate\.weight", re.I)
"""What matrices are called that are no linear layer's, or an output layer's."""


def quantized_share(folder: Path) -> float | None:
    """About which share of a model's weights `nf4` puts in 4 bits, by the headers of its files: the
    matrices of its linear layers and experts. None where there are no files. Raises UserError."""
    shapes = {n: s for file in weight_files(folder) for n, s in read_header(file).items()}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    taken = [n for n, s in shapes.items() if len(s) in (2, 3) and not NOT_QUANTIZED.search(n)]
    whole = sum(sizes.values())
    return sum(sizes[name] for name in taken) / whole if whole else None


def read_config(folder: Path) -> dict[str, Any]:
    """The model's `config.json`. Raises UserError when it is missing or is not one."""
    file = folder / "config.json"
    if not file.exists():
        raise UserError(f"{folder}: there is no config.json, so there is no model here.")
    return read_json(file)


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_JSON:
            raise UserError(f"{file}: expected a file of at most {LARGEST_JSON >> 20} MB.")
        found = json.loads(file.read_text("utf-8"))
    except RecursionError:
        raise UserError(f"{file}: cannot be read as JSON (nested too deeply).") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}).") from error
    if not isinstance(found, dict):
        raise UserError(f"{file}: expected a JSON object, found a {type(found).__name__}.")
    return found
