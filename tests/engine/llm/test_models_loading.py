"""Loading: adapters where they belong, gradients that an evaluation does not cost, PEFT folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import tiny_models
import torch

from engine.core.errors import UserError
from engine.llm.forward.attention import adapter_off
from engine.llm.forward.merged import merged
from engine.llm.models import device, memory
from engine.llm.models.adapters import adapter_weights, load_adapter, save_adapter
from engine.llm.models.catalog import resolve, shape_of
from engine.llm.models.loading import Loaded, LoraSettings, load_model

TinyModel = Callable[[str], Path]
QUANTIZATIONS = ("nf4", "int8", "none")
LINEARS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
MORE_LAYERS = {"num_hidden_layers": 3}
IDS = torch.arange(3, 27).unsqueeze(0)
"""[1, 24] tokens: more than the tiny Gemma's window."""


def shake_adapters(loaded: Loaded, seed: int = 1) -> None:
    """Give B, which starts at zero, values, so that A has gradients and the adapter an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in loaded.adapter_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def logits(loaded: Loaded, ids: torch.Tensor = IDS) -> torch.Tensor:
    return loaded.model(input_ids=ids).logits.float()


def gradients(loaded: Loaded, ids: torch.Tensor = IDS) -> list[torch.Tensor]:
    """Of a log-probability, with respect to every adapter."""
    loaded.model.train()
    loss = logits(loaded, ids).log_softmax(-1)[0, -1, 7]
    return list(torch.autograd.grad(loss, loaded.adapter_parameters()))


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_adapters_are_on_all_linear_layers_and_alone_are_trained(
    tiny_model: TinyModel, architecture: str, quantization: device.Quantization
) -> None:
    loaded = load_model(str(tiny_model(architecture)), quantization, "cpu")
    adapted = {
        name.removesuffix(".lora_A.default").rsplit(".", 1)[1]
        for name, _ in loaded.model.named_modules()
        if name.endswith(".lora_A.default")
    }
    assert adapted == LINEARS
    trained = {name for name, p in loaded.model.named_parameters() if p.requires_grad}
    assert trained and all(".lora_A." in name or ".lora_B." in name for name in trained)
    assert {p.dtype for p in loaded.adapter_parameters()} == {torch.float32}
    shape = shape_of(resolve(str(tiny_model(architecture))))
    assert shape is not None
    assert sum(p.numel() for p in loaded.adapter_parameters()) == shape.lora_parameters(16)
    assert (loaded.device.type, loaded.dtype) == ("cpu", torch.float32)
    assert loaded.model.config._attn_implementation == "sdpa"
    assert all(g.abs().sum() > 0 for g in gradients(loaded)[1::2])  # B's; A's are zero while B is


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("no_gradients", [torch.no_grad, torch.inference_mode])
def test_an_evaluation_does_not_cost_later_gradients(
    tiny_model: TinyModel,
    architecture: str,
    quantization: device.Quantization,
    no_gradients: Callable[[], torch.no_grad],
) -> None:
    """Without `models.quantized.steady`, NF4 loses them on processors with AVX512-BF16."""
    loaded = load_model(str(tiny_model(architecture)), quantization, "cpu")
    shake_adapters(loaded)
    before, trained_with = gradients(loaded), logits(loaded)
    loaded.model.eval()
    with no_gradients():
        sampled_from = logits(loaded)
    assert torch.equal(sampled_from, trained_with)  # int8: the policy that samples is the same
    after = gradients(loaded)
    assert all(g.abs().sum() > 0 for g in before)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_the_same_of_the_real_model(smollm: Path, quantization: device.Quantization) -> None:
    loaded = load_model(str(smollm), quantization, "cpu")
    shake_adapters(loaded)
    ids = torch.randint(100, 40_000, (1, 40), generator=torch.Generator().manual_seed(0))
    before = gradients(loaded, ids)
    loaded.model.eval()
    with torch.inference_mode():
        logits(loaded, ids)
    after = gradients(loaded, ids)
    assert all(g.abs().sum() > 0 for g in before)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    shape = shape_of(resolve("smollm2-135m"))
    assert shape is not None
    estimate = memory.estimate(shape, quantization)
    held = sum(p.numel() * p.element_size() for p in loaded.model.base_model.parameters())
    adapter = sum(p.numel() * p.element_size() for p in loaded.adapter_parameters())
    assert held - adapter == pytest.approx(estimate.base, rel=0.02)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantized_weights_leave_the_file(
    tiny_model: TinyModel, quantization: device.Quantization
) -> None:
    """Embeddings that still lay in it would keep all of it mapped."""
    folder = tiny_model("qwen2")
    loaded = load_model(str(folder), quantization, "cpu")
    maps = Path("/proc/self/maps")
    mapped = maps.read_text() if maps.is_file() else ""
    assert str(folder / "model.safetensors") not in mapped
    embedding = loaded.model.get_input_embeddings().weight
    assert embedding.dtype == torch.float32 and not embedding.requires_grad


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantized_is_near_the_original(
    tiny_model: TinyModel, quantization: device.Quantization
) -> None:
    plain = load_model(str(tiny_model("llama")), "none", "cpu")
    quantized = load_model(str(tiny_model("llama")), quantization, "cpu")
    with torch.no_grad():
        exact, near = logits(plain), logits(quantized)
    error = ((near - exact).norm() / exact.norm()).item()
    assert 0 < error < {"nf4": 0.5, "int8": 0.05}[quantization]
    held = {p.dtype for n, p in quantized.model.named_parameters() if "_proj.base_layer.w" in n}
    assert held == {torch.uint8 if quantization == "nf4" else torch.int8}


def test_sampling_defaults_are_overridden_and_every_end_token_is_known(
    tiny_model: TinyModel,
) -> None:
    loaded = load_model(str(tiny_model("llama")), "none", "cpu")
    config = loaded.model.base_model.model.generation_config
    settings = (config.temperature, config.top_k, config.top_p, config.repetition_penalty)
    assert config.do_sample and settings == (1.0, 0, 1.0, 1.0)
    ends = [loaded.tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_end|>")]
    assert loaded.eos_ids == tuple(sorted(ends)) == tuple(config.eos_token_id)


def test_the_seed_decides_the_adapters_and_nothing_else(tiny_model: TinyModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_model(str(tiny_model("llama")), "none", "cpu", seed=1)
    assert torch.equal(torch.rand(3), expected)
    again = load_model(str(tiny_model("llama")), "none", "cpu", seed=1)
    other = load_model(str(tiny_model("llama")), "none", "cpu", seed=2)
    a, b, c = (adapter_weights(loaded.model) for loaded in (first, again, other))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)
    assert torch.equal(logits(first), logits(other))  # B is zero: no adapter has an effect yet


def test_the_reference_is_the_base(tiny_model: TinyModel) -> None:
    loaded = load_model(str(tiny_model("qwen3")), "nf4", "cpu")
    fresh = logits(loaded).detach()
    shake_adapters(loaded)
    with adapter_off(loaded.model):
        assert torch.equal(logits(loaded), fresh)
        assert not logits(loaded).requires_grad
    assert not torch.allclose(logits(loaded), fresh)
    assert logits(loaded).requires_grad


LOAD_WITH_PEFT = """
import json, sys, torch
from pathlib import Path
from typing import Literal
from peft import PeftModel
from transformers import AutoModelForCausalLM
folder = Path(sys.argv[1])
named = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(named), folder)
assert not any(name.startswith(("engine", "tui")) for name in sys.modules)
logits = model(input_ids=torch.tensor(json.loads(sys.argv[2]))).logits
torch.save(logits.detach(), sys.argv[3])
"""


def test_the_adapter_is_a_standard_peft_folder(tiny_model: TinyModel, tmp_path: Path) -> None:
    loaded = load_model(
        str(tiny_model("gemma3")), "none", "cpu", LoraSettings(rank=4, alpha=8), seed=3
    )
    shake_adapters(loaded)
    save_adapter(loaded, tmp_path / "adapter")
    written = {file.name for file in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= written
    assert not any(name.endswith((".bin", ".pt")) for name in written)
    arguments = [str(tmp_path / "adapter"), json.dumps(IDS.tolist()), str(tmp_path / "logits.pt")]
    subprocess.run(
        [sys.executable, "-P", "-c", LOAD_WITH_PEFT, *arguments], check=True, cwd=tmp_path
    )
    theirs = torch.load(tmp_path / "logits.pt", weights_only=True)
    torch.testing.assert_close(theirs, logits(loaded).detach(), rtol=1e-5, atol=1e-5)


def test_an_adapter_comes_back(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = str(tiny_model("llama"))
    first, second = (load_model(folder, "nf4", "cpu", seed=seed) for seed in (1, 2))
    shake_adapters(first)
    save_adapter(first, tmp_path / "a")
    load_adapter(second, tmp_path / "a")
    assert torch.equal(logits(first), logits(second))
    save_adapter(second, tmp_path / "b")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    smaller = load_model(folder, "nf4", "cpu", LoraSettings(rank=2))
    with pytest.raises(UserError, match=r"does not fit .* with rank 2"):
        load_adapter(smaller, tmp_path / "a")
    with pytest.raises(UserError, match="cannot be read as an adapter"):
        load_adapter(first, tmp_path / "nowhere")


# ---------------------------------------------------------------- mistakes


def test_the_reason_is_in_words() -> None:
    assert "asked for" in device.choose("cpu").reason
    automatic = device.choose("auto")
    assert automatic.reason.startswith("GPU" if torch.cuda.is_available() else "CPU")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"'cuda' was asked for, but this torch"):
        device.choose("cuda")


class FakeGpu:
    """What `choose` asks of torch, answered for a GPU of the given capability."""

    def __init__(self, patch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
        patch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        patch.setattr(torch.version, "cuda", "12.8")


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), torch.bfloat16), ((7, 5), torch.float32)]
)
def test_a_gpu_computes_in_bfloat16_where_it_can(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    FakeGpu(monkeypatch, capability)
    for setting in ("auto", "cuda"):
        choice = device.choose(setting)
        assert (choice.device.type, choice.dtype) == ("cuda", dtype)
        assert "Some GPU" in choice.reason and "bfloat16" in choice.reason


def test_a_gpu_that_another_process_has_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy() -> int:
        raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy.\nCompile with …")

    FakeGpu(monkeypatch, (9, 0))
    monkeypatch.setattr(torch.cuda, "current_device", busy)
    for setting in ("auto", "cuda"):
        with pytest.raises(UserError, match=r"cannot use it \(CUDA error: .*busy\)\. .*'cpu'"):
            device.choose(setting)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"device": "mps"}, "mps"),
        ({"device": "tpu"}, "expected 'auto', 'cpu' or 'cuda'"),
        ({"quantization": "int4"}, "expected 'nf4', 'int8' or 'none'"),
    ],
)
def test_impossible_settings_are_refused(
    tiny_model: TinyModel, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        load_model(str(tiny_model("llama")), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncated", "not a whole safetensors file"),
        ("unknown kind", "no-such-kind"),
        ("another config", r"model.layers.2.self_attn.q_proj.weight is missing"),
    ],
)
def test_a_broken_model_is_a_sentence(
    tiny_model: TinyModel, tmp_path: Path, damage: str, said: str
) -> None:
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "model")
    if damage == "truncated":
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[:1000])
    else:
        config = json.loads((folder / "config.json").read_text())
        other = {"model_type": "no-such-kind"} if damage == "unknown kind" else MORE_LAYERS
        (folder / "config.json").write_text(json.dumps({**config, **other}))
    with pytest.raises(UserError, match=said):
        load_model(str(folder), "none", "cpu")


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_merged_weights_compute_the_same_and_leave_no_trace(
    tiny_model: TinyModel, quantization: Literal["nf4", "none"]
) -> None:
    loaded = load_model(str(tiny_model("llama")), quantization, "cpu")
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.tensor([[1, 2, 3, 4, 5]])

    def logits() -> torch.Tensor:
        found: torch.Tensor = loaded.model(input_ids=ids).logits
        return found

    with torch.no_grad():
        apart = logits()
        with merged(loaded.model):
            together = logits()
            with adapter_off(loaded.model):
                fixed = logits()
        again = logits()
        with adapter_off(loaded.model):
            assert (logits() - apart).abs().max() > 0.1  # the adapters matter
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
    assert torch.equal(fixed, together)  # what is switched off behind it is in the weights already
    assert torch.equal(again, apart)


def test_quantized_layers_without_an_adapter_are_unpacked_meanwhile(tiny_model: TinyModel) -> None:
    model = load_model(str(tiny_model("llama")), "nf4", "cpu").model.unload()
    layers = [m for m in model.modules() if hasattr(m, "unpack")]
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad():
        packed = model(input_ids=ids).logits
        with merged(model):
            assert layers and all(layer.plain is not None for layer in layers)
            found = model(input_ids=ids).logits
    torch.testing.assert_close(found, packed, rtol=1e-5, atol=1e-5)
    assert all(layer.plain is None for layer in layers)


@pytest.mark.parametrize(
    ("where", "dtype", "in_tf32"),
    [
        ("cuda", torch.bfloat16, True),
        ("cuda", torch.float32, False),  # nothing is to be rounded
        ("cpu", torch.bfloat16, False),
        ("cpu", torch.float32, False),
    ],
)
def test_products_are_rounded_only_where_their_factors_were(
    where: str, dtype: torch.dtype, in_tf32: bool
) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        device.set_float32_products(device.Choice(torch.device(where), dtype, ""))
        assert torch.backends.cuda.matmul.allow_tf32 == in_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_importing_bitsandbytes_leaves_the_compiler_out_and_as_it_was() -> None:
    script = (
        "import sys, torch\n"
        "before = torch.compile\n"
        "from engine.core.uncompiled import import_bitsandbytes\n"
        "import_bitsandbytes()\n"
        "assert torch.compile is before\n"
        "assert 'bitsandbytes' in sys.modules\n"
        "assert 'torch._inductor.compile_fx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
