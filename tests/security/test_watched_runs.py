"""What another trainer writes never commands the terminal: neither its lines, nor its names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile import ALL, PARTS, SEEN, dangers
from real_terminal import Terminal

pytestmark = pytest.mark.slow

SAY = "import sys, json; from tui.cli.main import run; [run(a) for a in json.loads(sys.argv[1])]"
MEMBER = {
    "prompt": ALL, "completion": ALL, "reward": 1.0, "parts": {ALL: 1.0}, "advantage": 0.5,
    "tokens": [ALL, *PARTS.values()], "log_probs": [-1.0] * (1 + len(PARTS)), "group": ALL,
}  # fmt: skip
LINES = [
    {"icemaze": 1, "name": ALL, "trainer": ALL, "algorithm": ALL, "model": ALL, "unit": ALL[:20],
     "settings": {ALL: ALL}},
    {"step": 1, "metrics": {"reward": 0.5, ALL: 1.0, f"rewards/{ALL}/mean": 1.0}},
    {"step": 1, "rollouts": [MEMBER, {**MEMBER, "completion": [{"role": ALL, "content": ALL}]}]},
    {"step": 1, "note": ALL, "level": "warning"},
    {ALL: ALL},
    {"step": 1, "metrics": {"a": ALL}, ALL: 1},
    ALL,
    {"end": "failed", "error": ALL},
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return path


def test_commands_say_it_without_its_commands(file: Path) -> None:
    commands = [["watch", str(file), "--plain"], ["runs"], ["status"], ["stop"]]
    with Terminal("-c", SAY, json.dumps(commands), ICEMAZE_RUNS_DIR=str(file.parent / "runs")) as t:
        said = t.end()
    assert t.code == 0 and said.count(SEEN.encode()) > 8
    assert dangers(said) == []
    assert b"Traceback" not in said and b"should not happen" not in said


def test_the_app_shows_it_without_its_commands(file: Path) -> None:
    runs = str(file.parent / "runs")
    with Terminal("-m", "tui.start", "watch", str(file), ICEMAZE_RUNS_DIR=runs) as terminal:
        terminal.wait_for("earned most")
        terminal.wait_for(SEEN)
        terminal.press("n", "newest first")
        terminal.press("\x1b", "earned most")
        terminal.press("m", "0.95")  # another chart
        terminal.press("u", "What the model wrote")
        terminal.press("\x1b", "earned most")
        terminal.press("q", "Presets")
        terminal.press("q", "\x1b[?1049l")
        said = terminal.end()
    assert terminal.code == 0 and dangers(said) == []
