"""The adapters of a loaded model as weights by name: saved, loaded, copied, compared, exchanged."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.core.errors import UserError
from engine.llm.models import adapter_card
from engine.llm.models.loading import Loaded
from engine.llm.models.memory_use import is_out_of_memory
from engine.llm.models.tokenizer import first_line

if TYPE_CHECKING:
    from peft import PeftModel


def save_adapter(
    loaded: Loaded,
    folder: Path,
    weights: Mapping[str, torch.Tensor] | None = None,
    algorithm: str = "",
    asked: Mapping[str, Any] | None = None,
) -> None:
    """Write the adapters as a standard PEFT folder (safetensors): those in the model, or others
    (by the names of `adapter_weights`), without touching the ones being trained.

    `PeftModel.from_pretrained(base_model, folder)` loads it, anywhere that has the base model; how
    that one has to be loaded says the folder's README, and what `algorithm` trained the adapters.
    `asked`: what the model is asked (`Task.asked`), kept beside them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    from safetensors.torch import save_file

    found = adapter_weights(loaded.model) if weights is None else weights
    contiguous = {name: weight.detach().cpu().contiguous() for name, weight in found.items()}
    save_file(contiguous, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config: Any = loaded.model.peft_config["default"]
    training, config.inference_mode = config.inference_mode, True
    config.save_pretrained(str(folder))
    config.inference_mode = training
    if asked:
        told = json.dumps(dict(asked), indent=1, ensure_ascii=False)
        (folder / adapter_card.PROMPTS).write_text(told + "\n", "utf-8")
    facts = _facts(loaded, algorithm, str(asked["policy"]) if asked else "")
    (folder / adapter_card.FILE).write_text(adapter_card.card(facts), "utf-8")


def _facts(loaded: Loaded, algorithm: str, policy: str) -> adapter_card.Facts:
    return adapter_card.Facts(
        name=loaded.name,
        base=loaded.base,
        folder=loaded.folder,
        architecture=loaded.architecture,
        quantization=loaded.quantization,
        dtype=str(loaded.dtype),
        device=loaded.device.type,
        rank=loaded.lora.rank,
        alpha=loaded.lora.alpha,
        dropout=loaded.lora.dropout,
        algorithm=algorithm,
        attention=loaded.attention,
        adapted=loaded.adapted,
        quantized=loaded.quantized,
        fused=loaded.fused,
        floats=loaded.floats,
        policy=policy,
    )


def load_adapter(loaded: Loaded, folder: Path) -> None:
    """Put the weights of an adapter folder into the model's adapters, in place.

    Raises UserError when it is not one, or was made for another model or rank.
    """
    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    try:
        weights = load_file(file, device=str(loaded.device))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{file}: cannot be read as an adapter ({first_line(error)}).") from error
    own = adapter_weights(loaded.model)
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    expected = {name: tuple(weight.shape) for name, weight in own.items()}
    if found != expected:
        name = next(n for n in {**expected, **found} if found.get(n) != expected.get(n))
        raise UserError(
            f"{file}: this adapter does not fit {loaded.name} with rank {loaded.lora.rank}: at "
            f"{name} found {found.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}."
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def adapter_weights(model: PeftModel) -> dict[str, torch.Tensor]:
    """The adapters' weights by the names an adapter folder gives them (views, not copies)."""
    from peft import get_peft_model_state_dict

    weights: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return weights


def copied_adapter(model: PeftModel) -> dict[str, torch.Tensor]:
    """A copy of the adapters' weights in main memory, by the names of `adapter_weights`."""
    return {name: w.detach().cpu().clone() for name, w in adapter_weights(model).items()}


@contextlib.contextmanager
def exchanged(model: PeftModel, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Inside, the adapters have other `weights` (by the names of `adapter_weights`), if any.

    Afterwards they are bit for bit what they were, so a graph made before stays good.
    """
    own = adapter_weights(model)
    kept = {name: own[name].detach().clone() for name in weights}
    try:
        _put(own, weights)
        yield
    finally:
        _put(own, kept)


def holds(model: PeftModel, weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether the adapters are exactly these `weights`."""
    own = adapter_weights(model)
    return all(torch.equal(own[name].cpu(), weight) for name, weight in weights.items())


def _put(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> None:
    for name, weight in weights.items():
        # `.data` has no version counter: autograd would take a graph made before for spoilt.
        own[name].data.copy_(weight)
