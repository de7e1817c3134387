"""Kernels are plain Python until somebody compiles them.

`@kernel` only marks a function. The screens can therefore import an algorithm, read its settings
and show its source without ever importing Numba, and a test can run a kernel as plain Python.
`compiled` turns a kernel and every kernel it calls into machine code with Numba (no fastmath:
the arithmetic is IEEE, so a run is reproducible bit for bit).

Numba looks only at the file of the function itself when it decides whether cached machine code
is still valid; the cache folder is therefore named by a hash of the whole engine's kernels.
Kernels of a user's own file are kept in it under the hash of that file, wherever the file is: each
run has its own copy of it, and none should compile again what another has compiled.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import hashlib
import os
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from engine.core import kernel_cache
from engine.core.files import replace_file

KERNEL_ROOMS = ("core", "exact", "tabular")
"""The folders of the engine whose files hold kernels, or types that kernels are compiled for."""
F = TypeVar("F", bound=Callable[..., Any])

CUSTOM_SOURCE = "__icemaze_source__"
"""The global of a module made from a user's own file that holds its text."""


def kernel(function: F) -> F:
    """Mark a function as compilable. It stays plain Python until `compiled` is called on it."""
    function.__dict__["is_kernel"] = True
    return function


def inlined(function: F) -> F:
    """A kernel that is compiled into its callers: for the few that every step goes through."""
    function.__dict__["is_inlined"] = True
    return kernel(function)


def cache_folder() -> Path:
    """Where compiled kernels live: one folder per version of the kernels' source."""
    digest = hashlib.sha256()
    engine = Path(__file__).parents[1]
    for path in sorted(path for room in KERNEL_ROOMS for path in (engine / room).rglob("*.py")):
        digest.update(path.relative_to(engine).as_posix().encode() + path.read_bytes())
    base = os.environ.get("ICEMAZE_CACHE_DIR") or platformdirs.user_cache_dir("icemaze")
    return Path(base) / "kernels" / digest.hexdigest()[:16]


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The machine-code version of a kernel (compiled at its first call, then cached on disk)."""
    return _machine_code(function, inside=False)


@cache
def _compiled_inside(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a kernel that only other kernels call."""
    return _machine_code(function, inside=True)


def _machine_code(function: Callable[..., Any], *, inside: bool) -> Callable[..., Any]:
    import numba

    folder, code = cache_folder(), function.__code__
    usable = not inside and not kernel_cache.prepare(folder)
    if usable:
        vars(numba.config)["CACHE_DIR"] = str(folder)
    called = {
        name: _compiled_inside(value)
        for name, value in function.__globals__.items()
        if name in code.co_names and getattr(value, "is_kernel", False)
    }
    own = _own_copy(function)
    if own is not None and usable and _write_copy(own, function.__globals__[CUSTOM_SOURCE]):
        code = code.replace(co_filename=str(own))
    bound = types.FunctionType(
        code,
        {**function.__globals__, **called},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    bound.__qualname__, bound.__module__ = function.__qualname__, function.__module__
    # Kernels allocate nothing, so they need no reference counts; without them a step takes a
    # tenth of the time (every array taken out of a NamedTuple would cost two atomic additions).
    inline = getattr(function, "is_inlined", False)
    options: dict[str, Any] = {"_nrt": False, "forceinline": inline}
    if inside:  # never called from Python and part of its caller's code: a third less to compile
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    result: Callable[..., Any] = numba.njit(**options)(bound)
    if usable:
        kernel_cache.keep(result, folder)
    return result


def _write_copy(own: Path, source: bytes) -> bool:
    """Put a copy of the user's own file where Numba looks for machine code by it."""
    try:
        own.parent.mkdir(exist_ok=True)
        if not own.exists():
            replace_file(own, source)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def compiling_fast() -> Iterator[None]:
    """Around what compiles. Numba makes millions of objects that stay: looking among them for
    garbage takes an eighth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def announcement(title: str, *kernels: Callable[..., Any]) -> str:
    """A sentence for a user whose start of an algorithm will take seconds, or nothing.

    What is found damaged of the kept machine code is removed, so that it is told once.
    """
    if why := kernel_cache.prepare(cache_folder()):
        return f"Compiling {title} (a few seconds; not kept for the next start: {why})."
    found = [_kept(function) for function in kernels]
    if "damaged" in found:
        for function in kernels:
            for folder, stem in _places(function):
                kernel_cache.forget_damaged(folder, stem)
        return (
            f"Compiling {title} again (a few seconds): what was kept of an earlier start is "
            "damaged and was removed."
        )
    if "missing" in found:
        return f"Compiling {title} once (a few seconds; kept for the next start)."
    return ""


def needs_compiling(function: Callable[..., Any]) -> bool:
    """Whether the next call of this kernel will compile for seconds rather than load."""
    return _kept(function) != "whole"


def _kept(function: Callable[..., Any]) -> kernel_cache.Kept:
    """Whether the machine code of a kernel is kept."""
    found = [kernel_cache.kept(folder, stem) for folder, stem in _places(function)]
    for state in ("damaged", "whole"):
        if state in found:
            return state
    return "missing"


def _places(function: Callable[..., Any]) -> list[tuple[Path, str]]:
    """The folders in which Numba keeps a kernel, and how the names of its files begin."""
    file = _own_copy(function) or Path(function.__code__.co_filename)
    folders = cache_folder().glob(f"{glob.escape(file.parent.name)}_*")
    return [(folder, f"{file.stem}.{function.__name__}-") for folder in folders]


def _own_copy(function: Callable[..., Any]) -> Path | None:
    """Where the file of a user's own kernel stands for Numba, which looks beside it (by folder)
    for machine code; None for the engine's kernels."""
    source = function.__globals__.get(CUSTOM_SOURCE)
    if source is None:
        return None
    digest = hashlib.sha256(source).hexdigest()[:16]
    return cache_folder() / f"own-{digest}" / Path(function.__code__.co_filename).name
