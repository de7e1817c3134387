"""Gradient checkpointing: a layer's activations are computed again when its gradient is due.

Kept for the backward pass is then only what goes into each layer, for a third more arithmetic
(Chen et al. 2016, "Training deep nets with sublinear memory cost", section 4.1). The gradient is
the same to the last bit: the second computation is the first one again, dropout included.

In evaluation mode nothing is kept and nothing is computed twice, so sampling is as fast as ever.
"""

from __future__ import annotations

import warnings
from typing import Any

from engine.core.errors import UserError
from engine.llm.models.architecture import base_of


def can_checkpoint(model: Any) -> bool:
    """Whether transformers can do it with this architecture."""
    return bool(getattr(base_of(model), "supports_gradient_checkpointing", False))


def check_checkpointing(model: Any, name: str) -> None:
    """Raise UserError where it is asked for and cannot be done."""
    if not can_checkpoint(model):
        raise UserError(
            f"model.gradient_checkpointing: 'on' was asked for, but transformers cannot do it with "
            f"{name} ({base_of(model).config.model_type}); set it to 'auto' or 'off'."
        )


def set_checkpointing(model: Any, on: bool) -> None:
    """Switch it on or off in every layer of a model that can."""
    base = base_of(model)
    if not can_checkpoint(model):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # which of its two names is the old one
        if not on:
            base.gradient_checkpointing_disable()
            return
        # The reentrant kind would lose the adapters' gradients: no input of the first layer needs
        # one. transformers gives the embeddings one for it, which is then taken back.
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.disable_input_require_grads()
