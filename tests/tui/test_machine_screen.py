"""The machine panel: what it says of processor and GPUs, by phase, and how it is reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import eventually

from engine.external.record import Described, ExternalRun
from engine.runs.machine.readings import Device, Reading
from engine.runs.machine.sampler import MachineSampler, Sample
from engine.runs.records import MachineRow
from tui.app import IceMazeApp
from tui.watching.machine import NOTHING, MachineScreen, told

DEVICES = [
    Device(name="16 cores", memory=128.0),
    Device(gpu=0, name="H200", memory=140.0, power=700.0),
]


def row(n: int, phase: str, gpu: int | None, busy: float | None, power: float | None) -> MachineRow:
    return MachineRow(
        id=n, step=n, seconds=10.0 * n, phase=phase, gpu=gpu, busy=busy, memory=7.0, own=3.0,
        power=power, temperature=None if gpu is None else 55.0,
    )  # fmt: skip


def test_each_device_and_each_phase_has_its_line() -> None:
    rows = []
    for n, (phase, gpu_busy) in enumerate(
        [("sampling", 0.9), ("sampling", 0.7), ("training", 1.0)]
    ):
        rows += [row(n, phase, None, 0.25, None), row(n, phase, 0, gpu_busy, 412.0)]
    text = told(DEVICES, rows).plain
    assert "Processor  16 cores" in text and "GPU 0  H200" in text
    assert "412 of 700 W" in text and "55 °C" in text and "7.0 of 140.0 GiB" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert lines["sampling"] == ["67%", "25%", "80%"]
    assert lines["training"] == ["33%", "25%", "100%"]
    assert "from 3 looks in 20" in text


def test_what_is_not_known_is_said() -> None:
    assert told([], []).plain == NOTHING
    text = told(DEVICES, [row(0, "waiting", None, None, None)]).plain
    assert "not told by this machine" in text and "GPU" not in text
    assert told([], [row(0, "odd", 7, 0.1, None)]).plain  # a damaged record is no crash


@pytest.mark.slow
async def test_a_key_opens_it(tmp_path: Path) -> None:
    run = ExternalRun.create(Described(name="r", trainer="t"), tmp_path)
    run.machine = MachineSampler(lambda: 0.0)
    run.machine.devices = DEVICES[:1]
    run.machine._seen = [
        Sample(at=1.0, phase="training", readings=(Reading(busy=0.5, memory=7.0),))
    ]
    run.end("finished")
    app = IceMazeApp(open_run=run.run_dir)
    async with app.run_test(size=(80, 24)) as pilot:
        await eventually(pilot, lambda: getattr(app.screen, "snapshot", None) is not None)
        await pilot.press("M")
        await eventually(
            pilot,
            lambda: (
                isinstance(app.screen, MachineScreen)
                and "16 cores" in str(app.screen.query_one("Static").render())
            ),  # type: ignore[attr-defined]
        )
        await pilot.press("escape")
