"""On what a model is trained, in which number format, and why.

Imports torch; the interface asks `tui.cli.doctor.machine` instead, which has a process for that.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal

import torch

from engine.core.errors import UserError

DeviceSetting = Literal["auto", "cpu", "cuda"]
Quantization = Literal["nf4", "int8", "none"]

BFLOAT16_CAPABILITY = (8, 0)
"""NVIDIA's Ampere: the first to compute in bfloat16 rather than to emulate it."""
QUANTIZED_ON = ("x86_64", "amd64", "arm64", "aarch64")
"""Processors for which bitsandbytes has CPU kernels."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where to compute, with which numbers, and the reason in words for the user."""

    device: torch.device
    dtype: torch.dtype
    reason: str


def choose(setting: str = "auto") -> Choice:
    """Device and compute dtype for a preset's `model.device`.

    Raises UserError when a GPU is asked for and there is none, when there is one that cannot be
    used, or when the setting is unknown.
    """
    if setting == "cuda" or (setting == "auto" and torch.cuda.is_available()):
        return _cuda()
    if setting in ("auto", "cpu"):
        return Choice(torch.device("cpu"), torch.float32, _why_cpu(setting))
    if setting == "mps":
        raise UserError(
            "model.device: Apple's GPU (mps) is not supported, because bitsandbytes cannot "
            "quantize for it. Expected 'auto', 'cpu' or 'cuda'."
        )
    raise UserError(f"model.device: found {setting!r}, expected 'auto', 'cpu' or 'cuda'.")


def _cuda() -> Choice:
    if not torch.cuda.is_available():
        built = torch.version.cuda or getattr(torch.version, "hip", None)
        why = (
            f"this torch ({torch.__version__}) sees no GPU"
            if built
            else f"this torch ({torch.__version__}) was built for CPUs only"
        )
        raise UserError(
            f"model.device: 'cuda' was asked for, but {why}. Set it to 'auto' or 'cpu', or see "
            "what `icemaze doctor` finds."
        )
    try:  # there may be one that torch is not let at: in use by one process only, a broken driver
        device = torch.device("cuda", torch.cuda.current_device())
        name = torch.cuda.get_device_name(device)
        capability = torch.cuda.get_device_capability(device)
    except RuntimeError as error:
        said = str(error).partition("\n")[0].rstrip(". ")[:200]
        raise UserError(
            f"model.device: there is a GPU, but torch cannot use it ({said}). See who uses it with "
            "`nvidia-smi`, or set model.device to 'cpu'."
        ) from error
    if torch.version.cuda is None or capability >= BFLOAT16_CAPABILITY:
        return Choice(device, torch.bfloat16, f"GPU {name}: computes in bfloat16")
    # float16 would need a loss scaler: policy gradients are small, and underflow without a sound.
    reason = (
        f"GPU {name}: float32, because it has no bfloat16 (compute capability "
        f"{capability[0]}.{capability[1]}, needed 8.0) and small gradients vanish in float16"
    )
    return Choice(device, torch.float32, reason)


def set_float32_products(choice: Choice) -> None:
    """Let a GPU that computes in bfloat16 multiply what is float32 there in TF32.

    That is the adapters, the value head and the rows of action words. TF32 keeps 11 significant
    bits, more than the 8 of the hidden states and weights they are multiplied with, which it
    therefore takes as they are; sums stay in float32. Autocast would round the adapters to 8 bits
    instead, which are kept in float32 because their updates are small. Where everything is float32,
    nothing is rounded.
    """
    in_tf32 = choice.device.type == "cuda" and choice.dtype == torch.bfloat16
    torch.backends.cuda.matmul.allow_tf32 = in_tf32


def _why_cpu(setting: str) -> str:
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    what = f"CPU ({threads}), computes in float32"
    if setting == "cpu":
        return f"{what}: asked for by model.device"
    if torch.backends.mps.is_available():
        return f"{what}: bitsandbytes does not support Apple's GPU (mps)"
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return f"{what}: this torch was built for CPUs only"
    return f"{what}: no GPU was found"


def check_quantization(quantization: str, device: torch.device) -> None:
    """Raise UserError when bitsandbytes cannot do this here."""
    if quantization not in ("nf4", "int8", "none"):
        raise UserError(
            f"model.quantization: found {quantization!r}, expected 'nf4', 'int8' or 'none'."
        )
    machine = platform.machine().lower()
    if quantization != "none" and device.type == "cpu" and machine not in QUANTIZED_ON:
        raise UserError(
            f"model.quantization: bitsandbytes has no CPU kernels for this processor ({machine}); "
            "set it to 'none'."
        )
