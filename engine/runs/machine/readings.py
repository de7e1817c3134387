"""The state of processor, memory and GPUs, as the operating system and NVIDIA's driver tell it.

GPUs are asked through NVML (nvidia-ml-py, of the `llm` extra), which loads the driver's library and
nothing else: torch is not imported, and no context is made on the GPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

GIB = 2**30
PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One device at one moment. None: not known here.

    `gpu` is its number, None for the processor; `busy` the share of its time it worked (of all
    cores); `memory` the GiB in use on the machine or the GPU; `own` the GiB of this process.
    """

    gpu: int | None = None
    busy: float | None = None
    memory: float | None = None
    own: float | None = None
    power: float | None = None
    """Watts."""
    temperature: float | None = None
    """Degrees Celsius."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What never changes about one."""

    gpu: int | None = None
    name: str = ""
    memory: float | None = None
    """GiB it has."""
    power: float | None = None
    """Watts it may take."""


class Processor:
    """The processor and the main memory, by Linux's /proc; elsewhere by psutil, if it is there."""

    def __init__(self) -> None:
        self._before = self._times()

    def device(self) -> Device:
        """Its cores and memory."""
        total, _ = _memory()
        return Device(name=f"{os.cpu_count()} cores", memory=total)

    def read(self) -> Reading:
        """How busy it was since the last look."""
        busy = None
        before, now = self._before, self._times()
        self._before = now
        if before and now and now[1] > before[1]:
            busy = (now[0] - before[0]) / (now[1] - before[1])
        return Reading(busy=busy, memory=_memory()[1], own=_own_memory())

    def _times(self) -> tuple[float, float] | None:
        """Seconds worked and seconds passed, summed over cores."""
        try:
            fields = (PROC / "stat").read_text("ascii").split("\n", 1)[0].split()[1:9]
            numbers = [float(field) for field in fields]
            return sum(numbers) - numbers[3] - numbers[4], sum(numbers)  # less idle and iowait
        except (OSError, ValueError, IndexError):
            times = _psutil("cpu_times")
            return (sum(times) - times.idle, sum(times)) if times else None


def _memory() -> tuple[float | None, float | None]:
    """GiB the machine has, and GiB in use."""
    try:
        lines = (PROC / "meminfo").read_text("ascii").splitlines()
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 / GIB for line in lines if line}
        return found["MemTotal"], found["MemTotal"] - found["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        memory = _psutil("virtual_memory")
        if memory is None:
            return None, None
        return memory.total / GIB, (memory.total - memory.available) / GIB


def _own_memory() -> float | None:
    try:
        return int((PROC / "self" / "statm").read_text("ascii").split()[1]) * PAGE / GIB
    except (OSError, ValueError, IndexError):
        return None


def _psutil(name: str) -> Any:
    try:
        import psutil
    except ImportError:
        return None
    return getattr(psutil, name)()


class Gpus:
    """NVIDIA's GPUs. Without a driver, or without nvidia-ml-py, there are none."""

    def __init__(self, nvml: Any = None) -> None:
        """`nvml` stands in for the module `pynvml` in tests."""
        self.why = ""
        """Why there are none to be seen; empty where there are some."""
        self._handles: list[Any] = []
        try:
            self._nvml = nvml or _pynvml()
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
            self.why = "" if count else "the driver knows no GPU"
        except ImportError:
            self.why = "nvidia-ml-py is not installed: pip install nvidia-ml-py"
        except Exception as error:  # NVMLError, whatever the driver of this machine thinks of it
            self.why = f"NVIDIA's driver does not answer ({error})"

    def devices(self) -> list[Device]:
        """What there is."""
        return [
            Device(
                gpu=index,
                name=_text(self._ask("nvmlDeviceGetName", handle)),
                memory=_part(self._ask("nvmlDeviceGetMemoryInfo", handle), "total", GIB),
                power=_scaled(self._ask("nvmlDeviceGetEnforcedPowerLimit", handle), 1000),
            )
            for index, handle in enumerate(self._handles)
        ]

    def read(self) -> list[Reading]:
        """How busy each is now."""
        return [
            Reading(
                gpu=index,
                busy=_part(self._ask("nvmlDeviceGetUtilizationRates", handle), "gpu", 100),
                memory=_part(self._ask("nvmlDeviceGetMemoryInfo", handle), "used", GIB),
                own=self._own(handle),
                power=_scaled(self._ask("nvmlDeviceGetPowerUsage", handle), 1000),
                temperature=_scaled(self._ask("nvmlDeviceGetTemperature", handle, 0), 1),
            )
            for index, handle in enumerate(self._handles)
        ]

    def processes(self) -> dict[int, list[tuple[int, float | None]]]:
        """Who computes on each: numbers of processes and their GiB, the largest first."""
        found = {}
        for index, handle in enumerate(self._handles):
            running = self._ask("nvmlDeviceGetComputeRunningProcesses", handle) or []
            pairs = [(int(p.pid), _part(p, "usedGpuMemory", GIB)) for p in running]
            found[index] = sorted(pairs, key=lambda pair: -(pair[1] or 0.0))
        return found

    def _own(self, handle: Any) -> float | None:
        running = self._ask("nvmlDeviceGetComputeRunningProcesses", handle) or []
        own = [process for process in running if process.pid == os.getpid()]
        return _part(own[0], "usedGpuMemory", GIB) if own else None

    def _ask(self, name: str, *arguments: Any) -> Any:
        """An answer of the driver's; None for what this GPU does not tell."""
        ask: Callable[..., Any] = getattr(self._nvml, name)
        with contextlib.suppress(Exception):  # NVMLError_NotSupported and its like
            return ask(*arguments)
        return None


def _pynvml() -> Any:
    import pynvml  # only where somebody asks about GPUs

    return pynvml


def _part(found: Any, name: str, unit: float) -> float | None:
    return None if found is None else _scaled(getattr(found, name, None), unit)


def _scaled(value: Any, unit: float) -> float | None:
    return None if value is None else float(value) / unit


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "GPU")


def process_name(pid: int) -> str:
    """What a process is called; empty where that is not known."""
    try:
        return (PROC / str(pid) / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
