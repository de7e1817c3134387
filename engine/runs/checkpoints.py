"""A learner's state as bytes: NumPy's `.npz` (readable with `np.load`), never a pickle."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from engine.learner import State


def pack(state: State) -> bytes:
    """The state as a compressed `.npz`. Equal states give equal bytes.

    Raises ValueError for arrays of Python objects, which only a pickle could hold.
    """
    buffer = io.BytesIO()
    # Level 1: twice as fast as NumPy's own level 6, and nearly as small for tables.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(state):
            # Opened by name a member is dated 1980, so the bytes do not depend on the clock.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(state[name]), allow_pickle=False)
    return buffer.getvalue()


def unpack(data: bytes) -> State:
    """The inverse of `pack`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
