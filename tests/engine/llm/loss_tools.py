"""Random completions for the tests of the losses; B sequences of up to T tokens, float64."""

import numpy as np
import torch

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.llm.algorithms.losses import Loss, TokenBatch
from engine.llm.algorithms.surrogates import Clip

B, T, LONGEST = 6, 9, 12
EXACT = {"rtol": 1e-10, "atol": 1e-12}
DAPO = Clip(0.2, 0.28)


def tokens(algorithm: str, seed: int = 0, per_token: bool = False, gap: float = 0.4) -> TokenBatch:
    """Random completions of different lengths, both signs, ratios on both sides of the clip."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, size=B)
    lengths[0] = T
    mask = np.arange(T) < lengths[:, None]
    log_p = -rng.exponential(size=(B, T)) - 0.1

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.where(mask, values, np.nan))  # padding must never be looked at

    return TokenBatch(
        log_p=tensor(log_p).requires_grad_(),
        log_p_old=tensor(log_p + gap * rng.normal(size=(B, T))),
        advantages=torch.tensor(rng.normal(size=(B, T) if per_token else B)),
        mask=torch.tensor(mask),
        weights=torch.tensor(LANGUAGE_MODELS.get(algorithm).normaliser(lengths, LONGEST)),
        log_p_ref=tensor(log_p + 0.3 * rng.normal(size=(B, T))),
        entropy=tensor(rng.random((B, T))).requires_grad_(),
    )


def loss_of(
    algorithm: str,
    batch: TokenBatch,
    clip: Clip | None = None,
    kl: float = 0.0,
    entropy: float = 0.0,
) -> Loss:
    """The loss an algorithm makes of completions, with its own clip or, where it has one, this."""
    made = LANGUAGE_MODELS.get(algorithm)
    own = clip is not None and "clip_low" in made.settings.__struct_fields__
    bounds = {"clip_low": clip.low, "clip_high": clip.high} if own else {}
    return made.token_loss(batch, made.settings(kl=kl, **bounds), entropy)
