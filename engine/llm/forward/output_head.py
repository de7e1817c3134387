"""From hidden states to log-probabilities without the logits nobody needs.

The output layer of a small model is a quarter of its work, and the logits of a batch over the whole
vocabulary are the largest tensor of a training step (8 sequences of 256 tokens over 152,000 words:
1.2 GB a copy). `OutputHead` computes the rows of the words asked for, or all words for a few
positions at a time, recomputed in the backward pass.

Shapes: `P` positions, `H` hidden size, `V` words a policy may choose from, `M` choices made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from engine.llm.forward.attention import text_config
from engine.llm.models.architecture import base_of

CHUNK_BYTES = 64 * 2**20  # logits of one chunk, in float32


class OutputHead:
    """The output layer of `model`, at `temperature`, over all words or only the `words` given.

    With `words`, a column of the result is an index into `words`, not a token id: π is the softmax
    over those words alone.
    """

    def __init__(
        self, model: Any, temperature: float = 1.0, words: Sequence[int] | None = None
    ) -> None:
        config = text_config(model)
        self._layer = base_of(model).get_output_embeddings()
        self._softcap: float | None = getattr(config, "final_logit_softcapping", None)
        # Granite divides its logits by a constant, Cohere multiplies them.
        self._scale = getattr(config, "logit_scale", None) or 1.0
        self._scale /= getattr(config, "logits_scaling", None) or 1.0
        self._scale *= getattr(config, "lm_head_multiplier", None) or 1.0
        self._scale /= getattr(config, "logits_mup_width_multiplier", None) or 1.0  # Inkling
        self.temperature = temperature
        self.words = None if words is None else torch.as_tensor(words, dtype=torch.long)

    @property
    def n_words(self) -> int:
        """V"""
        return int(self._layer.weight.shape[0] if self.words is None else self.words.numel())

    def logits(self, hidden: Tensor) -> Tensor:
        """[P, V] float32 logits of hidden states [P, H], divided by the temperature."""
        layer, words = self._layer, self.words
        if words is None:
            raw = layer(hidden)
        elif isinstance(layer, torch.nn.Linear) and layer.weight.is_floating_point():
            words = words.to(layer.weight.device)
            bias = None if layer.bias is None else layer.bias[words].float()
            # In float32 whatever the model computes in: between logits of 8 and 16 the steps of
            # bfloat16 are a sixteenth wide.
            raw = torch.nn.functional.linear(hidden.float(), layer.weight[words].float(), bias)
        else:  # an output layer of another kind: all rows, then those asked for
            raw = layer(hidden)[..., words.to(hidden.device)]
        raw = raw.float()
        if self._scale != 1:  # a product with 1 would be a copy
            raw = raw * self._scale
        if self._softcap is not None:
            raw = torch.tanh(raw / self._softcap) * self._softcap
        return cast(Tensor, raw if self.temperature == 1 else raw / self.temperature)

    def choices(self, hidden: Tensor, position: Tensor, word: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities [M] of words chosen at positions [M] of `hidden`, entropies [P].

        `word` [M] holds columns of `logits`. Chunk by chunk over positions, so that no more than
        `CHUNK_BYTES` of logits exist at once, forward or backward.
        """
        n_positions = hidden.shape[0]
        size = max(1, CHUNK_BYTES // (4 * self.n_words))
        order = torch.argsort(position, stable=True)
        starts = torch.arange(0, n_positions + size, size, device=position.device)
        bounds = torch.searchsorted(position[order], starts).tolist()
        log_probs, entropies = [], []
        for i, first in enumerate(range(0, n_positions, size)):
            mine = order[bounds[i] : bounds[i + 1]]
            arguments = (hidden[first : first + size], position[mine] - first, word[mine])
            if torch.is_grad_enabled() and n_positions > size:
                chunk = checkpoint(
                    self._choices, *arguments, use_reentrant=False, preserve_rng_state=False
                )
            else:
                chunk = self._choices(*arguments)
            log_probs.append(chunk[0])
            entropies.append(chunk[1])
        back = torch.argsort(order)
        return torch.cat(log_probs)[back], torch.cat(entropies)

    def _choices(self, hidden: Tensor, position: Tensor, word: Tensor) -> tuple[Tensor, Tensor]:
        log_pi = torch.log_softmax(self.logits(hidden), dim=-1)
        return log_pi[position, word], -(log_pi.exp() * log_pi).sum(-1)
