"""The processes that the engine starts, and the environment they get."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import engine


def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process in the environment below. `options` are those of `subprocess.Popen`."""
    return subprocess.Popen(command, env=environment(), **options)


def environment() -> dict[str, str]:
    """Ours, plus the way to an engine that runs from a checkout instead of site-packages.

    Relative paths are left out: such a process works in a run's folder, and nothing that lies there
    may pass for a module.
    """
    found = dict(os.environ)
    home = str(Path(engine.__file__).parent.parent)
    paths = found.get("PYTHONPATH", "").split(os.pathsep)
    if home not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        paths.insert(0, home)
    found["PYTHONPATH"] = os.pathsep.join(path for path in paths if Path(path).is_absolute())
    return found
