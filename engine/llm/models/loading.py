"""A named model becomes one that can be trained: quantized base, LoRA adapters, tokenizer."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.core.errors import UserError
from engine.core.uncompiled import import_bitsandbytes
from engine.llm.models import device as devices
from engine.llm.models import fetch
from engine.llm.models.catalog import resolve
from engine.llm.models.device import DeviceSetting, Quantization
from engine.llm.models.folder import read_config
from engine.llm.models.memory_use import is_out_of_memory
from engine.llm.models.targets import lora_targets, read_as_matrices
from engine.llm.models.tokenizer import Limits, end_tokens, first_line, load_tokenizer

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

ADAPTER_DTYPE = torch.float32
"""Format of the adapters, whatever the base computes in: updates are too small for 16 bits."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters on all linear layers (Hu et al. 2021): ΔW = alpha / rank · B A."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to be trained.

    `model`: base frozen, adapters float32 and trainable, in training mode. `eos_ids`: every token
    that ends an answer, sorted. `limits`: what it can read. `reason`: why this device and dtype, in
    words, and how much of it is quantized. `base`: what an adapter folder names as its base (a hub
    id, or the absolute path of a folder). `attention`: by transformers' name. `adapted`: the names
    of the layers that have adapters, each kind once. `quantized`: the share of the base's weights
    in 4 or 8 bits; `fused`: what the names of experts that stand in one tensor and are among them
    end in; `floats`: what those of layers end in that stay floating point although they are linear.
    """

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    reason: str
    name: str
    base: str
    folder: Path
    architecture: str
    eos_ids: tuple[int, ...]
    limits: Limits
    quantization: Quantization
    lora: LoraSettings
    attention: str = "sdpa"
    adapted: tuple[str, ...] = ()
    quantized: float = 0.0
    fused: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()

    def adapter_parameters(self) -> list[torch.nn.Parameter]:
        """The parameters that are trained, in a fixed order."""
        return [p for p in self.model.parameters() if p.requires_grad]


def load_model(
    name: str,
    quantization: Quantization = "nf4",
    device: DeviceSetting = "auto",
    lora: LoraSettings | None = None,
    seed: int = 0,
    progress: fetch.Progress = fetch.silent,
    base_folder: Path | None = None,
) -> Loaded:
    """Load a model by alias, hub id or folder, fetching it first if need be.

    seed: decides the adapters' first values (A random, B zero: the untrained adapter changes
    nothing); torch's global random state is left as it was. base_folder: where a relative folder
    in `name` starts. Raises UserError for everything the user can mend.
    """
    lora = lora or LoraSettings()
    choice = devices.choose(device)
    devices.set_float32_products(choice)
    devices.check_quantization(quantization, choice.device)
    source = resolve(name, base_folder)
    folder = fetch.fetch(source, progress)
    progress(f"Loading {name}", 0, 0)
    import_bitsandbytes()  # PEFT and transformers import it too, where it is installed
    with _quiet_transformers():
        tokenizer = load_tokenizer(folder)
        base, fused = _load_base(folder, quantization, choice)
        share = quantized_share(base)
        base_name = source.location if source.kind == "hub" else str(folder)
        model = _with_adapters(base, lora, seed, base_name)
    holders = (base.generation_config, base.config)
    eos_ids = end_tokens(tokenizer, [getattr(one, "eos_token_id", None) for one in holders])
    _neutral_generation(base, tokenizer, eos_ids)
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        device=choice.device,
        dtype=choice.dtype,
        reason=f"{choice.reason}. {_what_is_quantized(base, quantization, share)}",
        name=name,
        base=base_name,
        folder=folder,
        architecture=str(base.config.model_type),
        eos_ids=eos_ids,
        limits=_limits(name, base),
        quantization=quantization,
        lora=lora,
        attention=str(base.config._attn_implementation),
        adapted=tuple(sorted({n.rpartition(".")[2] for n in _targets(model)})),
        quantized=share,
        fused=tuple(fused),
        floats=_floats(base, quantization),
    )


def _load_base(
    folder: Path, quantization: Quantization, choice: devices.Choice
) -> tuple[Any, list[str]]:
    """The frozen base model, quantized while it is read; safetensors only, no foreign code. And
    what the names of quantized experts that stand in one tensor end in.

    Attention is `sdpa` where the architecture offers it, else its own (`eager`).
    """
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    quantized = _quantized_module() if quantization != "none" else None
    config = quantized.settings(quantization, choice.dtype) if quantized else None
    reading = quantized.reading(quantization) if quantized else contextlib.nullcontext()
    try:
        with reading:
            base, found = loader.from_pretrained(
                folder,
                dtype=choice.dtype,
                quantization_config=config,
                device_map={"": choice.device},
                attn_implementation=None,  # whatever config.json names
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # they are told below, in a sentence
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises whatever the part does that it stumbles in
        if is_out_of_memory(error):
            raise
        kind = str(read_config(folder).get("model_type", "unknown"))[:40]
        raise UserError(
            f"{folder}: this model ({kind}) cannot be loaded as a causal language model: "
            f"{first_line(error)}"
        ) from error
    _check_found(folder, found)
    fused: list[str] = []
    if quantized:
        layers, fused = quantized.steady(base), quantized.steady_experts(base)
        if not layers and not fused:
            raise UserError(
                f"{folder}: none of its layers could be quantized; set model.quantization to "
                "'none'."
            )
        _leave_the_file(base)
    base.config.use_cache = True
    return base.requires_grad_(False), fused


def _check_found(folder: Path, found: dict[str, Any]) -> None:
    """Refuse a model of which transformers would fill some weights with random numbers, or leave
    out whole layers."""
    mend = "Save the model again with save_pretrained(folder)."
    wrong = f"{folder}: the weights do not belong to its config.json"
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"{wrong}: {len(missing)} are missing, such as {missing[0]}. {mend}")
    if odd := sorted(str(entry[0]) for entry in found["mismatched_keys"]):
        raise UserError(f"{wrong}: {len(odd)} have another shape, such as {odd[0]}. {mend}")
    if left := sorted(
        key for key in found["unexpected_keys"] if re.match(r"(model\.)?layers\.\d+\.", key)
    ):
        raise UserError(f"{wrong}: it has no place for {len(left)}, such as {left[0]}. {mend}")


def quantized_share(base: torch.nn.Module) -> float:
    """The share of the weights of a loaded base model that stand in 4 or 8 bits, counted."""
    whole = packed = 0
    for weight in base.parameters():
        state: Any = getattr(weight, "quant_state", None)  # of 4 bits: two weights a byte
        size = weight.numel() if state is None else state.shape.numel()
        whole += size
        if state is not None or not weight.is_floating_point():
            packed += size
    return packed / max(whole, 1)


def _what_is_quantized(base: Any, quantization: Quantization, share: float) -> str:
    """How much of the base model is quantized, as a sentence."""
    if quantization == "none":
        return "No weights are quantized"
    bits = 4 if quantization == "nf4" else 8
    said = f"{share:.0%} of the model's weights are in {bits} bits ({quantization})"
    if quantization == "int8" and (left := _floating_experts(base)):
        said += f"; its experts, {left:.0%} of them, are not: model.quantization = 'nf4' takes them"
    return said


def _floats(base: Any, quantization: Quantization) -> tuple[str, ...]:
    """What transformers has to be told to leave alone when it quantizes such a model: nothing but
    where a mixer reads its layers as matrices."""
    if quantization != "nf4" or not read_as_matrices(base):
        return ()
    return tuple(sorted(base.hf_quantizer.modules_to_not_convert))


def _floating_experts(base: Any) -> float:
    """The share of the weights that are experts in one tensor, and not quantized."""
    from engine.llm.models import experts  # start-up time: bitsandbytes

    left: int = sum(base.get_parameter(name).numel() for name in experts.fused(base))
    whole: int = sum(weight.numel() for weight in base.parameters())
    return left / whole


def _limits(name: str, base: Any) -> Limits:
    config = base.config.get_text_config(decoder=True)
    positions = getattr(config, "max_position_embeddings", None)
    return Limits(name, int(base.get_input_embeddings().weight.shape[0]), positions)


def _leave_the_file(base: torch.nn.Module) -> None:
    """Copy the weights that were not quantized into memory of their own.

    Those of a float32 file still lie in it, and keep all of it mapped: SmolLM2-135M in NF4 would
    seem to use 430 MB more.
    """
    for weight in base.parameters():
        if weight.device.type == "cpu" and weight.is_floating_point():
            weight.data = weight.data.clone()


def _quantized_module() -> Any:
    try:
        from engine.llm.models import quantized  # start-up time: bitsandbytes
    except ImportError as error:
        raise UserError(
            f"model.quantization: bitsandbytes cannot be imported ({error}); set it to 'none', or "
            "see `icemaze doctor`."
        ) from error
    return quantized


def _with_adapters(base: Any, lora: LoraSettings, seed: int, base_name: str) -> PeftModel:
    """LoRA on every linear layer that can have it (`targets`), in float32."""
    from peft import LoraConfig, get_peft_model

    _without_dropout(base)
    targets = lora_targets(base)
    if not targets:
        raise UserError(
            f"{base_name}: this model ({base.config.model_type}) has no linear layer that adapters "
            "could be put on; choose another model."
        )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=_cuda_devices(base)):
        torch.manual_seed(seed)
        try:
            model: Any = get_peft_model(base, config)
        except ValueError as error:  # PEFT knows architectures in which some layers cannot
            raise UserError(
                f"{base_name}: this model ({base.config.model_type}) cannot be given adapters: "
                f"{first_line(error)} Choose another model."
            ) from error
    written = model.peft_config["default"]
    written.base_model_name_or_path = base_name
    written.target_modules = sorted(written.target_modules)  # a set: no two files would be alike
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != ADAPTER_DTYPE:
            parameter.data = parameter.data.to(ADAPTER_DTYPE)
    return model.train()  # type: ignore[no-any-return]


def _without_dropout(base: torch.nn.Module) -> None:
    """Drop nothing in the frozen base: what is trained would not be what was sampled. GPT-2, OPT
    and others still name the dropout they were pretrained with."""
    for module in base.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and (name == "p" or "drop" in name):
                setattr(module, name, 0.0)


def _targets(model: Any) -> list[str]:
    return list(model.peft_config["default"].target_modules)


def _cuda_devices(base: Any) -> list[torch.device]:
    return [base.device] if base.device.type == "cuda" else []


# ---------------------------------------------------------------- generation


def _neutral_generation(base: Any, tokenizer: Any, eos_ids: tuple[int, ...]) -> None:
    """Replace the model's sampling defaults: top-k, top-p or a repetition penalty would sample
    from another distribution than the one whose log-probabilities are trained."""
    import transformers

    config: Any = transformers.GenerationConfig
    base.generation_config = config(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        eos_token_id=list(eos_ids) or None,
        pad_token_id=tokenizer.pad_token_id,
    )


# ---------------------------------------------------------------- helpers


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No bars and no advice on stderr, which in a worker is a log file."""
    from transformers import utils

    logging: Any = utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
