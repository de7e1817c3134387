"""Training throughput with the app watching, against the same run with nobody watching.

Alternating; each run trains for a few seconds at unlimited pace with its own worker, one of them
with the app open on it in a pseudo-terminal. Prints environment steps per second and the ratio;
exits 1 when the ratio misses the bar.

    python benchmarks/attached.py [--rounds 5] [--seconds 6]
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from engine import presets
from engine.runs import launch
from engine.runs.reader import RunReader

BAR = 0.95


@contextlib.contextmanager
def app_open(run: Path) -> Iterator[None]:
    """The app showing a run in a terminal of 160 x 50 whose output somebody reads."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.start", "--runs-dir", str(run.parent), "open", run.name],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(slave)

    def drain() -> None:
        with contextlib.suppress(OSError):
            while os.read(master, 65536):
                pass

    threading.Thread(target=drain, daemon=True).start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        os.close(master)


def throughput(runs: Path, seconds: float, watched: bool) -> float:
    """Environment steps per second of training time, over all agents."""
    preset = presets.load(
        "q-learning-slippery",
        ["budget.env_steps=4000000000", f"budget.seconds={seconds}", "run.agents=16"],
    )
    run = launch.launch(preset, "throughput", runs_dir=runs)
    with app_open(run) if watched else contextlib.nullcontext(), RunReader(run) as reader:
        while not reader.head().ended:
            time.sleep(0.2)
        head = reader.head()
    return head.total_env_steps / head.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    rates: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        throughput(Path(folder), 1.0, watched=False)  # compile
        for _ in range(arguments.rounds):
            for watched in (False, True):
                rates[watched].append(throughput(Path(folder), arguments.seconds, watched))
    for watched, values in rates.items():
        name = "app attached" if watched else "headless"
        print(
            f"{name:13} median {statistics.median(values) / 1e6:.2f} M steps/s "
            f"(min {min(values) / 1e6:.2f}, max {max(values) / 1e6:.2f})"
        )
    pairs = [with_ / without for without, with_ in zip(rates[False], rates[True], strict=True)]
    ratio = statistics.median(pairs)
    print(f"median of the pairs' ratios {ratio:.3f} (bar: at least {BAR})")
    return int(ratio < BAR)


if __name__ == "__main__":
    raise SystemExit(main())
