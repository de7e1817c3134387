"""Experts that stand in one tensor, in 4 bits.

Mixtures of experts keep the matrices of all experts of a layer as one parameter ([experts, out, in]
or the like), not as linear layers, and bitsandbytes' replacement of linear layers leaves them as
they are: of Qwen3-30B-A3B 97 % of the weights. Here they are quantized as the linear layers are
(NF4, double quantization), each tensor as it is read, by what bitsandbytes has for parameters
(`bitsandbytes.nn.parametrize`): who reads the parameter gets floats.

Autograd would keep these floats for the backward pass, of all layers at once, and nothing would be
saved by the 4 bits. So what it keeps is the place in the quantized tensor, and the backward pass
unpacks one layer after the other, as bitsandbytes' own linear layer does.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import bitsandbytes
import torch
from bitsandbytes.nn import parametrize as bnb_parametrize
from torch.nn.utils import parametrize
from transformers.integrations.bitsandbytes import Bnb4bitQuantize
from transformers.quantizers import auto, quantizer_bnb_4bit

from engine.llm.models.targets import read_as_matrices

functional: Any = bitsandbytes.functional
Parametrization: Any = bnb_parametrize.Bnb4bitParametrization
Quantize: Any = Bnb4bitQuantize
Quantizer: Any = quantizer_bnb_4bit.Bnb4BitHfQuantizer
QUANTIZERS: Any = auto.AUTO_QUANTIZER_MAPPING

NAMED = re.compile("expert", re.IGNORECASE)
"""What the module, or its class, is called in all of transformers."""
CHOICE = re.compile(r"router|(^|[._])gate($|\.weight$)|bias", re.IGNORECASE)
"""What stands in such a module and is no expert's matrix."""


def is_fused(model: Any, name: str) -> bool:
    """Whether a parameter holds the matrices of several experts."""
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:  # a name of the file that the model does not have
        return False
    if isinstance(module, torch.nn.Linear | torch.nn.modules.conv._ConvNd):
        return False
    weight = getattr(module, leaf, None)
    return (
        isinstance(weight, torch.nn.Parameter)
        and weight.dim() >= 2
        and not CHOICE.search(name.rpartition("expert")[2] or name)
        and bool(NAMED.search(path) or NAMED.search(type(module).__name__))
    )


def fused(model: Any) -> list[str]:
    """The names of all parameters that hold the matrices of several experts."""
    return [name for name, _ in model.named_parameters() if is_fused(model, name)]


# ---------------------------------------------------------------- while the model is read


class _QuantizeAll(Quantize):  # type: ignore[misc]
    """Quantizes what is read: a linear layer's weights, or those of all experts."""

    def convert(
        self,
        input_dict: dict[str, Any],
        full_layer_name: str | None = None,
        model: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in input_dict.items():
            if not is_fused(model, name):
                found |= super().convert({name: value}, full_layer_name, model, **kwargs)
                continue
            value = value[0] if isinstance(value, list) else value
            packed, state = functional.quantize_4bit(
                value.contiguous(), compress_statistics=True, quant_type="nf4"
            )
            found[name] = torch.nn.Parameter(packed, requires_grad=False)
            found[name].quant_state = state
        return found


class _QuantizerOfAll(Quantizer):  # type: ignore[misc]
    """bitsandbytes' quantizer, for experts as well."""

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        needed = super().param_needs_quantization(model, param_name, **kwargs)
        return bool(needed) or is_fused(model, param_name)

    def get_quantize_ops(self) -> Any:
        return _QuantizeAll(self)

    def get_modules_to_not_convert(self, model: Any, *arguments: Any, **named: Any) -> list[str]:
        """Besides the output layer those of `read_as_matrices`."""
        kept = list(super().get_modules_to_not_convert(model, *arguments, **named))
        return kept + read_as_matrices(model)


@contextlib.contextmanager
def quantized_while_read() -> Iterator[None]:
    """Inside, transformers quantizes experts to 4 bits with the linear layers; `wrap` must follow.

    A tensor at a time, so that a model whose floats do not fit can be loaded.
    """
    before = QUANTIZERS["bitsandbytes_4bit"]
    QUANTIZERS["bitsandbytes_4bit"] = _QuantizerOfAll
    try:
        yield
    finally:
        QUANTIZERS["bitsandbytes_4bit"] = before


# ---------------------------------------------------------------- in the model


class Stack(Parametrization):  # type: ignore[misc]
    """The matrices of all experts of a layer: four bits that read as floats."""

    kept: ClassVar[deque[tuple[Stack, torch.Tensor]]] = deque(maxlen=2)
    """What a backward pass has unpacked last: a layer has two such tensors, read once an expert."""

    def __init__(self, weight: Any) -> None:
        super().__init__(weight.quant_state)
        self._packed = (weight,)  # in a tuple: it is the module's parameter, not this one's
        self.plain: torch.Tensor | None = None
        self.made = 0  # where the floats lie that the forward pass reads

    in_features = 1
    """With `out_features` what `merged_bytes` asks of a layer: how many weights it has."""

    @property
    def out_features(self) -> int:
        """How many weights there are."""
        return int(self.quant_state.shape.numel())

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        """The floats."""
        if self.plain is not None:
            return self.plain
        found: torch.Tensor = super().forward(packed)
        self.made = found.untyped_storage().data_ptr()
        return found

    def floats(self) -> torch.Tensor:
        """The floats in a backward pass."""
        for stack, tensor in self.kept:
            if stack is self:
                return tensor
        found: torch.Tensor = super().forward(self._packed[0])
        self.kept.append((self, found))
        return found

    def unpack(self) -> None:
        """Keep the weights as floats until `pack`."""
        self.plain = super().forward(self._packed[0])

    def pack(self) -> None:
        """Four bits again."""
        self.plain = None


class _Place(NamedTuple):
    """What autograd keeps of a tensor that lies in unpacked experts."""

    stack: Stack
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def wrap(model: Any) -> list[str]:
    """Make the experts that were quantized while `model` was read usable; returns what their names
    end in (`experts.down_proj`), each kind once."""
    checkpointed = [m for m in model.modules() if hasattr(m, "gradient_checkpointing")]

    def kept_anyway() -> bool:
        return not any(module.gradient_checkpointing for module in checkpointed)

    endings: set[str] = set()
    for path, module in list(model.named_modules()):
        found = [
            (name, weight)
            for name, weight in module.named_parameters(recurse=False)
            if isinstance(getattr(weight, "quant_state", None), functional.QuantState)
            and not isinstance(module, torch.nn.Linear)
        ]
        if not found:
            continue
        stacks = [Stack(weight) for _, weight in found]
        for (name, _), stack in zip(found, stacks, strict=True):
            parametrize.register_parametrization(module, name, stack, unsafe=True)
            endings.add(f"{path.rpartition('.')[2]}.{name}")
        module.forward = _with_places(module.forward, stacks, kept_anyway)
    return sorted(endings)


def _with_places(
    forward: Callable[..., Any], stacks: list[Stack], kept_anyway: Callable[[], bool]
) -> Callable[..., Any]:
    """The forward pass of experts, after which autograd holds no floats of theirs.

    Not where layers are computed again in the backward pass: nothing is kept there, and whoever
    does that has hooks of its own.
    """

    def pack(tensor: torch.Tensor) -> Any:
        where = tensor.untyped_storage().data_ptr()
        for stack in stacks:
            if stack.plain is None and where == stack.made:
                return _Place(stack, tensor.size(), tensor.stride(), int(tensor.storage_offset()))
        return tensor

    def unpack(kept: Any) -> torch.Tensor:
        if isinstance(kept, _Place):
            return kept.stack.floats().as_strided(kept.size, kept.stride, kept.offset)
        return kept  # type: ignore[no-any-return]

    def computed(*arguments: Any, **named: Any) -> Any:
        Stack.kept.clear()
        hooks: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if torch.is_grad_enabled() and kept_anyway():
            hooks = torch.autograd.graph.saved_tensors_hooks(pack, unpack)
        with parametrize.cached(), hooks:
            found = forward(*arguments, **named)
        for stack in stacks:
            stack.made = 0
        return found

    return computed
