"""Presets are read on several threads at once: by the library and by the trainer."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

CODE = """
import threading
from engine.config import shipped
from engine import presets
texts = [path.read_text("utf-8") for path in sorted(shipped.FOLDER.glob("*.toml"))]
start = threading.Barrier(8)
def read():
    start.wait()
    for text in texts:
        presets.parse(text)
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("read")
"""


def test_the_first_presets_may_be_read_by_many_threads() -> None:
    """In a process of its own: msgspec crashes Python when this goes wrong."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, "read"), done.stderr[-2000:]
