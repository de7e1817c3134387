"""What training a model costs in memory, and whether this machine has it.

Estimates from the model's shape alone, so that a table of models can be shown without torch and
without having any of them. Bytes throughout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.llm.models.shape import Shape

Where = Literal["cpu", "cuda"]

QUANTIZATIONS = ("nf4", "int8", "none")
NUMBER_BYTES = {"cpu": 4, "cuda": 2}
"""Bytes of a weight that is not quantized: float32 on CPUs, bfloat16 on GPUs."""
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Per weight: 4 bits, one 8-bit scale a block of 64, one float32 for 256 of those scales
(Dettmers et al. 2023, section 3): 0.516."""
LORA_BYTES = 16
"""Per adapter parameter in float32: weight, gradient and Adam's two moments."""
LIBRARIES = {"cpu": 400 << 20, "cuda": 800 << 20}
"""Python with torch and transformers, or a CUDA context with its workspaces."""
TOLERANCE = 0.2
"""How far an estimate for a CPU may be from the peak of a run, as a part of that."""
SCATTERED = 0.5
"""The part of a CPU's unpacked weights that is never found again, see `_scattered`."""
LARGEST_ON_HEAP = 32 << 20
"""Bytes from which on glibc gives a tensor pages of its own, and takes them back at once."""
RANK, TOKENS = 16, 512
"""What tables assume: rank 16, passes of at most 512 tokens (an 8×8 maze is one)."""

CPU_SECONDS = 2.0 / (190 * 134_515_008)
"""Seconds of a forward and backward pass per token and parameter on one thread of a 2-core server,
measured with SmolLM2-135M at 190 tokens (float32 and NF4 alike)."""
SLOW_SECONDS = 15.0
"""A pass of `TOKENS` on a CPU that takes longer than this is called slow."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of training one model in one way."""

    base: int
    adapter: int
    activations: int
    libraries: int

    @property
    def model(self) -> int:
        """Weights, gradients and optimizer: what stays allocated."""
        return self.base + self.adapter

    @property
    def total(self) -> int:
        """Everything at once: what the machine must have."""
        return self.model + self.activations + self.libraries


def estimate(
    shape: Shape,
    quantization: str,
    where: Where = "cpu",
    rank: int = RANK,
    tokens: int = TOKENS,
) -> Estimate:
    """What LoRA training costs with at most `tokens` tokens in a pass.

    On CPUs the total is the peak of what the process holds (resident memory), within `TOLERANCE`.
    Measured: SmolLM2-135M and four other shapes (four architectures, 8 and 16 layers), quantized
    and not, 256 and 512 tokens a pass, torch 2.13 on Linux, one thread. Runs of two updates
    end a little below the estimate, runs of twelve up to an eighth above it, for the heap grows at
    first. On GPUs nothing was measured.

    Not counted: pages of the weights' file while it is read. They show as resident, in a large
    model for more than all the rest, but the system takes them back when it needs room.
    """
    number = NUMBER_BYTES[where]
    linear = {"nf4": NF4_BYTES, "int8": 1.0, "none": float(number)}[quantization]
    rest = shape.embedding_parameters + shape.small
    activations = activation_bytes(shape, tokens, where)
    if where == "cpu" and quantization != "none":
        activations += _scattered(shape)
    return Estimate(
        base=round(shape.linear_parameters * linear) + rest * number,
        adapter=shape.lora_parameters(rank) * LORA_BYTES,
        activations=activations,
        libraries=LIBRARIES[where],
    )


def activation_bytes(shape: Shape, tokens: int, where: Where = "cpu") -> int:
    """What a pass takes without checkpointing: what its backward pass needs, and on CPUs as much
    again.

    Kept for one block: about 10 vectors of the model's width (norms, attention's inputs and
    outputs, residuals) and 5 of the MLP's; on GPUs the float32 adapters keep float32 copies of
    their inputs (6 and 1). On a CPU the gaps that temporary vectors leave on the heap between those
    kept are mostly not used again (giving each vector pages of its own saves two fifths and costs
    60 % more time). Fitted: about 7 vectors of the model's width, 7 of the queries' and 9 of the
    MLP's. Full-vocabulary logits are never made for more than a chunk.
    """
    if where == "cpu":
        queries = shape.heads * shape.head_dim
        numbers = 7 * (shape.hidden + queries) + 9 * shape.intermediate
        return tokens * shape.layers * numbers * NUMBER_BYTES["cpu"]
    kept = (10 * shape.hidden + 5 * shape.intermediate) * NUMBER_BYTES["cuda"]
    kept += 4 * (6 * shape.hidden + shape.intermediate)
    return tokens * shape.layers * kept


def _scattered(shape: Shape) -> int:
    """Quantized weights are unpacked to floats at every use, into such gaps as well."""
    unpacked = [4 * i * o for i, o in shape.linears]
    small = sum(size for size in unpacked if size < LARGEST_ON_HEAP)
    return round(SCATTERED * shape.layers * small)


# ---------------------------------------------------------------- this machine


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA GPU as its driver describes it; `free` in bytes."""

    name: str
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has for training: free main memory in bytes, and GPUs."""

    memory: int
    gpus: tuple[Gpu, ...] = ()

    @property
    def where(self) -> Where:
        """Where training would take place here."""
        return "cuda" if self.gpus else "cpu"

    @property
    def room(self) -> int:
        """Free bytes there."""
        return self.gpus[0].free if self.gpus else self.memory


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model can be trained here, with which quantization (the most exact that fits),
    and why in words."""

    can: bool
    quantization: str
    text: str


def verdict(shape: Shape | None, machine: Machine) -> Verdict:
    """Whether this machine can train the model (adapters of `RANK`, passes of `TOKENS`)."""
    if shape is None:
        return Verdict(False, "", "unknown: its size cannot be read before it is here")
    place = "on the GPU" if machine.gpus else "on the CPU"
    for quantization in reversed(QUANTIZATIONS):
        if estimate(shape, quantization, machine.where).total <= machine.room:
            slow = cpu_seconds(shape) if machine.where == "cpu" else 0.0
            text = f"yes, {place}" + (f" with {quantization}" if quantization != "none" else "")
            if slow > SLOW_SECONDS:
                text += f", but slowly: about {slow:.0f} s a pass of {TOKENS} tokens"
            return Verdict(True, quantization, text)
    needed = estimate(shape, "nf4", machine.where).total
    return Verdict(
        False, "", f"no: needs {words(needed)} with nf4, {words(machine.room)} free {place}"
    )


def cpu_seconds(shape: Shape, tokens: int = TOKENS) -> float:
    """Roughly how long a forward and backward pass takes on one CPU thread."""
    return CPU_SECONDS * shape.parameters * tokens


def this_machine() -> Machine:
    """Free memory here, asked of the system and of NVIDIA's driver (no torch)."""
    return Machine(available_memory(), tuple(_gpus()))


def available_memory() -> int:
    """Bytes of main memory that can be used now, within this container's limit if it has one."""
    available = _meminfo().get("MemAvailable") or _all_memory()
    for folder, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            left = int(Path(folder, limit).read_text()) - int(Path(folder, used).read_text())
        except (OSError, ValueError):  # not in such a group, or its limit is "max"
            continue
        available = min(available, max(left, 0))
    return available


def _meminfo() -> dict[str, int]:
    """Linux's `/proc/meminfo` in bytes; empty elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}


def _all_memory() -> int:
    """Bytes of main memory, where the system does not say how much of it is free."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _gpus() -> list[Gpu]:
    """What NVIDIA's driver knows about the GPUs."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line]
        return [Gpu(name.strip(), int(free) << 20) for name, free in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def words(size: float) -> str:
    """Bytes in words of three digits: 167 MB, 2.1 GB (decimal units)."""
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB" if size < 1e11 else f"{size / 1e9:.0f} GB"
