"""What the app costs while nobody presses a key: CPU, bytes to the terminal, memory.

It runs in a pseudo-terminal on runs and a cache of its own. Measured are the home screen, the first
preset being watched at its pace, the same paused, and the worker. CPU is in seconds of CPU per
second, as the kernel counts them: another program on the machine makes them no larger. Then how
long a key takes to have its effect when the terminal reads no more than 20 kB/s, and how much CPU
Tune takes to open.

    python benchmarks/at_rest.py [--size 160x50] [--seconds 15]
    python benchmarks/at_rest.py --cold    # the first start: an empty cache of compiled kernels
"""

from __future__ import annotations

import argparse
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 120.0
SLOW_LINE = 20_000
"""Bytes a second of a line over which the app must stay responsive."""
MB = 1e6
FORM, TUNE = r"Start \(Enter\)", r"Apply \(Enter\)"
"""Words that stand nowhere but in the form of a new run, and of Tune."""
PIECES = re.compile(
    r"\x1b\[([0-9;?<>=]*)([a-zA-Z])|\x1b[=>]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|([^\x1b])", re.DOTALL
)


class Cost(NamedTuple):
    """What was spent, per second."""

    cpu: float
    bytes: float


class Screen:
    """What a terminal shows of what it is sent: the text at its places, without colours."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.cells = [[" "] * size[0] for _ in range(size[1])]
        self.x = self.y = 0
        self.rest = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> None:
        """Draw; the beginning of a sequence waits for its end."""
        whole = self.rest + self.decoder.decode(data)
        last = whole.rfind("\x1b")
        begun = last >= 0 and not PIECES.match(whole, last)
        self.rest = whole[last:] if begun else ""
        for match in PIECES.finditer(whole, 0, last if begun else len(whole)):
            numbers, letter, text = match.groups()
            if letter == "H":
                y, x = (int(n or 1) for n in (numbers or "1;1").split(";"))
                self.y, self.x = y - 1, x - 1
            elif letter == "C":
                self.x += int(numbers or 1)
            elif text and text >= " ":
                if self.y < len(self.cells) and self.x < len(self.cells[0]):
                    self.cells[self.y][self.x] = text
                self.x += 1

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join("".join(line) for line in self.cells)


class Terminal:
    """The app in a pseudo-terminal that counts what it is sent."""

    def __init__(self, size: tuple[int, int], folder: Path) -> None:
        self.environment = {
            **os.environ,
            "ICEMAZE_RUNS_DIR": str(folder / "runs"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "ICEMAZE_CACHE_DIR": str(folder / "cache"),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        self.environment.pop("SSH_CONNECTION", None)
        self.runs = folder / "runs"
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui.start"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self.environment,
            start_new_session=True,
        )
        os.close(slave)
        self.screen = Screen(size)
        self.count = 0

    def read(self, seconds: float, rate: int | None = None) -> None:
        """Take what comes for so long, or as much of it as a line of `rate` bytes a second."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                data = os.read(self.master, 65536 if rate is None else 256)
            except OSError:
                raise SystemExit(f"the app has ended:\n{self.screen.text}") from None
            self.screen.feed(data)
            self.count += len(data)
            if rate is not None:
                time.sleep(len(data) / rate)

    def wait(self, word: str, rate: int | None = None) -> float:
        """Read until the screen has a text (a regular expression); gives when it had."""
        start = time.perf_counter()
        while not re.search(word, self.screen.text):
            if time.perf_counter() - start > PATIENCE:
                raise SystemExit(f"{word!r} never came:\n{self.screen.text}")
            self.read(0.01, rate)
        return time.perf_counter()

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.master, keys.encode())

    def worker(self) -> int:
        """The process of the run that is watched."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if not entry.name.isdigit():
                    continue
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"engine.runs.worker" in words and os.fsencode(self.runs) in b" ".join(words):
                    return int(entry.name)
        raise SystemExit("there is no worker")

    def close(self) -> None:
        """End the app and its worker."""
        with suppress(SystemExit):
            os.kill(self.worker(), signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def cpu(pid: int) -> float:
    """Seconds of CPU of a process and the children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS


def resident(pid: int) -> float:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def spend(terminal: Terminal, seconds: float, pid: int | None = None) -> tuple[Cost, Cost]:
    """What the app (and the worker) cost from now on."""
    pids = [terminal.process.pid, pid or terminal.process.pid]
    before, sent, start = [cpu(each) for each in pids], terminal.count, time.perf_counter()
    terminal.read(seconds)
    wall = time.perf_counter() - start
    used = [(cpu(each) - was) / wall for each, was in zip(pids, before, strict=True)]
    return Cost(used[0], (terminal.count - sent) / wall), Cost(used[1], 0)


def key_to_effect(terminal: Terminal, keys: list[tuple[str, str]]) -> float:
    """Median seconds from a key to the word it brings, over the slow line."""
    times = []
    for key, word in keys:
        terminal.read(0.7, SLOW_LINE)
        start = time.perf_counter()
        terminal.press(key)
        times.append(terminal.wait(word, SLOW_LINE) - start)
    return statistics.median(times)


def line(name: str, cost: Cost, memory: float = 0) -> None:
    """A row of the table."""
    room = f"{memory / MB:8.0f} MB" if memory else ""
    print(f"{name:22} {cost.cpu:8.1%} {cost.bytes / 1000:9.2f} kB/s {room}", flush=True)


def at_rest(size: tuple[int, int], seconds: float, folder: Path) -> None:
    """Prints the table."""
    terminal = Terminal(size, folder)
    app = terminal.process.pid
    try:
        print(f"{'':22} {'CPU':>8} {'terminal':>14} {'resident':>11}")
        terminal.wait("Presets")
        terminal.read(6)
        line("home screen", spend(terminal, seconds)[0], resident(app))
        terminal.press("\r")
        terminal.wait(FORM)
        terminal.read(1)
        terminal.press("\r")
        terminal.wait("Trajectory")
        terminal.wait("4 steps/s")
        terminal.read(6)
        worker = terminal.worker()
        watched, trained = spend(terminal, seconds, worker)
        line("watching 4 steps/s", watched, resident(app))
        line("worker, 4 steps/s", trained, resident(worker))
        pauses = [(" ", "paused"), (" ", "running")] * 5
        layers = [("2", "state value V"), ("3", "action values? Q")] * 5
        print(f"pause, key to effect at 20 kB/s   {key_to_effect(terminal, pauses) * 1e3:.0f} ms")
        print(f"layer, key to effect at 20 kB/s   {key_to_effect(terminal, layers) * 1e3:.0f} ms")
        terminal.press(" ")
        terminal.wait("paused")
        terminal.read(4)
        watched, trained = spend(terminal, seconds, worker)
        line("paused", watched, resident(app))
        line("worker, paused", trained, resident(worker))
        rounds = []
        for _ in range(3):
            used = cpu(app)
            terminal.press("t")
            terminal.wait(TUNE)
            terminal.read(1.5)
            rounds.append(cpu(app) - used)
            terminal.press("\x1b")
            terminal.read(1.5)
        print(f"Tune: CPU of opening   {', '.join(f'{used:.2f}' for used in rounds)} s")
    finally:
        terminal.close()


def first_start(size: tuple[int, int], folder: Path, read: float) -> None:
    """From the second Enter to an agent that moves, `read` seconds after the home screen came."""
    terminal = Terminal(size, folder)
    try:
        painted = terminal.wait("Presets") - terminal.started
        terminal.read(read)
        terminal.press("\r")
        terminal.wait(FORM)
        terminal.read(0.5)
        start = time.perf_counter()
        terminal.press("\r")
        maze = terminal.wait("Trajectory") - start
        moving = terminal.wait("step [1-9]") - start
        print(
            f"home screen {painted:.2f} s, read for {read:g} s; from the second Enter: "
            f"panels {maze:.2f} s, an agent that moves {moving:.2f} s",
            flush=True,
        )
    finally:
        terminal.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="160x50")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--cold", action="store_true", help="with an empty cache")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    size = (width, height)
    for read in (0.5, 4, 15) if options.cold else (0,):
        with tempfile.TemporaryDirectory() as folder:
            if options.cold:
                first_start(size, Path(folder), read)
            else:
                at_rest(size, options.seconds, Path(folder))


if __name__ == "__main__":
    main()
