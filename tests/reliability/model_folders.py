"""Model folders that are damaged, or whose parts do not belong together."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "engine" / "llm"))

import tiny_models

from engine import presets
from engine.config.preset import LlmPreset
from engine.llm.evaluation.fit import FitQuestion

Spoil = Callable[[Path], None]
TEMPLATE = tiny_models.CHAT_TEMPLATE

MAZE = "[maze]\nmap = 'SF\\nFG'\nmax_steps = 8\n".replace("'SF\\nFG'", '"SF\\nFG"')
TEXT = "[text]\nprompts = ['Write about ice.']\njudge = 'rule'\n"
PRESET = """
title = "tiny"
group = "llm"
{what}
[model]
name = "{folder}"
quantization = "none"
device = "cpu"
policy = "{policy}"
max_tokens = 6
lora = {{rank = 2, alpha = 4.0}}
[algorithm]
name = "rloo"
episodes = 4
group_size = 2
[budget]
updates = 1
"""


def preset(folder: Path, policy: str) -> LlmPreset:
    """A preset that trains the model in a folder on two by two cells, or on text."""
    what = TEXT if policy == "text" else MAZE
    made = presets.parse(PRESET.format(what=what, folder=folder, policy=policy))
    assert isinstance(made, LlmPreset)
    return made


def question(folder: Path, policy: str) -> FitQuestion:
    """What is asked before a run of that preset is made."""
    made = preset(folder, policy)
    texts = list(made.text.prompts) if made.text else []
    return FitQuestion(
        folder=str(folder), model=made.model, maze=made.maze, gamma=0.99, texts=texts
    )


# ---------------------------------------------------------------- one thing wrong


def edit(folder: Path, file: str, **values: Any) -> None:
    """Change keys of a JSON file."""
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def added_token(text: str) -> Spoil:
    """A token behind the last row of the embedding."""

    def spoil(folder: Path) -> None:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        token = {"id": 329, "content": text, "special": True, **plain}
        tokenizer["added_tokens"].append(token)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    return spoil


def template(text: str) -> Spoil:
    return lambda folder: (folder / "chat_template.jinja").write_text(text) and None


def changed(file: str, **values: Any) -> Spoil:
    return lambda folder: edit(folder, file, **values)


def written(file: str, content: bytes) -> Spoil:
    return lambda folder: (folder / file).write_bytes(content) and None


def both(*spoils: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for one in spoils:
            one(folder)

    return spoil


def cut(file: str, part: float) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: int(len(data) * part)])

    return spoil


def index(weights: str) -> Spoil:
    """All weights in a file that an index names."""

    def spoil(folder: Path) -> None:
        shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
        (folder / "model.safetensors").rename(folder / "inside.safetensors")
        shutil.copy(folder / "inside.safetensors", folder / "outside.safetensors")
        content = json.dumps({"metadata": {}, "weight_map": {"model.norm.weight": weights}})
        (folder / "model.safetensors.index.json").write_text(content)

    return spoil


def no_end(folder: Path) -> None:
    edit(folder, "tokenizer_config.json", eos_token=None)
    edit(folder, "generation_config.json", eos_token_id=None)
    template(TEMPLATE.replace("<|im_end|>", ""))(folder)


def pickled_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def pipe(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


def link(name: str, to: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return spoil


BEYOND = both(added_token("<|big|>"), template("<|big|>" + TEMPLATE))
WRITERS = ("route", "text")
ALL = ("action", *WRITERS)
GENERATION = "generation_config.json"

WRONG: dict[str, tuple[Spoil, tuple[str, ...], str]] = {
    "token beyond the embedding": (BEYOND, ALL, "uses token 329 ('<|big|>')"),
    "template refuses": (template("{{ raise_exception('no') }}"), ALL, "refuses what it is"),
    "template is broken": (template("{% for %}"), ALL, "Expected an expression"),
    "template knows other names": (template("{{ a.b.c }}"), ALL, "'a' is undefined"),
    "template drops the message": (template("<|im_start|>hello"), ALL, "leaves out what it is"),
    "template writes nothing": (template("{{ '' }}"), ALL, "leaves out what it is"),
    "template writes too much": (template("{{ 'a ' * 3000000 }}"), ALL, "writes 6,000,000 char"),
    "32 positions": (
        changed("config.json", max_position_embeddings=32), ("action", "route"), "at most 32 tokens"
    ),
    "25 positions": (changed("config.json", max_position_embeddings=25), ALL, "at most 25 tokens"),
    "no end": (no_end, WRITERS, "no token that ends an answer"),
    "end beyond": (changed("tokenizer_config.json", eos_token="<|no|>"), WRITERS, "token 329"),
    "end id beyond": (changed(GENERATION, eos_token_id=[2, 5000]), WRITERS, "token 5000"),
    "end of a wrong type": (changed(GENERATION, eos_token_id="x"), WRITERS, "expected a token id"),
    "vocabulary beyond": (changed("config.json", vocab_size=200), ALL, "329×64, expected 200×64"),
    "another width": (changed("config.json", hidden_size=32), ALL, "329×64, expected 329×32"),
    "a layer missing": (changed("config.json", num_hidden_layers=3), ALL, "layers.2.self_attn"),
    "a layer too many": (changed("config.json", num_hidden_layers=1), ALL, "says 1 layers"),
    "a million layers": (changed("config.json", num_hidden_layers=10**6), ALL, "1000000 layers"),
    "no heads": (changed("config.json", num_attention_heads=0), ALL, "describes no model"),
    "weights cut": (cut("model.safetensors", 0.5), ALL, "not a whole safetensors file"),
    "weights cut in their header": (cut("model.safetensors", 0.001), ALL, "ends in its header"),
    "weights empty": (written("model.safetensors", b""), ALL, "ends in its header"),
    "weights no safetensors": (written("model.safetensors", bytes(99)), ALL, "cannot be read"),
    "index leads out": (index("../outside.safetensors"), ALL, "never read from elsewhere"),
    "index names nothing": (index("nowhere.safetensors"), ALL, "missing or incomplete"),
    "index names a pickle": (index("pytorch_model.bin"), ALL, "no safetensors file of this folder"),
    "pickled only": (pickled_only, ALL, "pickled weights, which can run code"),
    "config empty": (written("config.json", b""), ALL, "cannot be read as JSON"),
    "config nested": (written("config.json", b"[" * 100_000), ALL, "nested too deeply"),
    "config no object": (written("config.json", b"[]"), ALL, "found a list"),
    "config of nobody": (changed("config.json", model_type="zzz"), ALL, "describes no model"),
    "config infinite": (changed("config.json", vocab_size=float("inf")), ALL, "vocab_size"),
    "tokenizer empty": (written("tokenizer.json", b""), ALL, "tokenizer cannot be loaded"),
    "tokenizer nested": (written("tokenizer.json", b"[" * 100_000), ALL, "cannot be loaded"),
    "tokenizer settings": (written("tokenizer_config.json", b"[]"), ALL, "found a list"),
    "generation settings": (written(GENERATION, b"{"), ALL, "cannot be read as JSON"),
    "code for the model": (
        changed("config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"}), ALL, "never runs"
    ),
    "code for the tokenizer": (
        changed("tokenizer_config.json", auto_map={"AutoTokenizer": [None, "evil.Evil"]},
                tokenizer_class="Evil"), ALL, "tokenizer cannot be loaded",
    ),
    "adapters of another model": (
        written("adapter_config.json", b'{"base_model_name_or_path": "../other"}'), ALL, "adapters"
    ),
    "weights elsewhere": (
        changed("config.json", transformers_weights="../outside.safetensors"), ALL, "other weights"
    ),
    "a pipe": (pipe("chat_template.jinja"), ALL, "found a pipe"),
    "a link to nothing": (link("tokenizer.json", "nowhere"), ALL, "leads nowhere"),
    "a link to itself": (link("config.json", "config.json"), ALL, "leads nowhere"),
}  # fmt: skip
"""What is wrong, for which policies it matters, and what is said of it."""


# ---------------------------------------------------------------- anything wrong

METADATA = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    GENERATION,
)
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 7, 2**31, 10**30, 1e308, float("nan"), float("inf"), "", "x", "\ud800",
    "a" * 5000, [], [1], [None], {}, {"a": 1}, "<|im_end|>", "../../x", "\0", [[[]]],
)  # fmt: skip


def spoil_at_random(folder: Path, rng: random.Random) -> str:
    """Change one to three things in the files beside the weights; what was done, in words."""
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        file = folder / rng.choice(METADATA)
        data = file.read_bytes() if file.is_file() else b""
        how = rng.choice(("bytes", "cut", "value", "value", "value", "twice", "gone"))
        if how == "value" and file.suffix == ".json":
            done.append(f"{file.name}: {_odd_value(file, data, rng)}")
            continue
        done.append(f"{file.name}: {how}")
        if how == "gone":
            file.unlink(missing_ok=True)
        elif how == "cut":
            file.write_bytes(data[: rng.randrange(len(data) + 1)])
        elif how == "twice":
            at = rng.randrange(len(data) + 1)
            file.write_bytes(data[:at] + data[at // 2 :])
        else:
            spoilt = bytearray(data or b"{}")
            for _ in range(rng.randrange(1, 6)):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
            file.write_bytes(bytes(spoilt))
    return "; ".join(done)


def _odd_value(file: Path, data: bytes, rng: random.Random) -> str:
    """Put a value no one expects at a random place of a JSON file."""
    try:
        content = json.loads(data)
    except ValueError:
        return "was no JSON"
    at, path, value = content, [], rng.choice(ODD)
    while isinstance(at, dict | list) and at:
        key: Any = rng.choice(sorted(at)) if isinstance(at, dict) else rng.randrange(len(at))
        path.append(key)
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.4:
            at[key] = value
            break
        at = at[key]
    file.write_text(json.dumps(content), "utf-8")
    return f"{path} = {value!r:.40}"
