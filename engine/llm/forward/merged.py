"""Adapters as part of the weights, while nothing is learned.

An adapted layer is three matrix products, two of them so small that calling them takes longer than
computing them, and a quantized one is unpacked at every call. Where many tokens are sampled one
after the other, W + s·B·A (Hu et al. 2021, equation 3 and section 4.1) is made once and each layer
is one product: in float32 the same up to the order of a sum.

Only in float32 on a CPU. In bfloat16 a merged weight would be rounded to 8 bits of precision, and
what the adapter adds is mostly smaller than that; on a GPU memory is what quantization is for.
Quantized layers without an adapter are unpacked meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.llm.models.architecture import decoder_of


class Layers(NamedTuple):
    """The layers of a model for which something can be done; none but on a CPU."""

    adapted: list[Any]
    """Adapted linear layers whose weights can be had as floats."""
    packed: list[Any]
    """Other quantized layers."""


def layers_of(model: Any) -> Layers:
    """Those of a model."""
    decoder = decoder_of(model)
    if decoder.device.type != "cpu":
        return Layers([], [])
    modules = list(model.modules())
    exact = decoder.dtype == torch.float32
    adapted = [module for module in modules if exact and _is_plain(module)]
    done = {id(layer.base_layer) for layer in adapted}
    return Layers(adapted, [m for m in modules if hasattr(m, "unpack") and id(m) not in done])


def _is_plain(module: Any) -> bool:
    """Whether a layer computes W x + b + s·B·A x and nothing else."""
    base = getattr(module, "base_layer", None)
    if base is None or not hasattr(module, "get_delta_weight"):
        return False
    if getattr(module, "lora_variant", None) or getattr(module, "lora_bias", {}).get("default"):
        return False
    floats = type(base) is torch.nn.Linear and base.weight.dtype == torch.float32
    return floats or hasattr(base, "unpack")


def merged_bytes(model: Any) -> int:
    """What merged and unpacked weights take besides the model's own, in bytes."""
    layers = layers_of(model)
    all_of_them = [layer.base_layer for layer in layers.adapted] + layers.packed
    return sum(4 * layer.in_features * layer.out_features for layer in all_of_them)


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Inside, every adapted layer computes with one weight. The model's own are not touched, so
    behind it each is bit for bit what it was."""
    layers = layers_of(model)
    try:
        for layer in layers.adapted:
            weight, bias = _weight(layer), layer.base_layer.bias
            layer.forward = partial(_linear, weight, bias)
        for layer in layers.packed:
            layer.unpack()
        yield
    finally:
        for layer in layers.adapted:
            layer.__dict__.pop("forward", None)
        for layer in layers.packed:
            layer.pack()


def _weight(layer: Any) -> Tensor:
    """[out, in] W + s·B·A of the adapters that are on, in a tensor of its own."""
    base = layer.base_layer
    weight: Tensor
    if hasattr(base, "unpack"):
        base.unpack()
        weight = base.plain.float()
        base.pack()
    else:
        weight = base.weight.detach().clone()
    if not layer.disable_adapters:
        for name in layer.active_adapters:
            if name in layer.lora_A:
                weight.add_(layer.get_delta_weight(name).detach())
    return weight


def _linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, weight, bias)
