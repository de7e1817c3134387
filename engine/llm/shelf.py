"""The shelf of algorithms for language models: which file holds which. No torch is imported."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from engine.errors import UserError, nearest

if TYPE_CHECKING:
    from engine.llm.algorithm import LlmAlgorithm
    from engine.settings import AlgorithmSettings

MODULES = {
    "reinforce": "reinforce",
    "rloo": "rloo",
    "grpo": "grpo",
    "dr-grpo": "dr_grpo",
    "dapo": "dapo",
    "ppo": "ppo",
    "mpo": "mpo",
}
"""In the order they are taught."""


@cache
def get(name: str) -> LlmAlgorithm:
    """The algorithm of that name. Raises UserError."""
    if name not in MODULES:
        raise UserError(
            f"algorithm.name: there is no algorithm {name!r} for language models."
            f"{nearest(name, list(MODULES))}"
        )
    algorithm: LlmAlgorithm = import_module(f"engine.llm.algorithms.{MODULES[name]}").ALGORITHM
    return algorithm


def of(settings: AlgorithmSettings) -> LlmAlgorithm:
    """The algorithm these settings belong to."""
    return get(str(settings.__struct_config__.tag))


def all_algorithms() -> list[LlmAlgorithm]:
    """Every algorithm for language models, in the order they are taught."""
    return [get(name) for name in MODULES]
