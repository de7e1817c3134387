"""Random numbers of their own for every batch of completions: nothing drawn elsewhere shifts them.

A resumed run writes the same completions, and evaluations shift nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch


class Stream(NamedTuple):
    """The random numbers of one batch."""

    moves: np.random.Generator  # which mazes and starts, and where the ice takes one
    tokens: torch.Generator


def stream(seed: int, *place: int) -> Stream:
    """The stream of a run with `seed` at one place: the clock, and a number for the purpose."""
    moves, tokens = np.random.SeedSequence([seed, *place]).spawn(2)
    first = int(tokens.generate_state(1, np.uint64)[0] >> np.uint64(1))
    return Stream(np.random.default_rng(moves), torch.Generator().manual_seed(first))
