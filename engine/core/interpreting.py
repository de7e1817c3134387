"""Kernels as plain Python: for runs that are too slow to be worth machine code.

A kernel is a Python function (`compiling`), and a few steps a second are no work for it. Such a run
shows its first step a second after it was asked for, also where nothing has been compiled yet, and
its process needs neither Numba nor the memory of it. Both ways give the same bits, as long as
Python and Numba do the same arithmetic: that is looked up in the code of the kernel.
"""

from __future__ import annotations

import dis
import math
import types
from collections.abc import Callable
from functools import cache, wraps
from itertools import pairwise
from typing import Any

import numpy as np

from engine.core.compiling import CUSTOM_SOURCE

SAME = {
    "math": frozenset({"cos", "exp", "inf", "isnan", "log", "nan", "pi", "sqrt"}),
    "numpy": frozenset({"bool_", "float64", "int64", "uint64"}),
}
"""What means the same in Python and in machine code: both call the C library. NumPy's own functions
need not, nor does a power, which Numba multiplies out."""


@cache
def interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel as plain Python, without warnings of arithmetic that wraps around or overflows, as
    it does in machine code."""

    @wraps(function)
    def run(*arguments: Any) -> None:
        with np.errstate(all="ignore"):
            function(*arguments)

    return run


@cache
def gives_the_same(function: Callable[..., Any]) -> bool:
    """Whether a kernel, with all that it calls, gives the same bits as plain Python."""
    return CUSTOM_SOURCE not in function.__globals__ and all(
        _same(kernel) for kernel in _called_by(function, set())
    )


def _called_by(function: Callable[..., Any], seen: set[Any]) -> set[Any]:
    """The kernel and all kernels that it calls."""
    if function not in seen:
        seen.add(function)
        for name in function.__code__.co_names:
            value: Any = function.__globals__.get(name)
            if getattr(value, "is_kernel", False):
                _called_by(value, seen)
    return seen


def _same(function: Callable[..., Any]) -> bool:
    code = list(dis.get_instructions(function))
    for here, after in pairwise(code):
        if here.opname == "BINARY_POWER" or here.argrepr.startswith("**"):
            return False
        value = function.__globals__.get(here.argval) if here.opname == "LOAD_GLOBAL" else None
        if isinstance(value, types.ModuleType):
            if after.argval not in SAME.get(value.__name__, ()):
                return False
        elif isinstance(value, np.ufunc) or value in vars(math).values():
            return False  # imported by itself: none of ours does
    return True
