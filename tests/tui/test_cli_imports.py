"""The UI process imports neither Numba nor torch, and no command waits for what it does not use."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_tools import DEADLINE, LAKE, environment

from engine.runs import library
from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow

PROBE = """
import sys
from tui.cli.main import run
code = run(sys.argv[1:])
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}))
print("progress" if "rich.progress" in sys.modules else "no progress")
sys.exit(code)
"""
EVERYTHING = """
import importlib, pkgutil, sys, tui.cli
for module in pkgutil.walk_packages(tui.cli.__path__, "tui.cli."):
    importlib.import_module(module.name)
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported(tmp_path: Path, code: str, *arguments: str) -> tuple[set[str], str]:
    """Top-level packages a fresh process has imported, and all it said."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("imported: ")]
    return set(line.split()[1:]), done.stdout


def test_importing_every_command_is_light(tmp_path: Path) -> None:
    packages, _ = imported(tmp_path, EVERYTHING)
    assert "typer" in packages and "engine" in packages
    assert packages.isdisjoint({"numba", "torch", "gymnasium", "textual"})


@pytest.mark.parametrize(
    ("arguments", "not_needed"),
    [
        (["--help"], {"numpy", "msgspec", "textual", "gymnasium", "sqlite3"}),
        (["runs"], {"textual", "gymnasium"}),
        (["presets", "list"], {"textual", "gymnasium"}),
        (["train", LAKE, "--detach"], {"textual", "gymnasium"}),
        (["eval"], {"textual", "gymnasium"}),
        (["doctor"], {"textual", "gymnasium"}),
    ],
)
def test_a_command_imports_what_it_needs(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str], not_needed: set[str]
) -> None:
    runs_dir = tmp_path_factory.getbasetemp() / "imports"
    if arguments == ["eval"]:  # of the run that was detached above
        with RunReader(library.find_run(None, runs_dir)) as reader:
            deadline = time.monotonic() + DEADLINE
            while not reader.head().ended:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    packages, said = imported(runs_dir, PROBE, *arguments)
    assert packages.isdisjoint({"numba", "torch"} | not_needed)
    assert "no progress" in said.splitlines()
