"""A CPU that computes in 16 bits, as a GPU does."""

from __future__ import annotations

import pytest
import torch

from engine.llm.models import device


def computing_in(dtype: torch.dtype, patch: pytest.MonkeyPatch) -> None:
    """Have models loaded from here on compute in `dtype`, on the CPU."""
    choice = device.Choice(torch.device("cpu"), dtype, f"CPU, computes in {dtype}")
    patch.setattr(device, "choose", lambda setting="auto": choice)
