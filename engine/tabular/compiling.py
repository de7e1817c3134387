"""Kernels are plain Python until somebody compiles them.

`@kernel` only marks a function. The screens can therefore import an algorithm, read its settings
and show its source without ever importing Numba, and a test can run a kernel as plain Python.
`compiled` turns a kernel and every kernel it calls into machine code with Numba (no fastmath:
the arithmetic is IEEE, so a run is reproducible bit for bit).

Numba looks only at the file of the function itself when it decides whether cached machine code
is still valid; the cache folder is therefore named by a hash of the whole engine's kernels.
"""

from __future__ import annotations

import hashlib
import os
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Mark a function as compilable. It stays plain Python until `compiled` is called on it."""
    function.__dict__["is_kernel"] = True
    return function


def cache_folder() -> Path:
    """Where compiled kernels live: one folder per version of the kernels' source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    base = os.environ.get("ICEMAZE_CACHE_DIR") or platformdirs.user_cache_dir("icemaze")
    return Path(base) / "kernels" / digest.hexdigest()[:16]


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The machine-code version of a kernel (compiled at its first call, then cached on disk)."""
    import numba

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        vars(numba.config)["CACHE_DIR"] = str(folder)
    called = {
        name: compiled(value)
        for name, value in function.__globals__.items()
        if name in function.__code__.co_names and getattr(value, "is_kernel", False)
    }
    bound = types.FunctionType(
        function.__code__,
        {**function.__globals__, **called},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    bound.__qualname__, bound.__module__ = function.__qualname__, function.__module__
    # Kernels allocate nothing, so they need no reference counts; without them a step takes a
    # tenth of the time (every array taken out of a NamedTuple would cost two atomic additions).
    options: dict[str, Any] = {"cache": writable, "_nrt": False}
    result: Callable[..., Any] = numba.njit(**options)(bound)
    return result


def announcement(title: str, *kernels: Callable[..., Any]) -> str:
    """What to tell a user whose first start of an algorithm will take seconds, or nothing."""
    if any(needs_compiling(function) for function in kernels):
        return f"Compiling {title} once (a few seconds; kept for the next start)."
    return ""


def needs_compiling(function: Callable[..., Any]) -> bool:
    """Whether the next call of this kernel will compile for seconds rather than load."""
    folder = cache_folder()
    name = f"{Path(function.__code__.co_filename).stem}.{function.__name__}-"
    return not any(path.name.startswith(name) for path in folder.rglob("*.nbi"))
