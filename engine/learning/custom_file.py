"""The file of a user's own algorithm: its text, which is read here and run nowhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine.core import private
from engine.core.errors import UserError

CUSTOM_PREFIX = "file:"
"""How the name of a user's own algorithm begins, see engine.tabular.custom.loading."""
LARGEST = 4 << 20
"""Bytes of such a file."""


@dataclass(frozen=True, slots=True)
class CustomFile:
    """The file an algorithm came from, with its text."""

    name: str
    """As the preset names it, with the prefix."""
    folder: Path
    """The preset's folder, to which the name is relative."""
    path: Path
    source: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text, in hexadecimal."""
        return sha256_of(self.source)


def sha256_of(source: bytes) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(source).hexdigest()


def read(name: str, folder: Path) -> CustomFile:
    """The file that a preset in `folder` names (`file:my_q.py`). Raises UserError."""
    path = (folder / name.removeprefix(CUSTOM_PREFIX)).absolute()
    if path.suffix != ".py" or "\0" in name:
        raise UserError(
            f"algorithm.name: found {name!r}; expected a Python file, such as 'file:my_q.py'."
        )
    try:
        source = private.read_plain(path.resolve(), LARGEST)
    except FileNotFoundError:
        raise UserError(
            f"algorithm.name: there is no file {path}. The name after 'file:' is relative to the "
            "preset's folder."
        ) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        why = getattr(error, "strerror", None) or error
        raise UserError(f"algorithm.name: {path} cannot be read ({why}).") from error
    return CustomFile(name, folder.absolute(), path, source)
