"""The answers of `icemaze doctor`, and how its questions are asked of other processes and disks."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PROBE_SECONDS = 120.0
"""Importing torch from a cold network disk can take a minute."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer. `level` "bad": something does not work; "warning": it works less well."""

    check: str
    level: Literal["ok", "warning", "bad"]
    text: str
    remedy: str = ""


def version(name: str) -> str:
    """The installed version of a distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def probe(code: str) -> dict[str, Any]:
    """What a short program prints as JSON; `{"error": its last line}` when it fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": str(error)}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"error": lines[-1] if lines else f"exit status {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in the one it will be made in."""
    there = existing(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError:
        return False
