"""The engine's processes in tests, as forks of one process that has imported torch already.

Importing torch and transformers takes seconds, and hundreds of tests start a worker. What they get
here are real processes all the same, with a session, a lock, signals and an exit status of their
own; they only skip the imports. Tests about how a process is started ask for `real_processes`.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

IMPORTED = [
    "pytest", "numba", "torch", "peft", "transformers.models.llama.modeling_llama",
    "engine.factory", "engine.runs.session", "engine.llm.evaluation.answers",
]  # fmt: skip
READ_AT_IMPORT = ("CUDA", "HF_", "LD_", "MKL", "NUMBA", "OMP", "PYTHON", "TORCH_", "TRANSFORMERS")
"""Variables that are looked at by imports: where they differ, a fork would be another process."""
GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Where one of them is, torch may have looked at a GPU when it was forked, and CUDA forks badly."""
TESTS = Path(__file__).parent


class Forks:
    """Starts the engine's processes; the one that is forked is started when first needed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._imports = _looked_at(environment)
        self._context: ForkServerContext | None = None

    def start(
        self, command: list[str], environment: dict[str, str], **options: Any
    ) -> Forked | subprocess.Popen[bytes]:
        """As `subprocess.Popen`, which it is where a fork would not be the same."""
        same = command[:2] == [sys.executable, "-P"] and _looked_at(environment) == self._imports
        if not same or any(Path(device).exists() for device in GPU_DEVICES):
            return subprocess.Popen(command, env=environment, **options)
        if self._context is None:
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(IMPORTED)
            # Not where a test may have put modules of its own, and with an error stream that has a
            # descriptor: that of a running app has none.
            with contextlib.chdir(TESTS), contextlib.redirect_stderr(sys.__stderr__):
                forkserver.ensure_running()
        return Forked(self._context, command, environment, **options)


def _looked_at(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}


class Forked:
    """What the engine uses of a `subprocess.Popen`."""

    def __init__(
        self,
        context: ForkServerContext,
        command: list[str],
        environment: dict[str, str],
        *,
        cwd: Path | str,
        stdin: int,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
        start_new_session: bool = False,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        given: list[int] = []
        for number, wanted in enumerate((stdin, stdout, stderr)):
            if wanted == subprocess.PIPE:
                read, write = os.pipe()
                given.append(read if number == 0 else write)
                if number == 0:
                    self.stdin = os.fdopen(write, "wb")
                else:
                    self.stdout = os.fdopen(read, "rb")
            elif isinstance(wanted, int):
                given.append(os.open(os.devnull, os.O_RDWR))
            else:
                given.append(os.dup(wanted.fileno()))
        self._process = context.Process(
            target=_become,
            args=(command[2:], str(cwd), environment, start_new_session),
            kwargs={"descriptors": Passed([*given, *pass_fds]), "numbers": [0, 1, 2, *pass_fds]},
            daemon=True,
        )
        self._process.start()
        for descriptor in given:
            os.close(descriptor)
        self.pid = self._process.pid
        self._ended = threading.Event()
        threading.Thread(target=self._collect, daemon=True, name="forked-reaper").start()

    def _collect(self) -> None:
        self._process.join()
        self.returncode = self._process.exitcode
        self._ended.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int:
        self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        self._process.kill()


class Passed:
    """Descriptors on their way to a process that is forked by another."""

    def __init__(self, descriptors: list[int]) -> None:
        self.descriptors = descriptors

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, ([DupFd(descriptor) for descriptor in self.descriptors],)


def _arrived(duplicates: list[Any]) -> Passed:
    return Passed([duplicate.detach() for duplicate in duplicates])


def _become(
    program: list[str],
    cwd: str,
    environment: dict[str, str],
    new_session: bool,
    descriptors: Passed,
    numbers: list[int],
) -> None:
    """Be what `python -P *program` would be."""
    if new_session:
        os.setsid()
    # First out of the way of all the numbers that are wanted.
    least = 1 + max(numbers)
    above = [fcntl.fcntl(arrived, fcntl.F_DUPFD, least) for arrived in descriptors.descriptors]
    for descriptor in descriptors.descriptors:
        os.close(descriptor)
    for descriptor, number in zip(above, numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing had made it /dev/null
    os.chdir(cwd)
    sys.path[:] = [path for path in sys.path if TESTS not in (Path(path), *Path(path).parents)]
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    name, arguments = program[0], program[1:]
    if name == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        runpy.run_path(name, run_name="__main__")
