"""How busy the machine is: read by a fake of NVML, recorded sparsely, and no part of the record."""

# ruff: noqa: N802 (the names are NVML's)
from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.core import phase
from engine.external.record import Described, ExternalRun
from engine.runs import schema
from engine.runs.machine import readings, sampler
from engine.runs.machine.readings import GIB, Device, Gpus, Processor, Reading
from engine.runs.machine.sampler import MachineSampler, Sample
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter


class Nvml:
    """Two GPUs; the second tells neither power nor use."""

    def __init__(self) -> None:
        self.processes = [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=3 * GIB),
            SimpleNamespace(pid=1, usedGpuMemory=None),
        ]

    def nvmlInit(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes | str:
        return b"H200" if handle == 0 else "Old one"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=140 * GIB, used=7 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle:
            raise RuntimeError("Not Supported")
        return SimpleNamespace(gpu=83, memory=10)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return 700_000

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle:
            raise RuntimeError("Not Supported")
        return 412_000

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 55

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> Any:
        return self.processes if handle == 0 else []


def test_a_gpu_tells_what_it_can() -> None:
    gpus = Gpus(Nvml())
    assert gpus.devices() == [
        Device(gpu=0, name="H200", memory=140.0, power=700.0),
        Device(gpu=1, name="Old one", memory=140.0, power=700.0),
    ]
    assert gpus.read() == [
        Reading(gpu=0, busy=0.83, memory=7.0, own=3.0, power=412.0, temperature=55.0),
        Reading(gpu=1, memory=7.0, temperature=55.0),
    ]
    assert gpus.processes() == {0: [(os.getpid(), 3.0), (1, None)], 1: []}


def test_without_a_driver_there_are_none_and_it_says_why() -> None:
    class Broken(Nvml):
        def nvmlInit(self) -> None:
            raise RuntimeError("Driver Not Loaded")

    gpus = Gpus(Broken())
    assert gpus.read() == gpus.devices() == [] and "Driver Not Loaded" in gpus.why


def test_the_processor_is_read_from_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "PROC", tmp_path)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text(f"9 {GIB // readings.PAGE} 1")
    (tmp_path / "meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 2097152 kB\n")
    (tmp_path / "stat").write_text("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1")
    processor = Processor()
    (tmp_path / "stat").write_text("cpu  40 0 10 130 10 0 0 0 0 0\ncpu0 1")
    found = processor.read()
    assert (found.busy, found.memory, found.own) == (pytest.approx(30 / 90), 6.0, 1.0)
    for name in ("stat", "meminfo"):
        (tmp_path / name).unlink()
    monkeypatch.setattr(readings, "_psutil", lambda name: None)
    assert Processor().read() == Reading(own=1.0)  # then nothing is known, and nothing fails


def test_phases_nest() -> None:
    assert phase.now() == "training"
    with phase.during("evaluating"), phase.during("sampling"):
        assert phase.now() == "sampling"
    phase.rest(True)
    assert phase.now() == "waiting"
    phase.rest(False)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_thread_looks_and_stops() -> None:
    watching = MachineSampler(time.monotonic, Gpus(Nvml()))
    with phase.during("sampling"):
        watching.start()
        until(lambda: watching._seen)
    watching.stop()
    (sample,) = watching.take()
    assert sample.phase == "sampling" and [r.gpu for r in sample.readings] == [None, 0, 1]
    assert [device.gpu for device in watching.devices] == [None, 0, 1] and watching.take() == []
    watching._thread.join(5)
    assert not watching._thread.is_alive()


def test_it_is_recorded_in_a_few_bytes_a_second(tmp_path: Path) -> None:
    run = ExternalRun.create(Described(name="r", trainer="t"), tmp_path)
    run.machine = MachineSampler(time.monotonic)  # not started: the looks are made up
    run.machine.devices = [Device(name="2 cores", memory=8.0), Device(gpu=0, name="H200")]
    size = (run.run_dir / "run.db").stat().st_size
    looks = 1000
    for n in range(looks):
        reads = (Reading(busy=0.123456, memory=3.3, own=1.5), *Gpus(Nvml()).read()[:1])
        run.machine._seen.append(Sample(at=n * sampler.SECONDS, phase="training", readings=reads))
    run.end("finished")
    grown = (run.run_dir / "run.db").stat().st_size - size
    assert grown / (looks * sampler.SECONDS) < 15  # bytes a second, of two devices
    with RunReader(run.run_dir) as reader:
        newest = reader.machine(2)
        assert [(row.gpu, row.busy, row.power) for row in newest] == [
            (None, 0.1235, None),
            (0, 0.83, 412.0),
        ]
        assert [device.name for device in reader.devices()] == ["2 cores", "H200"]


def test_a_run_of_an_older_version_gets_the_table_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    run = ExternalRun.create(Described(name="r", trainer="t"), tmp_path)
    run.end("finished")
    with sqlite3.connect(run.run_dir / "run.db") as store:
        store.execute("DROP TABLE machine")
        store.execute("UPDATE meta SET value = '5' WHERE key = 'schema_version'")
    store.close()
    with RunReader(run.run_dir) as reader:
        assert reader.machine() == [] and reader.devices() == []
    writer = RunWriter(run.run_dir)
    columns = [row[1] for row in writer.connection.execute("PRAGMA table_info(checkpoints)")]
    writer.close()
    assert "machine" not in schema.RECORD and not any("machine" in name for name in columns)
    with RunReader(run.run_dir) as reader:
        assert reader.machine() == []


def test_a_look_costs_next_to_nothing() -> None:
    processor, gpus = Processor(), Gpus(Nvml())
    began, times = time.thread_time(), 100
    for _ in range(times):
        processor.read(), gpus.read()
    assert (time.thread_time() - began) / times < 0.01 * sampler.SECONDS  # under 1 % of a core
