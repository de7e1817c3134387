"""A loaded model that nobody has tried before is tried once, on a few tokens.

What training takes for granted of any model: no token sees those behind it, and the logits are the
output layer's of the last hidden states. Where that does not hold, gradients would be wrong without
a sign.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.core.errors import UserError
from engine.llm.forward.attention import PROBE, evaluating, unlike
from engine.llm.forward.output_head import OutputHead
from engine.llm.models.architecture import AHEAD, HEAD, OWN_CALL, PADDING, base_of, decoder_of
from engine.llm.models.memory_use import is_out_of_memory
from engine.llm.models.tokenizer import first_line


def check_computes(name: str, model: Any) -> None:
    """Raise UserError for a model whose log-probabilities could not be trained."""
    try:
        with evaluating(model):
            problem = _problem(model)
    except Exception as error:  # a model raises whatever the part does that it stumbles in
        if is_out_of_memory(error):
            raise
        problem = f"{OWN_CALL} ({first_line(error).rstrip('.')})"
    if problem:
        kind = base_of(model).config.model_type
        raise UserError(
            f"{name}: a model of the architecture {kind} cannot be trained, because {problem}; "
            "choose another model."
        )


def _problem(model: Any) -> str:
    """What is wrong, nothing where the model can be trained."""
    decoder, base = decoder_of(model), base_of(model)
    ids = torch.tensor([PROBE, (*PROBE[:-2], PROBE[0], PROBE[1])], device=decoder.device)
    seen, dtype, kept = torch.ones_like(ids), decoder.dtype, len(PROBE) - 2
    hidden = decoder(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state
    whole = base(input_ids=ids[:1], use_cache=False).logits[0].float()
    if not bool(whole.isfinite().all()):
        return ""  # told as damaged weights, see `preparation`
    if unlike(hidden[1, :kept], hidden[0, :kept], dtype):
        return AHEAD
    # Padded on the right, as batches are.
    seen[1, -2:] = 0
    padded = decoder(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state
    if unlike(padded[:, :kept], hidden[:, :kept], dtype):
        return PADDING
    try:
        ours = OutputHead(model).logits(hidden[0])
    except RuntimeError:  # of another width
        return HEAD
    if ours.shape != whole.shape:
        return HEAD
    same = not unlike(torch.log_softmax(ours, -1), torch.log_softmax(whole, -1), dtype)
    return "" if same else HEAD
