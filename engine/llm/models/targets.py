"""Which layers of a model get adapters: every linear layer that can have one, and should.

Not the output layer, as in QLoRA (Dettmers et al. 2023), and besides:

- **Routers** of mixtures of experts stay as they are: what they choose is not differentiated, and
  trained with a few prompts they forget most experts.
- **Fused experts** are no layers but tensors. PEFT could adapt them (`target_parameters`), at the
  price of a float matrix for each expert in each pass: as much memory as without quantization.
- **State-space mixers** (Mamba): only their input projection. The weights of the others are read
  directly by fused kernels, and in part by transformers' own code: adapters there would have no
  effect, or one in sampling and none in training.
- **What is not used, or not as a layer**: attention to an encoder that is not there, indexers (they
  only choose), compressors (they tell of tokens further back than prompts are long), Gemma 3n's
  mixing coefficients (read as they are), layers with a multiplication of their own.
- **Names that PEFT redirects**: in mixtures it takes `gate_proj` of any layer for the experts'
  (`peft.utils.transformers_weight_conversion`), so dense layers with such names cannot be named.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from engine.llm.models.architecture import decoder_of

ROUTER = re.compile(r"(^|\.)([a-z_]*router[a-z_0-9]*|gate|gating|[a-z_]*expert_gate|wg)(\.|$)")
"""What decides who computes, by the name of the module or of one it is in."""
UNUSED = re.compile(
    r"encoder_attn|cross_?attn|cross_?attention|pooler|indexer|compressor|altup", re.IGNORECASE
)
"""What has no part in the log-probabilities of a prompt, or none that can be differentiated."""


def lora_targets(base: Any) -> list[str]:
    """The full names of the layers that get adapters, sorted; none where the model has none.

    All are in the decoder: what a model hears or sees with besides has no part in what it reads.
    """
    decoder = decoder_of(base)
    within = next(f"{name}." for name, module in base.named_modules() if module is decoder)
    linear = {n: layer for n, layer in _linear_layers(base).items() if n.startswith(within)}
    output = base.get_output_embeddings()
    mixture = has_experts(base)
    matrices = tuple(f".{ending}" for ending in read_as_matrices(base))
    redirected = {leaf for leaf in {_leaf(name) for name in linear} if _redirected(base, leaf)}
    return sorted(
        name
        for name, layer in linear.items()
        if layer is not output
        and not (mixture and ROUTER.search(name))
        and not UNUSED.search(name)
        and not name.endswith(matrices)
        and _leaf(name) not in redirected
    )


def has_experts(base: Any) -> bool:
    """Whether it is a mixture of experts, dense layers or not."""
    return any("expert" in name for name, _ in base.named_modules()) or any(
        "Expert" in type(module).__name__ for module in base.modules()
    )


def _linear_layers(base: Any) -> dict[str, Any]:
    from transformers.pytorch_utils import Conv1D  # start-up time

    return {
        name: module
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and _multiplies(module, Conv1D)
    }


def _multiplies(layer: Any, transposed: type) -> bool:
    """Whether a layer is a multiplication by its weights; some that are called linear regroup what
    they are given."""
    kinds = {kind.__module__.partition(".")[0] for kind in type(layer).__mro__}
    forward = type(layer).forward
    if "bitsandbytes" in kinds or forward in (torch.nn.Linear.forward, transposed.forward):  # type: ignore[attr-defined]
        return True
    x = torch.ones(1, layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device)
    try:
        with torch.no_grad():
            return torch.allclose(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
    except (RuntimeError, TypeError):  # it takes or gives something else
        return False


def read_as_matrices(base: Any) -> list[str]:
    """What the names of the layers end in that a Mamba mixer reads as a matrix, and not through the
    layer: all but its input projection. They can neither be adapted nor quantized."""
    mixers = [(_leaf(name), m) for name, m in base.named_modules() if is_state_space(m)]
    parts = {f"{mixer}.{own}" for mixer, m in mixers for own, _ in m.named_children()}
    return sorted(part for part in parts if _leaf(part) != "in_proj")


def is_state_space(module: torch.nn.Module) -> bool:
    """Whether it is a Mamba mixer, of the first or second kind (Gu and Dao 2023, algorithm 2)."""
    own = dict(module.named_parameters(recurse=False))
    return "A_log" in own and "D" in own


def _redirected(base: Any, leaf: str) -> bool:
    """Whether PEFT would put an adapter for layers of this name on something else."""
    from peft import LoraConfig  # start-up time
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    trial = LoraConfig(target_modules=[leaf])
    try:
        convert_peft_config_for_transformers(trial, model=base, conversions=None)
    except ValueError:  # only together with others
        return True
    return bool(trial.target_parameters)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
