"""How much memory this process uses now."""

from __future__ import annotations

import resource
import sys

import torch

GIB = 2**30


def memory_metrics(device: torch.device) -> dict[str, float]:
    """Peak memory in GiB: of the process, and of the GPU where one is used."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = {"memory_gib": peak * (1 if sys.platform == "darwin" else 1024) / GIB}
    if device.type == "cuda":
        used["gpu_memory_gib"] = torch.cuda.max_memory_allocated(device) / GIB
    return used
