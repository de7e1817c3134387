"""Mixtures of experts: what NF4 takes, what it computes, and what stays in memory meanwhile."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

from engine.llm.forward.merged import merged
from engine.llm.models import experts
from engine.llm.models.loading import Loaded, LoraSettings, load_model, quantized_share
from engine.llm.models.targets import ROUTER

TinyModel = Callable[[str], Path]
IDS = torch.arange(3, 27).unsqueeze(0)


@pytest.fixture
def folder(tiny_model: TinyModel) -> str:
    return str(tiny_model(tiny_models.MIXTURE))


def base_of(loaded: Loaded) -> Any:
    return loaded.model.get_base_model()


def shaken(loaded: Loaded) -> Loaded:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.adapter_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return loaded


def gradients(model: Any) -> list[torch.Tensor]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = model(input_ids=IDS, use_cache=False).logits.log_softmax(-1)[0, -1, 7]
    return [*torch.autograd.grad(loss, parameters), loss.detach()]


def with_floats(loaded: Loaded) -> Any:
    """The same model, its experts standing as the floats that their four bits mean."""
    whole = load_model(loaded.name, "nf4", "cpu", loaded.lora).model
    for own, other in zip(whole.modules(), loaded.model.modules(), strict=True):
        for name in list(getattr(other, "parametrizations", {})):
            own.parametrizations[name][0].plain = getattr(other, name).clone()
    for a, b in zip(whole.parameters(), loaded.model.parameters(), strict=True):
        if a.requires_grad:
            a.data.copy_(b)
    return whole


def test_experts_are_quantized_and_the_share_is_counted(folder: str) -> None:
    plain, loaded = load_model(folder, "none", "cpu"), load_model(folder, "nf4", "cpu")
    sizes = {name: p.numel() for name, p in base_of(plain).named_parameters() if "lora" not in name}
    fused = [n for n in sizes if ".experts." in n]
    linear = [n for n in sizes if "_proj.base_layer.weight" in n]
    assert len(fused) == 4 and len(linear) == 8
    expected = sum(sizes[n] for n in fused + linear) / sum(sizes.values())
    assert loaded.quantized == pytest.approx(expected)
    assert loaded.fused == ("experts.down_proj", "experts.gate_up_proj")
    assert f"{expected:.0%} of the model's weights are in 4 bits" in loaded.reason
    assert plain.quantized == 0 and "No weights are quantized" in plain.reason
    held = {n: p.dtype for n, p in base_of(loaded).named_parameters() if ".experts." in n}
    assert set(held.values()) == {torch.uint8} and len(held) == 4
    assert not [
        n for n, p in loaded.model.named_parameters() if p.requires_grad and ROUTER.search(n)
    ]
    assert loaded.adapted == ("k_proj", "o_proj", "q_proj", "v_proj")


def test_with_int8_it_is_said_that_experts_are_not_quantized(folder: str) -> None:
    loaded = load_model(folder, "int8", "cpu")
    assert "its experts, " in loaded.reason and "'nf4' takes them" in loaded.reason
    assert loaded.fused == () and 0 < loaded.quantized < 0.3


def test_the_gradient_is_that_of_the_floats_the_four_bits_mean(folder: str) -> None:
    loaded = shaken(load_model(folder, "nf4", "cpu", LoraSettings(rank=4)))
    expected = gradients(with_floats(loaded))
    for found, exact in zip(gradients(loaded.model), expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-7)


def test_no_floats_wait_for_the_backward_pass(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What autograd is given to keep inside experts: activations, and places in the four bits."""
    loaded = shaken(load_model(folder, "nf4", "cpu"))
    stacks = [m for m in loaded.model.modules() if isinstance(m, experts.Stack)]
    smallest = 4 * min(stack.out_features for stack in stacks)  # bytes of a layer's experts
    kept: list[Any] = []
    hooks = torch.autograd.graph.saved_tensors_hooks

    def watched(pack: Callable[[torch.Tensor], Any], unpack: Callable[[Any], torch.Tensor]) -> Any:
        return hooks(lambda tensor: kept.append(pack(tensor)) or kept[-1], unpack)

    monkeypatch.setattr(torch.autograd.graph, "saved_tensors_hooks", watched)
    loss = loaded.model(input_ids=IDS, use_cache=False).logits.sum()
    places = [one for one in kept if not isinstance(one, torch.Tensor)]
    floats = [one.untyped_storage().nbytes() for one in kept if isinstance(one, torch.Tensor)]
    assert {place.stack for place in places} == set(stacks)
    assert floats and max(floats) < smallest
    loss.backward()
    assert len(experts.Stack.kept) <= 2


def test_recomputed_layers_have_the_same_gradient(folder: str) -> None:
    loaded = shaken(load_model(folder, "nf4", "cpu"))
    expected = gradients(loaded.model)
    base_of(loaded).gradient_checkpointing_enable({"use_reentrant": False})
    loaded.model.train()
    for found, exact in zip(gradients(loaded.model), expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-7)


def test_experts_stand_unpacked_while_sampling(folder: str) -> None:
    loaded = shaken(load_model(folder, "nf4", "cpu"))
    loaded.model.eval()
    with torch.no_grad():
        packed = loaded.model(input_ids=IDS).logits
        with merged(loaded.model):
            stacks = [m for m in loaded.model.modules() if isinstance(m, experts.Stack)]
            assert len(stacks) == 4 and all(stack.plain is not None for stack in stacks)
            torch.testing.assert_close(loaded.model(input_ids=IDS).logits, packed)
        assert all(stack.plain is None for stack in stacks)


def test_the_share_of_a_dense_model(tiny_model: TinyModel) -> None:
    loaded = load_model(str(tiny_model("qwen3")), "nf4", "cpu")
    plain = copy.copy(load_model(str(tiny_model("qwen3")), "none", "cpu"))
    assert quantized_share(base_of(plain)) == 0
    assert 0.5 < loaded.quantized < 1 and not loaded.fused
