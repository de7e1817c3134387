"""How much memory this process uses now."""

from __future__ import annotations

import math
import resource
import sys

import torch

from engine.llm.models.memory import available_memory

GIB = 2**30
OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def memory_metrics(device: torch.device) -> dict[str, float]:
    """Peak memory in GiB: of the process, and of the GPU where one is used."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = {"memory_gib": peak * (1 if sys.platform == "darwin" else 1024) / GIB}
    if device.type == "cuda":
        used["gpu_memory_gib"] = torch.cuda.max_memory_allocated(device) / GIB
    return used


def free_memory(device: torch.device) -> int:
    """Bytes that tensors can still take there: what the system has, and what torch holds unused."""
    if device.type != "cuda":
        return available_memory()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's memory ended. Torch has an exception for that; what libraries allocate behind
    its back (the workspace of cuBLAS, bitsandbytes) ends in a RuntimeError that only says so."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(words in said for words in OUT_OF_MEMORY)


def gpu_memory_limit(device: torch.device) -> float:
    """GiB the GPU has in all; infinite where none is used."""
    if device.type != "cuda":
        return math.inf
    return float(torch.cuda.get_device_properties(device).total_memory) / GIB
