"""Types of NumPy arrays: one definition for the whole engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = np.ndarray[Any, np.dtype[Any]]
"""An array whose numbers may be of any type."""
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]
"""Numbers of states, actions and observations."""
Index = NDArray[np.int64]
"""Numbers that index other arrays."""
