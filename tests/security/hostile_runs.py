"""Run folders of an attacker: a whole run of an own algorithm, with another file of code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from engine import factory, presets
from engine.config import shipped
from engine.core import compiling
from engine.learning.custom_file import sha256_of
from engine.runs import launch
from engine.runs.session import Session
from engine.runs.store import RunWriter
from tui.cli.main import run

EXAMPLES = shipped.FOLDER / "examples"
CODE = (EXAMPLES / "my_q.py").read_text("utf-8")
CHANGES = ["budget.env_steps=60", "run.agents=2", "maze.max_steps=10"]
"""Few and short episodes: their kernel is run as plain Python."""
NAMES = (
    "20260101-000000-hostile-aa",
    "20260101-000001-hostile-bb",
)


def record(folder: Path) -> Path:
    """A finished run of the example that comes with Ice Maze, its kernel run as plain Python."""
    preset = presets.load(str(EXAMPLES / "my-q.toml"), CHANGES)
    path = launch.create_run(preset, "my-q", runs_dir=folder)
    writer = RunWriter(path)
    with mock.patch.object(compiling, "compiled", lambda function: function):
        try:
            assert Session(writer, factory.make_learner).run()
        finally:
            writer.close()
    return path


class Hostile(NamedTuple):
    """Two copies of a run with an attacker's file, and what that file would leave behind."""

    runs: Path
    trap: Path
    sha256: str

    @property
    def paths(self) -> list[Path]:
        return [self.runs / name for name in NAMES]


def trapped(trap: Path) -> str:
    """The example, which also leaves a trace of having been run."""
    return f"{CODE}\nfrom pathlib import Path\nPath({str(trap)!r}).touch()\n"


def hostile(recorded: Path, folder: Path, change: Callable[[Path], None]) -> Hostile:
    """Two copies of a recorded run with another file of code, `change`d."""
    trap, runs = folder / "it-was-run", folder / "runs"
    code = trapped(trap)
    for name in NAMES:
        path = runs / name
        shutil.copytree(recorded, path)
        (path / "my_q.py").rename(path / "evil.py")
        (path / "evil.py").write_text(code, "utf-8")
        rename(path, "evil.py")
        found = {"name": "evil.py", "from": "/home/eve/evil.py", "sha256": sha256_of(code.encode())}
        set_meta(path, found)
        change(path)
    return Hostile(runs, trap, sha256_of(code.encode()))


def rename(path: Path, name: str) -> None:
    """Let the frozen preset name another file."""
    preset = path / "preset.toml"
    text = preset.read_text("utf-8")
    (old,) = [line for line in text.splitlines() if line.startswith('name = "file:')]
    preset.write_text(text.replace(old, f'name = "file:{name}"'), "utf-8")


def set_meta(path: Path, value: dict[str, Any] | None) -> None:
    """Change what the store says about the file of code; None takes it out."""
    with contextlib.closing(sqlite3.connect(path / "run.db")) as connection, connection:
        connection.execute("DELETE FROM meta WHERE key = 'algorithm_file'")
        if value is not None:
            row = ("algorithm_file", json.dumps(value))
            connection.execute("INSERT INTO meta VALUES (?, ?)", row)


def icemaze(runs: Path, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, run here and without a terminal, and all that it said."""
    said: Any = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with (
        mock.patch.dict(os.environ, {"ICEMAZE_RUNS_DIR": str(runs)}),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        code = run(list(arguments))
    return code, said.buffer.getvalue().decode("utf-8")
