"""Which architectures can be trained, and where in a model the transformer is.

Any architecture that transformers knows as a causal language model is taken, but for those in
`REFUSED`, each with its reason. `docs/architectures.md` is the table, made by trying tiny random
models of all of them (`tests/engine/llm/test_architectures.py`). Nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.errors import UserError
from engine.llm.models.folder import read_config

AHEAD = "its tokens look ahead"
HEAD = "its logits are not one linear layer on its last hidden states"
PADDING = "what it computes of a sequence depends on the others in the batch"
OWN_CALL = "its decoder cannot be called with token ids and a mask alone"

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        (
            "bert", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
            "modernbert-decoder", "prophetnet", "rembert", "roberta", "roberta-prelayernorm",
            "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl",
        ),
        HEAD,
    ),
    **dict.fromkeys(("cpmant", "xlm", "xlnet"), AHEAD),
    "xmod": OWN_CALL,
    "reformer": "it reads only texts as long as a multiple of its chunks",
}  # fmt: skip
"""By `model_type`: why a model of it cannot be trained."""


def check_architecture(folder: Path) -> None:
    """Raise UserError for a folder whose model is of no kind that can be trained."""
    # start-up time
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = str(read_config(folder).get("model_type", ""))[:40]
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{folder}: transformers knows {kind or 'this'} not as a causal language model; choose "
            "another model."
        )
    if kind in REFUSED:
        raise UserError(
            f"{folder}: a model of the architecture {kind} cannot be trained, because "
            f"{REFUSED[kind]}; choose another model."
        )


# ---------------------------------------------------------------- the parts of a loaded model


def base_of(model: Any) -> Any:
    """The causal language model inside a PEFT wrapper, or the model itself.

    The adapter's layers live inside it, so its forward pass includes them.
    """
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder_of(model: Any) -> Any:
    """The transformer without its output layer: tokens to last hidden states."""
    base = base_of(model)
    found = base.get_decoder()
    if found is base or not hasattr(found, "config"):  # some call their output layer a decoder
        found = base.base_model if base.base_model is not base else base.model
    return found
