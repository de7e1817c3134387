"""Whether a packed pass says what the model says, whatever number format it computes in.

In 16 bits two correct passes differ by what rounding makes of them, up to some tenths of a nat; a
wrong mask may do no more. So masks and positions are judged in float32, where two correct passes
agree to 1e-4 (`Agreement.error`); and rounding, against that float32 pass, by how much of it the
model's own pass makes (`Agreement.packed`, `Agreement.plain`).

LLM.int8 (Dettmers et al. 2022) rounds inputs to 8 bits, but for columns in which some token of the
pass has an outlier: what it says of one token depends on the others, in float32 too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from engine.llm.forward.packing import TOLERANCE
from engine.llm.models.architecture import decoder_of

ROUNDING = 4.0
"""How many times the model's own rounding error, on average over the tokens compared, a packed pass
may have. Both are sums of the same number of roundings in another order: on tiny models of four
architectures their means stood as 0.6 to 1.3."""

ROUNDED_INPUTS = 0.25
"""`packing.TOLERANCE` of models whose layers round their inputs: e^0.25 is where DAPO's clip is."""

READS_ROWS = (torch.nn.functional.embedding, Tensor.__getitem__)
"""What reads some rows of a table that would be large as a whole in float32."""


class Agreement(NamedTuple):
    """How far log π by a packed pass is from that of the model's own forward pass."""

    error: float  # largest |Δ log π|, both computed in float32
    packed: float = 0.0  # mean |Δ log π| of the packed pass as it trains to the model's in float32
    plain: float = 0.0  # the same of the model's own pass: what its rounding makes
    dtype: str = "float32"  # what is trained in
    limit: float = TOLERANCE  # what `error` may be

    @property
    def allowed(self) -> float:
        """What `packed` may be: `ROUNDING` times `plain`, and the step of the format at 1."""
        return ROUNDING * self.plain + torch.finfo(getattr(torch, self.dtype)).eps

    @property
    def finite(self) -> bool:
        """Whether what the model says is."""
        return math.isfinite(self.error + self.packed + self.plain)

    @property
    def good(self) -> bool:
        """Whether the packed pass may be trained with."""
        return self.error <= self.limit and self.packed <= self.allowed


def agreement(model: Any, packed: Callable[[], Tensor], plain: Callable[[], Tensor]) -> Agreement:
    """Compare two ways to the same log π [n], neither with gradients."""
    with in_float32(model):
        truth = plain()
        error = float((packed() - truth).abs().max())
    rounded = any(getattr(module, "rounds_inputs", False) for module in model.modules())
    limit = ROUNDED_INPUTS if rounded else TOLERANCE
    dtype = decoder_of(model).dtype
    if dtype == torch.float32 or not math.isfinite(error):
        return Agreement(error, limit=limit)
    ours, own = (float((found() - truth).abs().mean()) for found in (packed, plain))
    return Agreement(error, ours, own, str(dtype).removeprefix("torch."), limit)


@contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Inside, what the model computes in 16 bits it computes in float32, with the same weights.

    Every weight is widened when it is used and forgotten again, so that it takes memory for one at
    a time. Slow, and without gradients.
    """
    dtype = decoder_of(model).dtype
    if dtype == torch.float32:
        yield
        return
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with _Widened(dtype):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


class _Widened(TorchFunctionMode):
    """Gives every torch function float32 where it was given `dtype`, tensors and formats alike."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if isinstance(func, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
            return func(*args, **(kwargs or {}))  # kernels of others, made for certain formats
        if func in READS_ROWS:
            return self._wide(func(*args, **(kwargs or {})))
        args, kwargs = tree_map(self._wide, (args, kwargs or {}))
        return self._wide(func(*args, **kwargs))

    def _wide(self, part: Any) -> Any:
        if isinstance(part, Tensor) and part.dtype == self.dtype:
            return part.float()
        return torch.float32 if part == self.dtype else part
