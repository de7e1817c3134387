"""A disk that refuses writes: the run waits for it instead of ending, and says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from engine.core.errors import StorageError
from engine.learning.events import Note
from engine.runs.pacing import TICK, Stopwatch
from engine.runs.store import RunWriter

RESERVE = ".reserve"
"""A file that holds some room while a run lives, given back to say that there is none left."""
RESERVED_BYTES = 256 * 1024
RETRY_TICKS = 20
"""Ticks between two tries to write: about a second."""


class PatientDisk:
    """Writes of one session, tried again until the disk takes them or the run is to stop."""

    def __init__(
        self,
        writer: RunWriter,
        stopwatch: Stopwatch,
        sleep: Callable[[float], None],
        stop_asked: Callable[[], bool],
    ) -> None:
        self._writer, self._stopwatch = writer, stopwatch
        self._sleep, self._stop_asked = sleep, stop_asked
        self._reserve = writer.run_dir / RESERVE
        self.reserve()

    def reserve(self) -> None:
        """Take the room for one note. Without it the note comes once there is room again."""
        with contextlib.suppress(OSError):
            self._reserve.write_bytes(b"\0" * RESERVED_BYTES)
            self._reserve.chmod(0o600)

    def give_back(self) -> None:
        """Let go of the reserved room."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def write(self, carry_out: Callable[[], None], step: int) -> None:
        """Carry out a write that is whole or nothing. Time spent waiting is not training.

        Raises StorageError when the run is asked to stop while the disk refuses, or the run's
        folder is gone.
        """
        note, said = None, False
        while True:
            try:
                carry_out()
                break
            except StorageError as error:
                self._stopwatch.stop()  # the session starts it again with its next step
                note = note or _note(error, step)
                said = said or self._say(note)
                self._wait_or_raise(error)
        if note is not None:
            said = said or self._say(note)
            self.reserve()

    def _say(self, note: Note) -> bool:
        self.give_back()
        try:
            self._writer.write_at_once(note)
        except StorageError:
            return False
        return True

    def _wait_or_raise(self, error: StorageError) -> None:
        for _ in range(RETRY_TICKS):
            if self._stop_asked() or self._writer.missing_file():
                raise error
            self._sleep(TICK)


def _note(error: StorageError, step: int) -> Note:
    return Note(
        step=step,
        level="warning",
        text=f"The run waited: its disk refused to write ({error})",
        remedy="Nothing is lost, and it goes on by itself as soon as writing works.",
    )
