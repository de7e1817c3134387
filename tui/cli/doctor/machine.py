"""What `icemaze doctor` looks at: one function a question, each with an answer and a remedy.

Numba and torch are asked in processes of their own: this one never imports them.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator

from engine.core.errors import UserError
from tui.cli.doctor import machine_llm
from tui.cli.doctor.finding import Finding, existing, probe, version, writable
from tui.cli.models import missing_packages

MIN_COLUMNS, MIN_ROWS = 80, 24

NUMBA_PROBE = """
import json, numba
print(json.dumps({"threads": numba.config.NUMBA_NUM_THREADS, "seven": numba.njit(lambda: 7)()}))
"""
TORCH_PROBE = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({
    "built_for": torch.version.cuda or getattr(torch.version, "hip", None),
    "gpus": [[gpu.name, gpu.total_memory] for gpu in gpus],
    "mps": torch.backends.mps.is_available(),
}))
"""


def examine() -> Iterator[Finding]:
    """All findings, one after the other as they come."""
    yield python()
    yield packages()
    yield cores()
    yield kernels()
    yield kernel_cache()
    yield runs_folder()
    yield from terminal()
    yield gpu()
    yield from gpu_state()
    yield from language_models()


def python() -> Finding:
    """The interpreter and the system."""
    text = f"{platform.python_version()} at {sys.executable}, {platform.platform()}"
    return Finding("Python", "ok", text)


def packages() -> Finding:
    """The versions of what everything rests on."""
    names = ("icemaze", "textual", "rich", "numpy", "numba", "gymnasium")
    return Finding("Packages", "ok", ", ".join(f"{name} {version(name)}" for name in names))


def cores() -> Finding:
    """How many processor cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("Cores", "ok", f"{usable} usable of {os.cpu_count()}, {platform.machine()}")


def kernels() -> Finding:
    """Whether Numba can compile here."""
    found = probe(NUMBA_PROBE)
    if found.get("seven") == 7:
        return Finding("Kernels", "ok", "Numba compiles: tables can be trained")
    return Finding(
        "Kernels",
        "bad",
        f"Numba does not work, so nothing can be trained: {found.get('error', 'no answer')}",
        "Reinstall it: pip install --force-reinstall numba",
    )


def kernel_cache() -> Finding:
    """Where compiled kernels are kept, whether they may be used, and how many there are."""
    # start-up time
    from engine.core import kernel_cache
    from engine.core.compiling import cache_folder

    folder = cache_folder()
    if why := kernel_cache.prepare(folder):
        return Finding(
            "Kernel cache",
            "warning",
            f"not used, so kernels are compiled anew at every start: {why}",
            "It has to be a folder that only you can open and write; choose one with "
            "ICEMAZE_CACHE_DIR=/path",
        )
    compiled, damaged = kernel_cache.count(folder)
    text = f"{compiled} compiled kernel{'' if compiled == 1 else 's'}"
    text = text if compiled else "empty: the first run compiles (seconds)"
    if damaged:
        files = "1 file is" if damaged == 1 else f"{damaged} files are"
        return Finding(
            "Kernel cache",
            "warning",
            f"{folder}: {text}; {files} damaged, and compiled again when needed (seconds)",
            f"Nothing has to be done; `rm -r {folder}` is harmless too",
        )
    return Finding("Kernel cache", "ok", f"{folder}: {text}; only yours to open")


def runs_folder() -> Finding:
    """Whether runs can be written, and what kind of disk they are on."""
    # start-up time
    from engine.runs import library
    from engine.runs.disk.filesystem import filesystem_type, network_filesystem

    folder = library.runs_dir()
    if not writable(folder):
        remedy = "Choose another one: --runs-dir or ICEMAZE_RUNS_DIR"
        return Finding("Runs folder", "bad", f"{folder} is not writable", remedy)
    try:
        count = len(library.run_folders())
    except UserError as error:
        return Finding("Runs folder", "bad", str(error))
    free = shutil.disk_usage(existing(folder)).free / 2**30
    kind = filesystem_type(folder) or "unknown filesystem"
    text = f"{folder}: {count} runs, {free:.1f} GiB free, {kind}"
    if network_filesystem(folder):
        return Finding(
            "Runs folder",
            "warning",
            f"{text} (a network filesystem: no write-ahead log, so runs are written more slowly)",
            "Put runs on a local disk: --runs-dir or ICEMAZE_RUNS_DIR",
        )
    return Finding("Runs folder", "warning" if free < 1 else "ok", text)


def terminal() -> Iterator[Finding]:
    """Whether the app can be shown here: a terminal, its size, colours and characters."""
    if not sys.stdout.isatty():
        yield Finding(
            "Terminal", "ok", "stdout is not a terminal: headless commands work, the app does not"
        )
    else:
        yield _size_and_colours()
    encoding = sys.stdout.encoding or "unknown"
    if encoding.lower().replace("-", "") == "utf8":
        yield Finding("Characters", "ok", "UTF-8")
    else:
        remedy = "Set a UTF-8 locale: export LC_ALL=C.UTF-8"
        yield Finding("Characters", "warning", f"{encoding}: signs are spelled out", remedy)


def _size_and_colours() -> Finding:
    from rich.console import Console

    columns, rows = shutil.get_terminal_size()
    colours = Console().color_system or "no colours"
    inside = " in tmux" if os.environ.get("TMUX") else ""
    name = os.environ.get("TERM", "unknown")
    text = f"{columns}x{rows}, {colours} ({name}{inside})"
    if columns < MIN_COLUMNS or rows < MIN_ROWS:
        remedy = f"Make it at least {MIN_COLUMNS}x{MIN_ROWS}"
        return Finding("Terminal", "warning", f"{text}: too small for the app", remedy)
    if colours == "no colours":
        remedy = "The app shows everything without colours too; TERM=xterm-256color brings them"
        return Finding("Terminal", "warning", text, remedy)
    return Finding("Terminal", "ok", text)


def gpu() -> Finding:
    """Which accelerator there is. Tables are trained on the processor, whatever the answer."""
    if "torch" not in missing_packages():
        found = probe(TORCH_PROBE)
        if "error" in found:
            return Finding("GPU", "warning", f"torch cannot be imported: {found['error']}")
        if found["gpus"]:
            names = (f"{name} ({size / 2**30:.0f} GiB)" for name, size in found["gpus"])
            return Finding("GPU", "ok", f"torch {version('torch')} sees {', '.join(names)}")
        if found["mps"]:
            return Finding("GPU", "ok", f"torch {version('torch')} sees Apple's GPU (mps)")
        built = f"built for {found['built_for']}" if found["built_for"] else "built for CPUs only"
        return Finding("GPU", "ok", f"torch {version('torch')} ({built}) sees none")
    # start-up time
    from engine.llm.models.memory import driver_says

    driver = ", ".join(driver_says("name,memory.total"))  # also on machines without torch
    return Finding("GPU", "ok", driver or "none found (tables do not need one)")


def gpu_state() -> Iterator[Finding]:
    """How busy each of NVIDIA's GPUs is now, and with whom its memory is shared."""
    # start-up time
    from engine.runs.machine.readings import Gpus, process_name
    from engine.runs.machine.sampler import DRIVERS

    if not any(map(os.path.exists, DRIVERS)):
        return
    gpus = Gpus()
    if gpus.why:
        yield Finding("GPU state", "warning", f"not known, nor recorded with runs: {gpus.why}")
    processes = gpus.processes()
    for device, now in zip(gpus.devices(), gpus.read(), strict=True):
        shares = [
            f"{process_name(pid) or 'process'} {pid}" + (f" {gib:.1f} GiB" if gib else "")
            for pid, gib in processes.get(now.gpu or 0, [])
        ]
        told = [
            f"{now.busy:.0%} busy" if now.busy is not None else "",
            f"{now.memory:.1f} of {device.memory:.1f} GiB" if now.memory and device.memory else "",
            f"{now.power:.0f} W" if now.power is not None else "",
            f"{now.temperature:.0f} °C" if now.temperature is not None else "",
            f"used by {', '.join(shares)}" if shares else "nobody computes on it",
        ]
        yield Finding("GPU state", "ok", f"GPU {now.gpu}: {', '.join(filter(None, told))}")


def language_models() -> Iterator[Finding]:
    """Whether language models can be trained, on what, and which."""
    yield from machine_llm.findings()
