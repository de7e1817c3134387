"""The text of a preset: from a file, a share string, or whatever else a shell can name as one.

A pipe is read to its end (`cat my.toml | icemaze train -`, `icemaze train <(…)`). What is no text
of a preset's size is refused in a sentence, without reading on or waiting for ever.
"""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path
from typing import NamedTuple

from engine.config.shipped import STDIN, find_preset, shipped_files
from engine.core.errors import UserError
from engine.presets.share_string import is_share, unpack

MOST_BYTES = 2**20
"""A preset of more bytes is none: the largest shipped one has a few thousand."""
SILENCE = 10.0
"""Seconds after which nobody is expected to write into a named pipe any more."""
INHERITED = ("/dev/", "/proc/")
"""Where the pipes are that the shell has opened for us; they end when their writer does."""
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
CHUNK = 2**16


class Source(NamedTuple):
    """A preset's text, and what `parse` wants to know about where it is from."""

    text: str
    where: str
    """How error messages name it."""
    folder: Path | None
    """Where an algorithm of the user's own would be; shipped presets may not have one."""


def read(name_or_file: str) -> Source:
    """The text of a preset. Raises UserError when there is none, or it cannot be read."""
    if is_share(name_or_file):
        return Source(unpack(name_or_file), "the share string", None)
    path = find_preset(name_or_file)
    try:
        text = decode(_read_bytes(path))
    except OSError as error:
        raise UserError(
            f"{name_or_file}: cannot be read ({error.strerror or error}). Expected a UTF-8 TOML "
            "file."
        ) from error
    except UserError as error:
        raise UserError(f"{name_or_file}: {error}") from error
    if shipped_files().get(path.stem) == path:
        return Source(text, path.name, None)
    piped = path == STDIN or not path.is_file()
    return Source(text, name_or_file, Path.cwd() if piped else path.parent)


def decode(data: bytes) -> str:
    """The text of a preset's bytes: UTF-8, with or without a byte-order mark. Raises UserError."""
    if data.startswith(UTF_16):
        raise UserError("this is UTF-16. Expected a UTF-8 TOML file: save it as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot be read (byte {error.start + 1} is no UTF-8). Expected a UTF-8 TOML file."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"line {line} has a NUL byte, so this is no text. Expected a UTF-8 TOML file."
        )
    return text


def _read_bytes(path: Path) -> bytes:
    """All bytes of a file or pipe. Raises UserError for more than a preset has, OSError."""
    if path == STDIN:
        descriptor = os.dup(0)  # to open it by its path again is not allowed where it is a socket
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise UserError("this is a folder; give the path of a TOML file in it.")
        if stat.S_ISFIFO(kind) and not str(path).startswith(INHERITED):
            return _read_named_pipe(descriptor)
        if path != STDIN:
            os.set_blocking(descriptor, True)
        data = bytearray()
        while chunk := os.read(descriptor, CHUNK):
            _add(data, chunk)
        return bytes(data)
    finally:
        os.close(descriptor)


def _read_named_pipe(descriptor: int) -> bytes:
    """All bytes of a pipe that was opened without waiting for a writer: there may be none."""
    data = bytearray()
    deadline = time.monotonic() + SILENCE
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        chunk = os.read(descriptor, CHUNK)
        if chunk:
            _add(data, chunk)
            deadline = time.monotonic() + SILENCE
        elif data:
            return bytes(data)
        else:
            time.sleep(0.01)  # the end of a pipe that nobody has opened yet
    raise UserError(
        f"this is a pipe into which nobody wrote for {SILENCE:.0f} seconds. Start what writes into "
        "it first, or give the path of a TOML file."
    )


def _add(data: bytearray, chunk: bytes) -> None:
    data += chunk
    if len(data) > MOST_BYTES:
        raise UserError(
            f"this is longer than {MOST_BYTES:,} bytes, which no preset is. Expected a UTF-8 TOML "
            "file."
        )
