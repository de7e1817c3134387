"""The machine a run trains on: how busy processor and GPUs are, now and in each phase."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.core.errors import UserError
from engine.runs.machine.readings import Device
from engine.runs.records import MachineRow
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.dialog import Dialog
from tui.ui.text import clean, duration, percent

PHASES = ("preparing", "sampling", "training", "evaluating", "waiting")
NOTHING = (
    "Nothing is known of its machine yet: the worker looks a second after its start, then every "
    "ten seconds. (Runs of older versions have no such record.)"
)
BAR = 20
RECENT = 60
"""Looks that the line of the recent past shows."""

LOOK_SECONDS = 2.0

Load = Callable[[], Awaitable[tuple[list[Device], list[MachineRow]]]]


class MachineScreen(Dialog[None]):
    """What the worker has seen of its machine; it goes on while it is open."""

    DEFAULT_CSS = """
    MachineScreen > .box { width: 84; max-height: 90%; height: auto; padding: 0 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("machine.close", "escape,q,M", "dismiss", "Close", "Back to the run")
    ]

    def __init__(self, load: Load) -> None:
        """`load` reads what is known by now."""
        super().__init__()
        self._load = load

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = "Machine"
            box.border_subtitle = "Esc: close"
            yield Static(markup=False)

    def on_mount(self) -> None:
        """Draw what is known, again and again."""
        self._look()
        self.set_interval(LOOK_SECONDS, self._look)

    @work(exclusive=True)
    async def _look(self) -> None:
        try:
            devices, rows = await self._load()
        except UserError as error:  # the run was deleted
            self.query_one(Static).update(Content(clean(str(error))))
            return
        self.query_one(Static).update(told(devices, rows))


def told(devices: Sequence[Device], rows: Sequence[MachineRow]) -> Content:
    """All that is known, device by device, then phase by phase."""
    if not rows:
        return Content(NOTHING)
    lines: list[Content] = []
    for device in devices:
        own = [row for row in rows if row.gpu == device.gpu]
        if own:
            lines += [*_device(device, own), Content("")]
    return Content("\n").join([*lines, *_by_phase(rows)])


def _device(device: Device, rows: Sequence[MachineRow]) -> list[Content]:
    row = rows[-1]
    name = "Processor" if device.gpu is None else f"GPU {device.gpu}"
    lines = [
        Content.assemble((f"{name}  ", "bold"), (clean(device.name), "$foreground 60%")),
        _measure("busy", row.busy, 1.0, "" if row.busy is None else percent(row.busy)),
        _measure("memory", row.memory, device.memory, _gib(row.memory, device.memory)),
    ]
    if row.own is not None:
        lines.append(_measure("this run", row.own, device.memory, _gib(row.own, None)))
    if row.power is not None:
        of = "" if device.power is None else f" of {device.power:.0f}"
        lines.append(_measure("power", row.power, device.power, f"{row.power:.0f}{of} W"))
    if row.temperature is not None:
        lines.append(Content(f"  {'temperature':<12}{row.temperature:.0f} °C"))
    lines.append(Content(f"  {'so far':<12}{_recent([r.busy for r in rows])}  busy"))
    return lines


def _measure(label: str, value: float | None, most: float | None, words: str) -> Content:
    shapes = glyphs.current()
    if value is None:
        return Content(f"  {label:<12}not told by this machine")
    bar = ""
    if most:
        full = min(BAR, round(BAR * value / most))
        bar = shapes.shades[4] * full + shapes.shades[1] * (BAR - full) + "  "
    return Content(f"  {label:<12}{bar}{words}")


def _gib(value: float | None, most: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} GiB" if most is None else f"{value:.1f} of {most:.1f} GiB"


def _recent(values: Sequence[float | None]) -> str:
    """The newest values as one line of shades."""
    shades = glyphs.current().shades
    known = [value for value in values[-RECENT:] if value is not None]
    return "".join(shades[min(4, int(value * 5))] for value in known) or "-"


def _by_phase(rows: Sequence[MachineRow]) -> list[Content]:
    """How busy each device was on average in each phase, with how often it was seen."""
    gpus = sorted({row.gpu for row in rows if row.gpu is not None})
    looks = [row for row in rows if row.gpu is None]
    titles = ["processor", *(f"GPU {gpu}" for gpu in gpus)]
    head = f"{'phase':<12}{'seen':>6}" + "".join(f"{title:>11}" for title in titles)
    lines = [Content.styled(head, "bold")]
    for phase in PHASES:
        seen = sum(row.phase == phase for row in looks)
        if seen:
            cells = [_mean(rows, phase, gpu) for gpu in (None, *gpus)]
            share = percent(seen / len(looks))
            lines.append(Content(f"{phase:<12}{share:>6}" + "".join(f"{c:>11}" for c in cells)))
    since = duration(looks[-1].seconds - looks[0].seconds) if len(looks) > 1 else "one look"
    words = f"from {len(looks)} looks in {since}" if len(looks) > 1 else f"from {since}"
    return [*lines, Content.styled(words, "$foreground 60%")]


def _mean(rows: Sequence[MachineRow], phase: str, gpu: int | None) -> str:
    known = [r.busy for r in rows if r.phase == phase and r.gpu == gpu and r.busy is not None]
    return percent(fmean(known)) if known else "-"
