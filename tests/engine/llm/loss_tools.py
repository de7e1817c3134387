"""Random completions for the tests of the losses; B sequences of up to T tokens, float64."""

import numpy as np
import torch

from engine.llm.advantages import sequence_weights
from engine.llm.losses import Clip, TokenBatch

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
        weights=torch.tensor(sequence_weights(algorithm, lengths, LONGEST)),
        log_p_ref=tensor(log_p + 0.3 * rng.normal(size=(B, T))),
        entropy=tensor(rng.random((B, T))).requires_grad_(),
    )
