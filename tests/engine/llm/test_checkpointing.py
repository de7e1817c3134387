"""Gradient checkpointing changes no bit of a gradient, and keeps far less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch

from engine.llm.forward.attention import evaluating, packed_hidden, plain_hidden
from engine.llm.forward.checkpointing import set_checkpointing
from engine.llm.forward.packing import TokenTree
from engine.llm.models.device import Quantization
from engine.llm.models.loading import LoraSettings, load_model

Tiny = Callable[[str], Path]

SEQUENCES = [[*range(3, 20), n, n + 1, n] for n in range(30, 36)]
"""A shared beginning longer than the tiny Gemma's window, and six branches."""


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
def test_the_gradient_is_the_same_bit_for_bit(
    tiny_model: Tiny, architecture: str, quantization: Quantization
) -> None:
    """Through adapters with dropout, packed with masks of our own, and plain."""
    lora = LoraSettings(rank=4, alpha=8.0, dropout=0.3)
    loaded = load_model(str(tiny_model(architecture)), quantization, "cpu", lora)
    model = loaded.model
    with torch.no_grad():
        for n, parameter in enumerate(loaded.adapter_parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(n)))

    def found(packed: bool) -> tuple[list[torch.Tensor], int]:
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            if packed:
                hidden = packed_hidden(model, TokenTree.build(SEQUENCES))
            else:
                hidden = plain_hidden(model, SEQUENCES)
        with torch.no_grad():
            torch.rand(7)  # dropout draws again what it drew
        gradients = torch.autograd.grad(hidden.square().sum(), loaded.adapter_parameters())
        return list(gradients), sum(kept.values())

    for packed in (True, False):
        set_checkpointing(model, on=False)
        expected, all_of_it = found(packed)
        set_checkpointing(model, on=True)
        gradients, inputs = found(packed)
        assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))
        assert all(gradient.any() for gradient in gradients)
        assert inputs < 0.5 * all_of_it
        with evaluating(model):  # sampling keeps nothing, and is what it was
            once = packed_hidden(model, TokenTree.build(SEQUENCES))
            set_checkpointing(model, on=False)
            assert torch.equal(once, packed_hidden(model, TokenTree.build(SEQUENCES)))


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)
