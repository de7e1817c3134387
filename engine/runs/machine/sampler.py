"""A thread of the worker that looks at the machine now and then, and what it has seen."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import msgspec

from engine.core import phase
from engine.runs.machine.readings import Device, Gpus, Processor, Reading

SECONDS = 10.0
"""Between two looks at first: a row of about 60 bytes for each device."""
GROWTH = 1 / 500
"""Later the looks are this share of the time so far apart, so that a long run stays small."""
DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
"""One of them is there where NVIDIA's driver may be: elsewhere NVML is not even imported."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """All devices at one moment."""

    at: float
    """Seconds since this worker began."""
    phase: str
    readings: tuple[Reading, ...]


class MachineSampler:
    """Looks from `start` to `stop`. What was seen waits in `take`."""

    def __init__(self, clock: Callable[[], float], gpus: Gpus | None = None) -> None:
        self._clock = clock
        self._gpus = gpus
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._seen: list[Sample] = []
        self.devices: list[Device] = []
        """What there is, once the first look was taken."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="machine")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """No more looks. Nobody waits for one that is under way."""
        self._over.set()

    def take(self) -> list[Sample]:
        """What was seen since the last call."""
        with self._lock:
            seen, self._seen = self._seen, []
        return seen

    def _run(self) -> None:
        began = self._clock()
        processor = Processor()
        if self._gpus is None and any(map(os.path.exists, DRIVERS)):
            self._gpus = Gpus()
        devices = [processor.device(), *(self._gpus.devices() if self._gpus else [])]
        wait = 1.0  # soon for the first, so that a short run has one too
        while not self._over.wait(wait):
            readings = (processor.read(), *(self._gpus.read() if self._gpus else ()))
            at = self._clock() - began
            with self._lock:
                self.devices = devices
                self._seen.append(Sample(at=at, phase=phase.now(), readings=readings))
            wait = max(SECONDS, at * GROWTH)
