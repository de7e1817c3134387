"""Which tokens see which: 4-D attention masks for packed trees, and which models can take them.

Masks are additive (0 where a token may look, the dtype's minimum where not), which both `sdpa` and
`eager` attention of transformers accept as they stand. A sliding-window layer sees the last `W`
*positions* of its own path; in a packed row that is not the last `W` places, so it gets a mask of
its own, counted by position ids.

Shapes: `Q` querying tokens, `K` tokens looked at.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.llm.forward.packing import Tokens, TokenTree
from engine.llm.models.architecture import base_of, decoder_of

Masks = Tensor | dict[str, Tensor]

FULL, SLIDING = "full_attention", "sliding_attention"
MASKABLE = ("sdpa", "eager")
PROBE = (5, 9, 7, 11, 6, 8, 10)  # tokens that every vocabulary has
BRANCHES = "_icemaze_branches"  # what `branches` found, kept with the model
UNLIKE = {torch.float32: 2e-3}
"""What differs by more than this part is another, not rounded. Of SmolLM2 in 4 bits, whose hidden
states have outliers, 2e-4 is rounding; wrong masks and positions make 9e-3 or more of the tiny
models in `docs/architectures.md` (but for one that has no positions)."""
UNLIKE_16 = 0.1  # the same for numbers of 16 bits


def text_config(model: Any) -> Any:
    """The configuration of the text part (multimodal models have several)."""
    return base_of(model).config.get_text_config(decoder=True)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the mode it had outside.

    Not `torch.inference_mode`: tensors made there cannot take part in a later training pass.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """The reference policy: the base model without its adapter, which must have been fresh.

    Raises ValueError for a model without an adapter.
    """
    if not hasattr(model, "disable_adapter"):
        raise ValueError("this model has no adapter to switch off: wrap it with PEFT")
    with model.disable_adapter():
        yield


def why_not_packed(model: Any) -> str | None:
    """Why a tree cannot be packed for this model, in words for a note; None where it can.

    First what the configuration and the signature say is asked, never a list of names; then, once,
    the model itself (`branches`). What slips through is what the policies' `agreement` is for.
    """
    reason = _told_not_packed(model)
    if reason is None and not branches(model):
        reason = "it does not keep to a mask and positions of our own"
    return reason


def _told_not_packed(model: Any) -> str | None:
    config, base = text_config(model), base_of(model)
    attention = getattr(config, "_attn_implementation", "eager")
    if attention not in MASKABLE:
        return f"its attention ({attention}) takes no mask of our own; sdpa and eager do"
    layers = set(getattr(config, "layer_types", None) or ())
    odd = sorted(layers - {FULL, SLIDING})
    if odd:
        return (
            f"its {' and '.join(odd).replace('_', ' ')} layers cannot be told which tokens to see"
        )
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo's, of a window
        return "its local layers cannot be told which tokens to see"
    if getattr(base, "_is_stateful", False):
        return "it is recurrent: what a token sees is its state, not a choice"
    if getattr(config, "alibi", False):
        return "it takes positions from the place in the row (ALiBi)"
    parameters = inspect.signature(decoder_of(model).forward).parameters
    if not {"position_ids", "attention_mask"} <= parameters.keys():
        return "its positions cannot be set from outside"
    if getattr(config, "use_bidirectional_attention", False):
        return "its tokens look ahead"
    return None


def branches(model: Any) -> bool:
    """Whether a small packed tree gives the hidden states of its sequences; asked once of a model.

    A model that ignores the mask or the positions it is given is far off; rounding is not.
    """
    base = base_of(model)
    if BRANCHES not in base.__dict__:
        with evaluating(model):
            try:
                base.__dict__[BRANCHES] = _packed_as_plain(model)
            except (RuntimeError, ValueError, TypeError, IndexError):  # it takes no such mask
                base.__dict__[BRANCHES] = False
    return bool(base.__dict__[BRANCHES])


def _packed_as_plain(model: Any) -> bool:
    sequences = [PROBE, (*PROBE[:3], *PROBE[1:5]), (*PROBE[:3], *reversed(PROBE[:5]))]
    tree = TokenTree.build(sequences)
    packed, plain = packed_hidden(model, tree).float(), plain_hidden(model, sequences).float()
    ours = torch.cat([packed[torch.from_numpy(path)] for path in tree.paths])
    own = torch.cat([plain[n, : len(path)] for n, path in enumerate(tree.paths)])
    return not unlike(ours, own, decoder_of(model).dtype)


def unlike(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether what was computed in `dtype` differs by more than rounding, and than what a router
    chooses otherwise because of it."""
    allowed = UNLIKE.get(dtype, UNLIKE_16)
    return bool((one - other).float().norm() > allowed * other.float().norm())


def masks(
    model: Any,
    visible: NDArray[np.bool_],
    query_position: NDArray[np.int64],
    key_position: NDArray[np.int64],
) -> Masks:
    """The attention masks of one packed row, each [1, 1, Q, K], on the model's device.

    `visible` [Q, K] says which tokens are on the path (the token itself included); the positions
    [Q] and [K] are depths. A dict by layer type for models with two kinds of layers.
    """
    kind = {"dtype": decoder_of(model).dtype, "device": decoder_of(model).device}

    def near(window: int) -> Tensor:
        close = query_position[:, None] - key_position[None, :] < window
        return _additive(visible & close, **kind)

    return by_layer(model, _additive(visible, **kind), near)


def by_layer(model: Any, everything: Tensor, near: Callable[[int], Tensor]) -> Masks:
    """The masks of a pass, given the one of a layer that sees everything and, for a layer that sees
    the last so many positions, a function that makes it."""
    config = text_config(model)
    window = getattr(config, "sliding_window", None)
    layers = set(getattr(config, "layer_types", None) or ())
    if window is None or layers == {FULL}:
        return everything
    if len(layers) < 2:  # all layers have the window, whether the configuration lists them or not
        return near(window)
    return {FULL: everything, SLIDING: near(window)}


def _additive(visible: NDArray[np.bool_], dtype: torch.dtype, device: torch.device) -> Tensor:
    seen = torch.from_numpy(np.ascontiguousarray(visible)).to(device)
    blocked = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=device)
    return blocked.masked_fill_(seen, 0.0)[None, None]


def packed_hidden(model: Any, tree: TokenTree) -> Tensor:
    """[L, H] the last hidden states of a packed tree, in one forward pass of the transformer."""
    decoder = decoder_of(model)
    output = decoder(
        input_ids=torch.from_numpy(tree.tokens)[None].to(decoder.device),
        position_ids=torch.from_numpy(tree.depth)[None].to(decoder.device),
        attention_mask=masks(model, tree.ancestors(), tree.depth, tree.depth),
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def plain_hidden(model: Any, sequences: Sequence[Tokens]) -> Tensor:
    """[N, T, H] the last hidden states of sequences as a padded batch, nothing shared.

    Padding stands on the right, where no causal or recurrent layer can see it; what the model says
    there means nothing.
    """
    decoder = decoder_of(model)
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.zeros((len(sequences), longest), dtype=torch.long)
    real = torch.zeros_like(ids)
    for n, sequence in enumerate(sequences):
        ids[n, : len(sequence)] = torch.as_tensor(sequence)
        real[n, : len(sequence)] = 1
    output = decoder(
        input_ids=ids.to(decoder.device), attention_mask=real.to(decoder.device), use_cache=False
    )
    hidden: Tensor = output.last_hidden_state
    return hidden
