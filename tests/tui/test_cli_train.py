"""`icemaze train`, as scripts and terminals meet it: real workers, real signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from cli_tools import (
    DEADLINE,
    ENDLESS,
    FINISHED_KEYS,
    LAKE,
    as_process,
    command,
    environment,
    icemaze,
    kill_workers,
    objects,
    read_until,
    status,
    training,
    wait_until,
)

from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_json_lines_keep_the_contract(runs_dir: Path) -> None:
    done = as_process(runs_dir, "train", LAKE, "--json", "--seed", "3")
    assert (done.returncode, done.stderr) == (0, "")
    lines = objects(done.stdout)
    events = [line["event"] for line in lines]
    assert events[0] == "started" and events[-1] == "finished"
    assert set(events[1:-1]) <= {"progress", "note"}
    started, finished = lines[0], lines[-1]
    assert list(started) == ["event", "run", "path"]
    assert list(finished) == FINISHED_KEYS
    assert Path(finished["path"]) == runs_dir / finished["run"] == Path(started["path"])
    assert finished["status"] == "finished" and finished["success_kind"] == "exact"
    assert finished["env_steps"] == 5000 and finished["total_env_steps"] == 16 * 5000
    assert finished["success_rate"] == 1.0
    # Six moves to the prize: γ^5 with the preset's γ = 0.95.
    assert finished["optimal_return"] == pytest.approx(0.95**5, abs=1e-9)
    assert isinstance(finished["metrics"], dict) and finished["metrics"]
    with RunReader(Path(finished["path"])) as reader:
        assert reader.info().preset.run.seed == 3


def test_progress_counts_up_to_the_end(runs_dir: Path) -> None:
    done = icemaze(runs_dir, "train", LAKE, "--json", "--set", "budget.env_steps=2e6")
    lines = objects(done.stdout)
    progress = [line for line in lines if line["event"] == "progress"]
    steps = [line["env_steps"] for line in progress]
    assert steps and steps == sorted(set(steps)) and steps[-1] <= lines[-1]["env_steps"]
    assert all(0 < line["progress"] <= 1 for line in progress)


def test_detach_says_started_and_the_run_goes_on(runs_dir: Path) -> None:
    try:
        done = as_process(runs_dir, "train", LAKE, "--detach", "--json", *ENDLESS)
        assert done.returncode == 0
        (started,) = objects(done.stdout)
        assert list(started) == ["event", "run", "path"] and started["event"] == "started"
        before = wait_until(runs_dir, started["run"], lambda s: s["env_steps"] > 0)
        assert before["state"] == "running"
        wait_until(runs_dir, started["run"], lambda s: s["env_steps"] > before["env_steps"])
    finally:
        kill_workers(runs_dir)


def test_stop_then_resume_to_a_new_budget(runs_dir: Path) -> None:
    with training(runs_dir, LAKE, "--json", *ENDLESS) as process:
        run = read_until(process, "progress")["run"]
        (stopped,) = objects(icemaze(runs_dir, "stop", run, "--json").stdout)
        assert stopped["state"] == "stopped"
        last = objects(process.communicate(timeout=DEADLINE)[0])[-1]
        assert (process.returncode, last["status"]) == (130, "stopped")
    steps = stopped["env_steps"]
    resumed = icemaze(
        runs_dir, "train", "--resume", run, "--json", "--set", f"budget.env_steps={steps + 1000}"
    )
    lines = objects(resumed.stdout)
    assert resumed.returncode == 0
    assert lines[0] == {"event": "started", "run": run, "path": str(runs_dir / run)}
    assert (lines[-1]["status"], lines[-1]["env_steps"]) == ("finished", steps + 1000)
    again = icemaze(runs_dir, "train", "--resume")
    assert again.returncode == 2 and "used up its budget" in again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_a_checkpoint_and_exits_130(
    runs_dir: Path, number: signal.Signals
) -> None:
    with training(runs_dir, LAKE, "--json", *ENDLESS) as process:
        run = read_until(process, "progress")["run"]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=DEADLINE)
    finished = objects(rest)[-1]
    assert (process.returncode, errors) == (130, "")
    assert list(finished) == FINISHED_KEYS and finished["status"] == "stopped"
    assert status(runs_dir, run)["state"] == "stopped"
    # The figures of the newest checkpoint are the last figures: it was written at the very end.
    (evaluated,) = objects(icemaze(runs_dir, "eval", run, "--json").stdout)
    assert evaluated["step"] == finished["env_steps"] > 0
    assert evaluated["expected_return"] == pytest.approx(finished["expected_return"], abs=1e-9)


def test_an_interrupted_run_says_how_to_go_on(runs_dir: Path) -> None:
    with training(runs_dir, LAKE, *ENDLESS) as process:
        assert process.stdout is not None
        run = process.stdout.readline().split()[1].rstrip(":")
        wait_until(runs_dir, run, lambda s: s["env_steps"] > 0)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert f"icemaze train --resume {run}" in rest.splitlines()[-1]


def test_a_hang_up_leaves_the_run_going(runs_dir: Path) -> None:
    with training(runs_dir, LAKE, "--json", *ENDLESS) as process:
        run = read_until(process, "progress")["run"]
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 129
        before = status(runs_dir, run)
        assert before["state"] == "running"
        wait_until(runs_dir, run, lambda s: s["env_steps"] > before["env_steps"])


def test_a_closed_pipe_is_quiet_and_leaves_the_run_going(runs_dir: Path) -> None:
    with training(runs_dir, LAKE, "--json", *ENDLESS) as process:
        assert process.stdout is not None and process.stderr is not None
        run = read_until(process, "started")["run"]
        process.stdout.close()
        assert process.wait(timeout=DEADLINE) == 141
        assert process.stderr.read() == ""
        wait_until(runs_dir, run, lambda s: s["state"] == "running")


def test_a_killed_worker_is_a_failed_run(runs_dir: Path) -> None:
    with training(runs_dir, LAKE, "--json", *ENDLESS) as process:
        run = read_until(process, "progress")["run"]
        kill_workers(runs_dir)
        lines = objects(process.communicate(timeout=DEADLINE)[0])
    assert process.returncode == 1
    assert lines[-2]["event"] == "error" and "died" in lines[-2]["message"]
    assert lines[-1]["event"] == "finished" and lines[-1]["status"] == "failed"
    dead = status(runs_dir, run)
    assert dead["state"] == "dead" and "died" in dead["error"]
    budget = dead["env_steps"] + 1000
    resumed = icemaze(
        runs_dir, "train", "--resume", run, "--json", "--set", f"budget.env_steps={budget}"
    )
    assert objects(resumed.stdout)[-1]["env_steps"] == budget


def test_a_terminal_sees_a_bar_and_the_last_figures(runs_dir: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("train", LAKE),
        env={**environment(runs_dir), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # Linux says EIO when the other side has closed
        pass
    os.close(ours)
    assert process.wait(timeout=DEADLINE) == 0
    text = seen.decode()
    assert "\x1b[" in text and "steps/s" in text and "100%" in text
    assert "icemaze open" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "train needs a PRESET"),
        (["--resume"], "There are no runs in"),
        ([LAKE, "--resume", "x"], "takes no PRESET"),
        (["--resume", "x", "--seed", "1"], "drop --seed"),
        (["q-lerning"], "Did you mean 'q-learning'?"),
        (["./nowhere.toml"], "./nowhere.toml: there is no such file"),
        ([str(Path(LAKE).parent)], "is a folder; give the path of a TOML file"),
        ([LAKE, "--seed", "-1"], "run.seed: found -1"),
        ([LAKE, "--seed", "x"], "'--seed': found 'x'; expected a whole number."),
        ([LAKE, "--set", "gamma"], "expected KEY=VALUE"),
        ([LAKE, "--set", "algorithm.gama=0.9"], "Did you mean 'gamma'?"),
        ([LAKE, "--set", "budget=3"], "budget: found 3, expected a table"),
        ([LAKE, "--jsn"], "Did you mean '--json'?"),
    ],
)
def test_wrong_input_is_one_sentence(runs_dir: Path, arguments: list[str], said: str) -> None:
    done = icemaze(runs_dir, "train", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert not list(runs_dir.glob("*"))


def test_wrong_input_is_an_error_event_with_json(runs_dir: Path) -> None:
    done = as_process(runs_dir, "train", "q-lerning", "--json")
    (error,) = objects(done.stdout)
    assert done.returncode == 2 and done.stderr == ""
    assert error["event"] == "error" and "Did you mean 'q-learning'?" in error["message"]


def test_set_replaces_where_the_maze_comes_from(runs_dir: Path) -> None:
    done = icemaze(
        runs_dir, "train", LAKE, "--json", "--set", "maze.size=3", "--set",
        "maze.hole_density=0", "--set", "budget.env_steps=10",
    )  # fmt: skip
    assert objects(done.stdout)[-1]["env_steps"] == 10
