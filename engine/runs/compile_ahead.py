"""Compiling in a process of its own what a run that goes on in plain Python may need later.

`python -P -m engine.runs.compile_ahead RUN_DIR` compiles the kernels of a run into the cache, with
the lowest priority, and ends. When somebody asks for more speed then, they are only loaded.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from engine.core import child


class CompileAhead:
    """The process of one worker, at most one."""

    def __init__(self, *, off: bool = False) -> None:
        """`off`: never start one."""
        self._off = off
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, run_dir: Path) -> None:
        """Begin; a machine that has no room for another process does without."""
        if self._off:
            return
        module, folder = "engine.runs.compile_ahead", str(run_dir.absolute())
        command = [sys.executable, "-P", "-m", module, folder]
        quiet = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            self._process = child.start(
                command, cwd=run_dir, stdin=quiet, stdout=quiet, stderr=quiet
            )

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for."""
        return self._process is None or self._process.poll() is not None

    def end(self) -> None:
        """End it: nobody waits for it any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def main(run_dir: Path) -> None:
    """Compile what the run in this folder needs. What goes wrong its worker will tell."""
    parent = os.getppid()
    os.nice(19)
    # Slow to import, and the worker should not wait for it.
    from engine import presets
    from engine.factory import make_learner

    preset = presets.parse((run_dir / "preset.toml").read_text(), folder=run_dir)
    learner = make_learner(preset)
    if learner.preparation() and os.getppid() == parent:
        learner.prepare()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
