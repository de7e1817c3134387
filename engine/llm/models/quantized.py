"""bitsandbytes layers that compute the same in training and in evaluation.

Two traps, both on CPUs, both set off by `model.eval()` (bitsandbytes 0.50):

- `Linear4bit` repacks its weights in place at the first forward outside training, into a layout
  whose multiplication has no backward pass: every later training pass then leaves the adapters
  below without a gradient, silently.
- `Linear8bitLt` computes with weights turned back into floats in training, but rounds the inputs
  to 8 bits in evaluation: the policy that samples would not be the policy that is trained.

Both ask `self.training`. A frozen quantized layer has nothing else that depends on it, so these
layers always are in training mode. The adapters' dropout still follows the model's mode.
"""

from __future__ import annotations

import contextlib
from typing import Any

import bitsandbytes
import torch

layers: Any = bitsandbytes.nn


class SteadyLinear4bit(layers.Linear4bit):  # type: ignore[misc]
    """A 4-bit layer that never repacks, and can stand unpacked for a while."""

    plain: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> Any:
        """The same product either way; packed, the weights are unpacked at every call."""
        if self.plain is None:
            return super().forward(x)
        return torch.nn.functional.linear(x, self.plain.to(x.dtype), self.bias)

    def unpack(self) -> None:
        """Keep the weights as floats until `pack`."""
        weight: Any = self.weight
        self.plain = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)

    def pack(self) -> None:
        """Four bits again."""
        self.plain = None

    def train(self, mode: bool = True) -> Any:
        """Stay in training mode."""
        return super().train(True)


class SteadyLinear8bit(layers.Linear8bitLt):  # type: ignore[misc]
    """An 8-bit layer with one forward for training and evaluation."""

    @property
    def rounds_inputs(self) -> bool:
        """Whether inputs are rounded to 8 bits too; on CPUs, in training, they are not."""
        weight: Any = self.weight
        return bool(weight.device.type != "cpu")

    def train(self, mode: bool = True) -> Any:
        """Stay in training mode."""
        return super().train(True)


STEADY: dict[type, Any] = {
    layers.Linear4bit: SteadyLinear4bit,
    layers.Linear8bitLt: SteadyLinear8bit,
}


def steady(model: torch.nn.Module) -> int:
    """Make every quantized layer of a freshly loaded model steady; returns how many there are.

    Must be called before the first forward pass and before adapters are put around the layers.
    """
    count = 0
    for module in model.modules():
        if (kind := STEADY.get(type(module))) is not None:
            module.__class__ = kind
            module.train()
            count += 1
    return count


def reading(quantization: str) -> contextlib.AbstractContextManager[None]:
    """Inside, a model is loaded: with NF4 its experts are quantized too, see `experts`."""
    from engine.llm.models import experts  # start-up time: the process that checks needs none

    return experts.quantized_while_read() if quantization == "nf4" else contextlib.nullcontext()


def steady_experts(model: torch.nn.Module) -> list[str]:
    """Make usable what `reading` has quantized besides layers; returns what the names end in."""
    from engine.llm.models import experts  # start-up time: as above

    return experts.wrap(model)


def settings(quantization: str, dtype: torch.dtype) -> Any:
    """What transformers is told: NF4 with double quantization (Dettmers et al. 2023, section 3) or
    LLM.int8 (Dettmers et al. 2022); None to leave the weights alone."""
    import transformers

    config: Any = transformers.BitsAndBytesConfig
    if quantization == "nf4":
        return config(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return config(load_in_8bit=True) if quantization == "int8" else None


def check(quantization: str, device: torch.device, dtype: torch.dtype) -> None:
    """Go forwards and backwards through one small quantized layer; whatever fails is raised."""
    torch.manual_seed(0)  # called in processes of its own
    plain = torch.nn.Linear(64, 64, bias=False)
    if quantization == "nf4":
        layer: Any = layers.Linear4bit(64, 64, bias=False, compute_dtype=dtype, quant_type="nf4")
    else:
        layer = layers.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)
    layer.load_state_dict(plain.state_dict())
    model = torch.nn.Sequential(layer.to(device))
    steady(model)
    x = torch.randn(2, 64, dtype=dtype, device=device, requires_grad=True)
    model(x).sum().backward()
    expected = plain.weight.detach().sum(0)  # ∂(Σ W x)/∂x, for every row of x
    found = torch.zeros(64) if x.grad is None else x.grad[0].float().cpu()
    if (found - expected).norm() > 0.3 * expected.norm():
        raise RuntimeError("the gradient is wrong")
