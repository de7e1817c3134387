"""The critic of PPO: one linear layer on the model's last hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.llm.forward.attention import text_config


class ValueHead(torch.nn.Module):
    """V(s) from the hidden state [..., H] at the prompt's last token. Starts at 0 everywhere.

    The hidden states are brought to unit size first: their scale differs by orders of magnitude
    between models, and Adam's step size should not have to.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        super().__init__()
        size = int(text_config(model).hidden_size)
        self.linear = torch.nn.Linear(size, 1, device=device)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[...] values of hidden states [..., H]."""
        unit = torch.nn.functional.layer_norm(hidden.float(), hidden.shape[-1:])
        values: Tensor = self.linear(unit / unit.shape[-1] ** 0.5).squeeze(-1)
        return values
