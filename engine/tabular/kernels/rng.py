"""Explicit random numbers for kernels: xoshiro256++ (Blackman and Vigna, 2019).

The state is four uint64 that live in an array, one row per agent, so that it can be saved with
the rest and agent i's numbers never depend on how many agents there are.
"""

from __future__ import annotations

import math

import numpy as np

from engine.core.arrays import Array
from engine.core.compiling import inlined, kernel


def seed_streams(seed: int, n: int) -> Array:
    """Independent generator states [n, 4] uint64; row i depends on `seed` and i alone."""
    children = np.random.SeedSequence(seed).spawn(n)
    return np.stack([child.generate_state(4, np.uint64) for child in children])


@inlined
def uniform(state: Array) -> float:
    """The next number in [0, 1), from the top 53 bits; `state` [4] uint64 moves on."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    mixed = s0 + s3
    result = ((mixed << np.uint64(23)) | (mixed >> np.uint64(41))) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3
    number: float = (result >> np.uint64(11)) * (1.0 / 9007199254740992.0)
    return number


@kernel
def normal(state: Array) -> float:
    """A number from the standard normal distribution (Box and Muller, 1958, one of their pair)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(state)))
    return radius * math.cos(2.0 * math.pi * uniform(state))
