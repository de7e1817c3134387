"""What an export says about itself: which versions wrote it."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("icemaze", "numpy", "numba", "gymnasium", "torch", "transformers")
"""Those that a run's numbers depend on, as far as they are installed."""


def versions() -> dict[str, str]:
    """Versions by name, of what writes the export: a run does not record those it was trained
    with."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
