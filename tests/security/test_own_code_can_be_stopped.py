"""Loading a file of one's own that never comes to an end: it can always be interrupted."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_runs import CODE, EXAMPLES, icemaze

from engine.runs.reader import RunReader

pytestmark = pytest.mark.slow

DEADLINE = 60.0
ENDLESS = "\nfrom pathlib import Path\nPath({mark!r}).touch()\nwhile True: pass\n"
DEAF = """
from pathlib import Path
while True:
    try:
        Path({mark!r}).touch()
        while True: pass
    except BaseException:
        Path({mark!r} + "-again").touch()
"""


def mine(folder: Path, code: str) -> Path:
    """A preset of one's own whose file goes on in another way after the example."""
    folder.mkdir(exist_ok=True)
    (folder / "my_q.py").write_text(CODE + code, "utf-8")
    shutil.copy(EXAMPLES / "my-q.toml", folder)
    return folder / "my-q.toml"


def wait_for(mark: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not mark.exists():
        assert time.monotonic() < deadline, f"{mark} never came"
        time.sleep(0.02)


def start(*arguments: str, runs: Path) -> subprocess.Popen[str]:
    """A command, as a terminal's shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "tui.start", *arguments],
        env={**os.environ, "ICEMAZE_RUNS_DIR": str(runs)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("command", [("train",), ("sweep",)], ids=str)
def test_ctrl_c_interrupts_a_file_that_is_being_loaded(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    mark = tmp_path / "started"
    preset = mine(tmp_path / "mine", ENDLESS.format(mark=str(mark)))
    process = start(*command, str(preset), "--trust", runs=tmp_path / "runs")
    try:
        wait_for(mark)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in said
    assert not list((tmp_path / "runs").glob("*"))


def test_a_file_that_swallows_ctrl_c_is_ended_by_the_second(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    preset = mine(tmp_path / "mine", DEAF.format(mark=str(mark)))
    process = start("train", str(preset), "--trust", runs=tmp_path / "runs")
    try:
        wait_for(mark)
        process.send_signal(signal.SIGINT)
        wait_for(tmp_path / "started-again")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT  # a shell says 130


def test_a_question_on_a_terminal_is_asked_once_for_each_text(tmp_path: Path) -> None:
    preset = mine(tmp_path / "mine", "\n# of my own\n")
    # It ends by a setting that only the file knows the limits of.
    command = ("train", str(preset), "--set", "algorithm.bad_news=7")
    for answer, asks in (("n", True), ("y", True), ("", False)):
        code, said = on_terminal(f"{answer}\n", *command, runs=tmp_path / "runs")
        assert ("would run it with your rights" in said) is asks, said
        assert ("nothing of it was run" in said) is (answer == "n")
        assert ("expected a number from 0 to 1" in said) is (answer != "n")
        assert code == 2


def on_terminal(typed: str, *arguments: str, runs: Path) -> tuple[int, str]:
    """The exit status of a command at a terminal, and what stood there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.start", *arguments],
        env={**os.environ, "ICEMAZE_RUNS_DIR": str(runs)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    said = b""
    try:
        while chunk := _read(ours):
            said += chunk
        return process.wait(DEADLINE), said.decode("utf-8", "replace")
    finally:
        process.kill()
        os.close(ours)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has it open any more
        return b""


def test_without_a_terminal_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    preset = mine(tmp_path / "mine", "\n# not asked about\n")
    code, said = icemaze(tmp_path / "runs", "train", str(preset))
    assert code == 2 and "was not loaded" in said and "icemaze trust" in said and "--trust" in said
    assert not (tmp_path / "runs").exists()


def test_a_worker_is_told_by_its_parent_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes longer than these few steps
    from engine.runs import launch
    from engine.tabular.custom import trust

    mark = tmp_path / "started"
    preset = mine(tmp_path / "mine", f"\nfrom pathlib import Path\nPath({str(mark)!r}).touch()\n")
    runs = tmp_path / "runs"
    code, said = icemaze(
        runs, "train", str(preset), "--trust", "--detach", "--set", "budget.env_steps=100"
    )
    assert code == 0, said
    (run_dir,) = runs.glob("*-my-q-*")
    with RunReader(run_dir) as reader:
        deadline = time.monotonic() + DEADLINE
        while not reader.head().ended and time.monotonic() < deadline:
            time.sleep(0.1)
        assert reader.state() == "finished", reader.error()
        sha256 = reader.meta()["algorithm_file"]["sha256"]
    trust.forget(sha256)  # and now nobody trusts it any more
    with pytest.raises(trust.NotTrustedError):
        launch.start_worker(run_dir, resume=True, overrides=["budget.env_steps=200"])
