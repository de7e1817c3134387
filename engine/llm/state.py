"""What a checkpoint is made of: arrays by name, whatever they stand for."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec
import numpy as np
import torch

from engine.core.arrays import Array
from engine.learning.learner import State

Kind = TypeVar("Kind")


def to_json(value: Any) -> Array:
    """Plain data or a struct as the bytes of a JSON text [n] uint8. Whole numbers of any size are
    kept, as those of a generator's state."""
    return np.frombuffer(json.dumps(msgspec.to_builtins(value)).encode(), np.uint8)


def from_json(array: Array, kind: type[Kind]) -> Kind:
    """The inverse of `to_json`."""
    return msgspec.convert(json.loads(array.tobytes()), kind)


def under(state: State, prefix: str) -> State:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def weights_under(state: State, prefix: str) -> dict[str, torch.Tensor]:
    """The same as tensors of their own."""
    return {name: torch.from_numpy(value.copy()) for name, value in under(state, prefix).items()}
