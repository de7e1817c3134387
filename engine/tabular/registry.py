"""The shelf: which file holds which algorithm. A new algorithm is its file and a line here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from engine.errors import UserError, nearest

if TYPE_CHECKING:
    from engine.tabular.algorithm import Algorithm

MODULES = {
    "value-iteration": "value_iteration",
    "q-learning": "q_learning",
    "sarsa": "sarsa",
}


@cache
def get(name: str) -> Algorithm:
    """The algorithm of that name. Importing one never imports Numba: kernels compile later."""
    if name not in MODULES:
        raise UserError(
            f"algorithm.name: there is no algorithm {name!r}.{nearest(name, list(MODULES))}"
        )
    algorithm: Algorithm = import_module(f"engine.tabular.{MODULES[name]}").ALGORITHM
    return algorithm


def all_algorithms() -> list[Algorithm]:
    """Every algorithm on the shelf, in the order they are taught."""
    return [get(name) for name in MODULES]
