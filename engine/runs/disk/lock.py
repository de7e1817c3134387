"""The exclusive lock a worker holds on its run folder: whoever can take it knows it is dead.

`flock` locks belong to the open file, not to the process. The launcher therefore takes the lock
and lets the worker inherit it: at no moment is a starting run without an owner.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from engine.core.errors import UserError

LOCK_FILE = "lock"


class RunLock:
    """The lock, held. It is gone when every process that has its descriptor closed it or died."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, run_dir: Path, patience: float = 1.0) -> RunLock | None:
        """Take the lock; None when a living worker holds it.

        Tries for `patience` seconds, because `is_alive` holds it for an instant. Raises UserError
        when the folder or its filesystem does not allow locks.
        """
        try:
            descriptor = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise UserError(f"{run_dir}: cannot lock this run ({error.strerror}).") from error
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(descriptor)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return None
                time.sleep(0.01)
            except OSError as error:
                os.close(descriptor)
                raise UserError(
                    f"{run_dir}: its filesystem cannot lock files ({error.strerror}). Keep runs "
                    "on another one: --runs-dir or ICEMAZE_RUNS_DIR."
                ) from error

    @classmethod
    def adopt(cls, descriptor: int, run_dir: Path) -> RunLock | None:
        """The lock inherited from the launcher; None if the descriptor is not of this lock."""
        try:
            ours, theirs = os.fstat(descriptor), (run_dir / LOCK_FILE).stat()
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
            return None
        os.set_inheritable(descriptor, False)
        return cls(descriptor)

    def close(self) -> None:
        """Let go of this process's share of the lock."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def is_alive(run_dir: Path) -> bool:
    """Whether a worker holds the run's lock. Disturbs nobody: the test takes a shared lock."""
    try:
        descriptor = os.open(run_dir / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
