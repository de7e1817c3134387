"""Time from process start to the first painted screen: Ice Maze against a one-label Textual app.

Both run in a pseudo-terminal of 100 x 30, alternating; a screen counts as painted when a word of it
has reached the terminal. Prints medians and the ratio; exits 1 when the ratio misses the bar.

    python benchmarks/first_paint.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time

BAR = 1.5
ONE_LABEL = """
from textual.app import App
from textual.widgets import Label

class OneLabel(App):
    def compose(self):
        yield Label("Painted")

OneLabel().run()
"""
PROGRAMS = {
    "one label": ([sys.executable, "-c", ONE_LABEL], b"Painted"),
    "Ice Maze": ([sys.executable, "-m", "tui.start"], b"Ice Maze"),
}


def painted(command: list[str], word: bytes, environment: dict[str, str]) -> float:
    """Seconds until `word` has been written to a fresh terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    seen = b""
    try:
        while word not in seen:
            if time.perf_counter() - start > 60:
                raise SystemExit(f"{command} painted nothing in a minute:\n{seen[-2000:]!r}")
            if select.select([master], [], [], 0.5)[0]:
                seen += os.read(master, 65536)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
        os.close(master)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as runs:
        environment = {**os.environ, "ICEMAZE_RUNS_DIR": runs, "TERM": "xterm-256color"}
        for command, word in PROGRAMS.values():
            painted(command, word, environment)  # warm the file cache
        times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
        for _ in range(rounds):
            for name, (command, word) in PROGRAMS.items():
                times[name].append(painted(command, word, environment))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(
            f"{name:10} median {medians[name]:.3f} s  "
            f"(min {min(values):.3f}, max {max(values):.3f})"
        )
    ratio = medians["Ice Maze"] / medians["one label"]
    print(f"ratio {ratio:.2f} (bar: at most {BAR})")
    return int(ratio > BAR)


if __name__ == "__main__":
    raise SystemExit(main())
