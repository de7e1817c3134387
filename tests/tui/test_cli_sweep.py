"""`icemaze sweep` and `icemaze algorithms`, as scripts and people meet them."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import (
    DEADLINE,
    LAKE,
    command,
    environment,
    icemaze,
    kill_workers,
    objects,
)

pytestmark = pytest.mark.slow

LENGTHS = ("--set", "budget.env_steps=3000,30")
GAMMA = ("--set", "algorithm.gamma=0.9")
AGENTS = 16
"""Of each run: what a preset has by default."""
ENDLESS = ("--set", "budget.env_steps=1e12")


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@contextlib.contextmanager
def sweeping(runs_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`icemaze sweep` in the background; whatever is left of it and its workers ends with us."""
    process = subprocess.Popen(
        command("sweep", *arguments),
        env=environment(runs_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        for folder in (runs_dir / "sweeps").glob("*"):
            kill_workers(folder)


def test_json_lines_and_the_results(runs_dir: Path) -> None:
    done = icemaze(runs_dir, "sweep", LAKE, "--seeds", "0-1", *LENGTHS, *GAMMA, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    lines = objects(done.stdout)
    assert lines[0]["event"] == "started" and lines[-1]["event"] == "finished"
    assert {line["event"] for line in lines[1:-1]} <= {"run", "progress"}
    runs = [line for line in lines if line["event"] == "run"]
    seen = {(run["setting"]["budget.env_steps"], run["seed"]) for run in runs}
    assert seen == {(length, seed) for length in ("3000", "30") for seed in (0, 1)}
    assert all(Path(run["path"]).parent == Path(lines[0]["path"]) for run in runs)
    long, short = lines[-1]["results"]
    assert long["setting"] == {"budget.env_steps": "3000", "algorithm.gamma": "0.9"}
    success = long["success_rate"]
    assert (success["mean"], success["high"], success["n"]) == (1.0, 1.0, 2 * AGENTS)
    # So many agents who all succeed say this much of others (Clopper & Pearson 1934).
    assert success["low"] == pytest.approx(0.025 ** (1 / (2 * AGENTS)), abs=0.005)
    assert "at least 3 agents" in long["steps_to_optimum"]["why"]
    assert "95 %" in lines[-1]["interval"]
    # Six moves to the prize: γ^5.
    assert long["expected_return"]["mean"] == pytest.approx(0.9**5, abs=1e-9)
    assert 0 < long["steps_to_optimum"]["mean"] < 3000
    assert long["best"] == ["success_rate", "expected_return", "steps_to_optimum"]
    assert short["expected_return"]["mean"] < 0.9**5 and short["best"] == []
    assert short["steps_to_optimum"] == {"mean": None, "low": None, "high": None, "n": 0}
    # Its runs are not among the user's runs, but they are runs.
    assert icemaze(runs_dir, "runs", "--json").stdout == ""
    inside = objects(icemaze(Path(lines[0]["path"]), "runs", "--json").stdout)
    assert {run["run"] for run in inside} == {run["run"] for run in runs}


def test_ctrl_c_checkpoints_and_resume_does_what_is_missing(runs_dir: Path) -> None:
    with sweeping(runs_dir, LAKE, "--seeds", "0-2", *ENDLESS, "--jobs", "2", "--json") as process:
        assert process.stdout is not None
        (started,) = objects(process.stdout.readline())
        for line in process.stdout:
            (found,) = objects(line)
            if found["event"] == "progress" and found["progress"] > 0:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130 and errors == ""
    lines = objects(rest)
    stopped = [line for line in lines if line["event"] == "run"]
    assert [run["status"] for run in stopped] == ["stopped", "stopped"]
    assert lines[-1]["status"] == "stopped" and lines[-1]["finished"] == 0
    folder = Path(started["path"])
    assert (folder / "runs.jsonl").read_text().count("\n") == 2  # the third has not begun
    for run in stopped:  # an endless run ends when its budget is used up already
        preset = Path(run["path"]) / "preset.toml"
        preset.write_text(preset.read_text().replace("1000000000000", "1000"))
    text = (folder / "sweep.toml").read_text()
    (folder / "sweep.toml").write_text(text.replace("1e12", "1000"))
    done = icemaze(runs_dir, "sweep", "--resume", "--json")
    lines = objects(done.stdout)
    again = {line["run"] for line in lines if line["event"] == "run"}
    assert done.returncode == 0 and {run["run"] for run in stopped} < again and len(again) == 3
    assert (lines[-1]["results"][0]["runs"], lines[-1]["results"][0]["of"]) == (3, 3)


BAD = {
    "no preset": ([], "sweep needs a PRESET"),
    "an unknown preset": (["q-lerning"], "Did you mean 'q-learning'?"),
    "seeds that are none": ([LAKE, "--seeds", "0..9"], "--seeds 0..9: found '0..9'"),
    "seeds left empty": ([LAKE, "--seeds", ""], "--seeds : found ''; expected whole numbers"),
    "a bad value among good ones": (
        [LAKE, "--set", "algorithm.gamma=0.9,1.9"], "algorithm.gamma: found 1.9, expected a number",
    ),
    "no jobs": ([LAKE, "--jobs", "0"], "'--jobs'"),
    "resume with a preset": ([LAKE, "--resume", "x"], "drop PRESET, --seeds and --set"),
    "resume of nothing": (["--resume", "2026"], "There is no sweep whose id starts with '2026'"),
    "resume of no latest": (["--resume"], "There is no sweep in"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_bad_input_is_told_before_anything_starts(runs_dir: Path, mistake: str) -> None:
    arguments, says = BAD[mistake]
    done = icemaze(runs_dir, "sweep", *arguments)
    assert (done.returncode, done.stdout) == (2, "") and says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not runs_dir.exists()


def test_lines_for_a_person(runs_dir: Path) -> None:
    done = icemaze(runs_dir, "sweep", LAKE, "--seeds", "4", *LENGTHS, *GAMMA, "--jobs", "1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].endswith(": lake, 2 settings × 1 seed = 2 runs, 1 at once")
    assert lines[1] == "  with gamma=0.9"
    assert lines[2] == "    1/2  budget.env_steps=3000 seed 4  success 100%  return 0.590"
    headings = lines.index("") + 1
    assert lines[headings].startswith("budget.env_steps  runs  ")
    assert lines[headings].endswith("steps to 5 %")
    long, short = (line.split() for line in lines[headings + 1 : headings + 3])
    assert long[:3] == ["3000", "1/1", "100.0%"] and long[4:6] == ["100.0%]", "*"]
    low = float(long[3].removeprefix("[").removesuffix("%,"))
    assert low == pytest.approx(100 * 0.025 ** (1 / AGENTS), abs=0.5)
    assert short[0] == "30" and short[-2:] == ["-", "(0/1)"]
    assert "[95 % interval]" in done.stdout


def test_a_terminal_sees_a_bar_and_a_table(runs_dir: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("sweep", LAKE, "--seeds", "0-1", "--set", "budget.env_steps=3000"),
        env={**environment(runs_dir), "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    assert process.wait(DEADLINE) == 0
    assert b"2/2" in said and "━".encode() in said and b"expected return" in said
    assert said.rindex("━".encode()) < said.index(b"expected return")


# ---------------------------------------------------------------- algorithms


def test_algorithms_as_json_one_a_line(runs_dir: Path) -> None:
    found = objects(icemaze(runs_dir, "algorithms", "--json").stdout)
    names = [entry["name"] for entry in found if entry["kind"] == "tabular"]
    assert names[0] == "value-iteration" and "q-learning" in names
    (entry,) = objects(icemaze(runs_dir, "algorithms", "q-learning", "--json").stdout)
    assert entry["policy_type"] == "off-policy" and "q-learning" in entry["presets"]


def test_algorithms_for_a_person(runs_dir: Path) -> None:
    listing = icemaze(runs_dir, "algorithms").stdout
    assert "Planning with a known model" in listing and "for language models" in listing
    (grpo,) = [line for line in listing.splitlines() if line.strip().startswith("dr-grpo")]
    assert grpo.endswith("[LLM]")
    one = icemaze(runs_dir, "algorithms", "rloo").stdout
    assert one.startswith("RLOO (rloo), for language models, changes the policy itself")
    wrong = icemaze(runs_dir, "algorithms", "qlearning")
    assert wrong.returncode == 2 and "Did you mean 'q-learning'?" in wrong.stderr
