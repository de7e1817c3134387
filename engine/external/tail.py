"""Following a file that somebody writes, line by line, as `tail -F` does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from engine.core.errors import UserError

LONGEST = 4 * 2**20
"""Bytes of a line. A longer one is passed over without being held in memory."""
CHUNK = 2**16


class Piece(NamedTuple):
    """A whole line, or what happened to the file."""

    number: int
    """The line's, from 1."""
    end: int
    """The place in the file behind it."""
    text: bytes = b""
    trouble: str = ""
    """Why there is no text."""


class Tail:
    """A file's lines as they come. A last line without its end waits until that is written."""

    def __init__(self, file: Path, offset: int = 0, number: int = 0) -> None:
        """Go on behind line `number`, which ends at `offset`. Raises UserError for what is no
        plain file."""
        self.file = file
        self._handle = _open(file)
        self._handle.seek(offset)
        self._offset, self._number = offset, number
        self._rest = b""
        self._passing = False
        """Whether the line that is being read is too long."""

    @property
    def identity(self) -> tuple[int, int]:
        """What tells the file from every other on this machine."""
        found = os.fstat(self._handle.fileno())
        return found.st_dev, found.st_ino

    def close(self) -> None:
        self._handle.close()

    def read(self, most: int = 2**20) -> Iterator[Piece]:
        """The lines that are complete by now, of about so many bytes."""
        if trouble := self._shrunk():
            yield self._restart(trouble)
        read = 0
        while read < most and (chunk := self._handle.read(CHUNK)):
            read += len(chunk)
            yield from self._split(chunk)
        if not read and (trouble := self._replaced()):
            yield self._restart(trouble)

    def rest(self) -> Iterator[Piece]:
        """The last line although nothing ends it: nobody writes any more."""
        if self._rest.strip() and not self._passing:
            yield from self._split(b"\n", added=0)

    def _split(self, chunk: bytes, added: int = 1) -> Iterator[Piece]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._number += 1
            self._offset += len(line) + added
            if self._passing or len(line) > LONGEST:
                self._passing = False
                words = f"is longer than {LONGEST >> 20} MiB and is left out"
                yield Piece(self._number, self._offset, trouble=words)
            elif line.strip():
                yield Piece(self._number, self._offset, line)
        if self._passing or len(self._rest) > LONGEST:
            self._passing = True
            self._offset += len(self._rest)
            self._rest = b""

    # ------------------------------------------------------------ another file

    def _shrunk(self) -> str:
        size = os.fstat(self._handle.fileno()).st_size
        return "was cut" if size < self._offset + len(self._rest) else ""

    def _replaced(self) -> str:
        try:
            found = self.file.stat()
        except OSError:
            return ""  # it may be about to be made anew
        return "" if (found.st_dev, found.st_ino) == self.identity else "was replaced"

    def _restart(self, what: str) -> Piece:
        number = self._number
        if what == "was replaced":
            handle = _open(self.file)
            self._handle.close()
            self._handle = handle
        self._handle.seek(0)
        self._offset = self._number = 0
        self._rest, self._passing = b"", False
        text = f"the file {what} behind line {number:,}; it is read again from its first line"
        return Piece(0, 0, trouble=text)


def _open(file: Path) -> IO[bytes]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(
            f"{file} is no plain file. Expected a file of JSON lines, which can be read again from "
            "where it was left."
        )
    return os.fdopen(descriptor, "rb")
