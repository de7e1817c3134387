"""Ending a worker whatever it does: one in an endless loop hears neither commands nor SIGTERM.

Who may be signalled is never decided by a number alone: numbers are used again. The process must
have the run's lock open, and on Linux it is held by a descriptor of its own from before that look
until after the signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from engine.core.errors import UserError
from engine.learning.events import Finished, Note
from engine.learning.learner import Counters
from engine.runs import commands, custom_algorithm, stored
from engine.runs.disk.lock import LOCK_FILE, RunLock, is_alive
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter

GRACE_SECONDS = 3.0
"""How long a worker may take after SIGTERM: enough for a checkpoint, not for a long evaluation."""
KILL_SECONDS = 5.0
"""How long a killed process may take to be gone."""
PROCESSES = Path("/proc")


def end_worker(run_dir: Path) -> str:
    """End a run's worker: SIGTERM, and SIGKILL when it is still there GRACE_SECONDS later.

    A worker that hears the first has written its checkpoint and its last figures, and "" is given.
    Else the run keeps what it had at its last checkpoint, its state is "stopped", and the sentence
    that is given is its last note. Raises UserError when there is no worker, and when its process
    cannot be told for sure or does not go.
    """
    with RunReader(run_dir) as reader:
        stored.check_started_here(reader.meta(), reader.id, "end")
        if reader.head().ended:
            raise UserError(f"The run {reader.id} is {reader.state()}: there is no worker to end.")
        pid = reader.pid
    if not pid:
        raise UserError(f"The worker of {run_dir.name} is only just starting. Try again.")
    with _process(pid, run_dir) as send:
        if not is_alive(run_dir):
            return ""
        if not _is_worker(pid, run_dir):
            raise UserError(
                f"The run {run_dir.name} has a worker, but process {pid} of this machine is not "
                "it: it runs on another machine or in another container. End it there."
            )
        send(signal.SIGTERM)
        if _gone(run_dir, GRACE_SECONDS):
            return ""
        send(signal.SIGKILL)
        if not _gone(run_dir, KILL_SECONDS):
            raise UserError(
                f"The worker of {run_dir.name} (process {pid}) was killed and is still there: it "
                "waits for a disk or a device that does not answer, and ends when that does."
            )
    return _say_killed(run_dir, pid)


@contextlib.contextmanager
def _process(pid: int, run_dir: Path) -> Iterator[Callable[[int], None]]:
    """How to signal the process that has this number now, and no other that gets it later."""
    try:
        descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    except ProcessLookupError:
        descriptor = -1  # the look at its files will find nobody
    except OSError:  # a kernel without them
        descriptor = -1
    if descriptor < 0:
        yield partial(_kill, pid, run_dir)
        return
    try:
        yield partial(_kill_held, descriptor)
    finally:
        os.close(descriptor)


def _kill_held(descriptor: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def _kill(pid: int, run_dir: Path, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if _is_worker(pid, run_dir):
            os.kill(pid, number)


def _is_worker(pid: int, run_dir: Path) -> bool:
    """Whether a process has the lock of this run open, as its worker has all its life."""
    files = PROCESSES / str(pid) / "fd"
    if not (PROCESSES / "self").exists():
        return _is_called_worker(pid, run_dir)
    try:
        lock = (run_dir / LOCK_FILE).stat()
        for file in files.iterdir():
            with contextlib.suppress(OSError):  # closed in the meantime
                found = file.stat()
                if (found.st_dev, found.st_ino) == (lock.st_dev, lock.st_ino):
                    return True
    except OSError:  # gone, or somebody else's
        return False
    return False


def _is_called_worker(pid: int, run_dir: Path) -> bool:
    """The same where the system does not show what a process has open: by its command line."""
    done = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{run_dir.name} --lock-fd" in done.stdout


def _gone(run_dir: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(run_dir):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _say_killed(run_dir: Path, pid: int) -> str:
    """Write the last words of a run whose worker could not; gives them."""
    text = f"The worker (process {pid}) did not end when asked, and was killed."
    # Killed it is, whether or not that can be written down.
    with contextlib.suppress(UserError), RunReader(run_dir) as reader:
        step = reader.checkpoint_step()
        kept = f"Everything up to the checkpoint at step {step or 0:,} is kept."
        text += " No checkpoint had been written yet." if step is None else f" {kept}"
        lock = RunLock.take(run_dir)
        if lock is not None:  # else somebody goes on with it already
            with contextlib.closing(lock):
                _write_last_words(run_dir, text, "from there" if step else "from its start")
    return text


def _write_last_words(run_dir: Path, text: str, where: str) -> None:
    with contextlib.closing(RunWriter(run_dir)) as writer:
        remedy = f"`icemaze train --resume {run_dir.name}` goes on {where}."
        if own := writer.meta(custom_algorithm.META_KEY):
            remedy += f" Or, if {own['name']} never came back: {custom_algorithm.remedy(own)}"
        counters = msgspec.convert(writer.meta("counters", {}), Counters)
        last_word = Finished(
            step=counters.step,
            status="stopped",
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            seconds=float(writer.meta("seconds", 0.0)),
        )
        for command in writer.pending_commands():
            status = "done" if isinstance(command.command, commands.Stop) else "refused"
            writer.answer(command.id, status, "The worker was ended.", counters.step)
        note = Note(step=counters.step, level="warning", text=text, remedy=remedy)
        writer.write([note, last_word])
        writer.commit()
