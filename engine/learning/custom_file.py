"""The file of a user's own algorithm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CustomFile:
    """The file an algorithm came from, with the text that was run."""

    name: str
    """As the preset names it, with the prefix."""
    folder: Path
    """The preset's folder, to which the name is relative."""
    path: Path
    source: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.source).hexdigest()


CUSTOM_PREFIX = "file:"
"""How the name of a user's own algorithm begins, see engine.tabular.custom.loading."""
