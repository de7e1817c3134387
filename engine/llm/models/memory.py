"""What training a model costs in memory, and whether this machine has it.

Estimates from the model's shape alone, so that a table of models can be shown without torch and
without having any of them. Bytes throughout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from engine.config.llm import TOKEN_BUDGET
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
LIBRARIES = {"cpu": 430 << 20, "cuda": 800 << 20}
"""Python with torch and transformers, or a CUDA context with its workspaces."""
TOLERANCE = 0.15
"""How far an estimate may be from the peak of a run, as a part of that."""
FOLLOWS_MEMORY: tuple[Where, ...] = ("cuda",)
"""Where the default number of tokens a pass follows free memory. On a CPU a preset gives the same
digits whatever else runs there; only checkpointing, which changes none, follows memory."""
HEAP, HEAP_CHECKPOINTING = 2.35, 1.05
"""Bytes by which a CPU's heap grows for each byte that is kept, and that would be kept without
checkpointing, see `activation_bytes`."""
PASSING = 4
"""Bytes per token and number of the MLP's width that pass through a GPU's memory besides."""
SCATTERED = 0.5
"""The part of a CPU's unpacked weights that is never found again, see `_scattered`."""
LARGEST_ON_HEAP = 32 << 20
"""Bytes from which on glibc gives a tensor pages of its own, and takes them back at once."""
RANK = 16
"""The rank that tables assume."""
FULL_SPEED = {"cpu": 512, "cuda": 2048}
"""Tokens from which on a larger pass is hardly faster, so that smaller passes are tried before
gradient checkpointing, which costs a third more arithmetic. On a GPU by the roofline: a pass of n
tokens does n operations for each byte of a 16-bit weight that it reads, and GPUs can do 100 to 300
in the time of reading one."""
SMALLEST = 64
"""Tokens of the smallest pass that is chosen beforehand."""
COMING_BYTES = 12
"""Per adapter parameter that the first update adds to the weights: gradient, Adam's moments."""

CPU_SECONDS = 2.0 / (190 * 134_515_008)
"""Seconds of a forward and backward pass per token and parameter on one thread of a 2-core server,
measured with SmolLM2-135M at 190 tokens (float32 and NF4 alike)."""
SLOW_SECONDS = 15.0
"""A pass of `TOKEN_BUDGET` on a CPU that takes longer than this is called slow."""


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
    tokens: int | None = None,
    checkpointing: bool = False,
) -> Estimate:
    """What LoRA training costs with at most `tokens` tokens in a pass (default: as many as a run
    takes there).

    On CPUs the total is the peak of what the process holds (resident memory), within `TOLERANCE`.
    Measured: SmolLM2-135M and two random models (8 layers of width 512, 24 of 256), quantized or
    not, 256 and 512 tokens a pass, with and without checkpointing, two or three updates, torch 2.13
    on Linux, one thread; a longer run's heap grows a little further.

    On GPUs `model + activations` is the peak of what torch allocates. Its activations were counted
    tensor by tensor in bfloat16 passes on a CPU (`test_passes`); on a GPU nothing was measured.

    Not counted: pages of the weights' file while it is read. They show as resident, in a large
    model for more than all the rest, but the system takes them back when it needs room.
    """
    number = NUMBER_BYTES[where]
    linear = {"nf4": NF4_BYTES, "int8": 1.0, "none": float(number)}[quantization]
    rest = shape.embedding_parameters + shape.small
    tokens = TOKEN_BUDGET[where] if tokens is None else tokens
    activations = activation_bytes(shape, tokens, where, checkpointing, rank)
    if where == "cpu" and quantization != "none":
        activations += _scattered(shape)
    return Estimate(
        base=round(shape.linear_parameters * linear) + rest * number,
        adapter=shape.lora_parameters(rank) * LORA_BYTES,
        activations=activations,
        libraries=LIBRARIES[where],
    )


def activation_bytes(
    shape: Shape,
    tokens: int,
    where: Where = "cpu",
    checkpointing: bool = False,
    rank: int = RANK,
) -> int:
    """What a forward and backward pass takes besides weights, gradients and optimizer.

    Without checkpointing all that every layer computes with and needs again; with it the input of
    every layer, and one layer at a time. Full-vocabulary logits are never made for more than a
    chunk.

    On a CPU the gaps that temporary vectors leave on the heap between those kept are mostly not
    used again (giving each vector pages of its own saves two fifths and costs 60 % more time):
    `HEAP` is fitted to whole runs. With checkpointing the same gaps remain without what was between
    them, so that there it saves about half.
    """
    kept = _kept(shape, where, rank)
    inputs = shape.hidden * NUMBER_BYTES[where]
    mask = tokens * NUMBER_BYTES[where]
    if where == "cpu":
        grown = HEAP_CHECKPOINTING if checkpointing else HEAP
        return round(tokens * shape.layers * (grown * kept + inputs * checkpointing))
    layers = shape.layers * inputs + kept if checkpointing else shape.layers * kept
    return tokens * (layers + PASSING * shape.intermediate + mask)


def _kept(shape: Shape, where: Where, rank: int) -> int:
    """Bytes per token that one layer keeps for its backward pass.

    h, q, m: the widths of the model, of all queries, of the MLP. In 16 bits a layer keeps in
    float32 the inputs of two norms (8h) and the adapters' own copies of their inputs (20h, 4q, 4m);
    queries, keys and values of all heads and attention's output (8q), the norms of queries and
    keys, if any (4q); gate, its SiLU and up (6m); and what goes through the seven adapters. In
    float32 there are no copies, and everything else is twice as large.
    """
    h, q, m = shape.hidden, shape.heads * shape.head_dim, shape.intermediate
    if where == "cuda":
        return 28 * h + 16 * q + 10 * m + 28 * rank
    return 16 * (h + q + m) + 28 * rank


def _scattered(shape: Shape) -> int:
    """Quantized weights are unpacked to floats at every use, into such gaps as well."""
    unpacked = [4 * i * o for i, o in shape.linears]
    small = sum(size for size in unpacked if size < LARGEST_ON_HEAP)
    return round(SCATTERED * shape.layers * small)


class Pass(NamedTuple):
    """What a forward and backward pass may hold."""

    tokens: int
    checkpointing: bool


def smaller(one: Pass, where: Where, may_checkpoint: bool) -> Pass:
    """The next smaller kind of pass: half the tokens while that costs no speed, then gradient
    checkpointing, then half the tokens again."""
    if may_checkpoint and not one.checkpointing and one.tokens // 2 < FULL_SPEED[where]:
        return one._replace(checkpointing=True)
    return one._replace(tokens=max(1, one.tokens // 2))


def fitting(
    first: Pass,
    fits: Callable[[Pass], bool],
    where: Where,
    may_checkpoint: bool = True,
    may_shrink: bool = True,
) -> Pass:
    """The first kind of pass that fits, from `first` on; the smallest where none does.

    Where passes may not shrink, they have checkpointing or not.
    """
    one = first
    while not fits(one):
        if not may_shrink:
            return one._replace(checkpointing=one.checkpointing or may_checkpoint)
        if one.tokens // 2 < SMALLEST and (one.checkpointing or not may_checkpoint):
            return one
        one = smaller(one, where, may_checkpoint)
    return one


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
class Training:
    """How a run would train a model on a machine with one quantization, and what that takes."""

    quantization: str
    passes: Pass
    cost: Estimate
    fits: bool


def training(shape: Shape, quantization: str, machine: Machine) -> Training:
    """The passes that a run with default settings would choose there (adapters of `RANK`)."""
    where = machine.where

    def cost(one: Pass) -> Estimate:
        return estimate(shape, quantization, where, RANK, one.tokens, one.checkpointing)

    def fits(one: Pass) -> bool:
        return cost(one).total <= machine.room

    usual = Pass(TOKEN_BUDGET[where], False)
    chosen = fitting(usual, fits, where, may_shrink=where in FOLLOWS_MEMORY)
    return Training(quantization, chosen, cost(chosen), fits(chosen))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model can be trained here, with which quantization (the most exact that fits),
    and why in words."""

    can: bool
    quantization: str
    text: str


def verdict(shape: Shape | None, machine: Machine) -> Verdict:
    """Whether this machine can train the model (adapters of `RANK`), in which passes."""
    if shape is None:
        return Verdict(False, "", "unknown: its size cannot be read before it is here")
    place = "on the GPU" if machine.gpus else "on the CPU"
    ways = [training(shape, quantization, machine) for quantization in reversed(QUANTIZATIONS)]
    ways.sort(key=lambda way: way.passes.checkpointing)  # stable: the most exact first
    for way in ways:
        if way.fits:
            text = f"yes, {place}" + (
                f" with {way.quantization}" if way.quantization != "none" else ""
            )
            return Verdict(True, way.quantization, text + _ways(shape, way.passes, machine.where))
    needed = min(way.cost.total for way in ways)
    return Verdict(
        False, "", f"no: needs {words(needed)} with nf4, {words(machine.room)} free {place}"
    )


def _ways(shape: Shape, passes: Pass, where: Where) -> str:
    """What is not as usual about these passes, in words."""
    text = f", {passes.tokens:,} tokens a pass" if passes.tokens < TOKEN_BUDGET[where] else ""
    if passes.checkpointing:
        text += ", with gradient checkpointing"
    slow = cpu_seconds(shape) if where == "cpu" else 0.0
    if slow > SLOW_SECONDS:
        text += f", but slowly: about {slow:.0f} s a pass of {TOKEN_BUDGET['cpu']} tokens"
    return text


def cpu_seconds(shape: Shape, tokens: int = TOKEN_BUDGET["cpu"]) -> float:
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
    """What NVIDIA's driver knows about the GPUs that CUDA may use, in CUDA's order. One of which it
    does not say how much is free (a part of a card, MIG) is left out."""
    known = dict[str, Gpu]()  # by number, and by the name that no other GPU has
    for line in driver_says("index,uuid,name,memory.free", "csv,noheader,nounits"):
        match [part.strip() for part in line.split(",", 3)]:
            case [index, uuid, name, free] if free.isdecimal():
                known[index] = known[uuid] = Gpu(name, int(free) << 20)
    numbers = ",".join(key for key in known if key.isdecimal())
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES", numbers).split(",")
    return [known[one.strip()] for one in allowed if one.strip() in known]


def driver_says(fields: str, style: str = "csv,noheader") -> list[str]:
    """What NVIDIA's driver knows of these properties, a line for each GPU; nothing without one."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, f"--query-gpu={fields}", f"--format={style}"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()


def words(size: float) -> str:
    """Bytes in words of three digits: 167 MB, 2.1 GB (decimal units)."""
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB" if size < 1e11 else f"{size / 1e9:.0f} GB"
